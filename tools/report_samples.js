// What rules of length would do to stored groups, and the responses themselves.

// ---- DOT and DRPO on the lengths of stored groups, as rewards/dot.cpp and algos/drpo.cpp have it.

// The cut line of a group, or null where DOT leaves it alone: all of it has to be right.
function dotThreshold(group, alpha) {
  const n = group.length.length;
  if (n === 0 || group.ended.some((ended) => !ended) || group.correct.some((right) => right !== true))
    return null;
  let sum = 0, squares = 0;
  for (const length of group.length) sum += length;
  const mean = sum / n;
  for (const length of group.length) squares += (length - mean) * (length - mean);
  const deviation = n > 1 ? Math.sqrt(squares / (n - 1)) : 0;
  return Math.max(Math.floor(mean + alpha * deviation), 1);
}

// Whether a response of this length is cut to the threshold; a margin of whole tokens.
function dotCuts(length, threshold, margin) {
  return length - threshold > 0 && length - threshold >= margin;
}

// Weights of the right answers of a group, by place; null where it has not both right and wrong.
function drpoWeights(group, lambda, capacity) {
  const right = [], wrong = [];
  group.correct.forEach((correct, i) => {
    if (group.length[i] > 0) (correct === true ? right : correct === false ? wrong : []).push(i);
  });
  if (right.length === 0 || wrong.length === 0) return null;
  const rewards = right.map((i) => (1 - group.length[i] / capacity) / lambda);
  const highest = Math.max(...rewards);
  const raised = rewards.map((reward) => Math.exp(reward - highest));
  const sum = raised.reduce((a, b) => a + b, 0);
  return new Map(right.map((i, k) => [i, raised[k] / sum]));
}

function whatIf(stored, {alpha, margin, lambda}) {
  const out = {
    groups: stored.groups.length,
    responses: 0,
    tokens: 0,
    eligible: 0,
    cut: 0,
    removed: 0,
    answered: 0,
    answerKnown: 0,
    valid: 0,
    rightLength: 0,
    weightedLength: 0,
    effective: 0,
    ownCut: 0,
    ownRight: 0
  };
  const capacity = stored.max_completion_length ??
      Math.max(1, ...stored.groups.flatMap((group) => group.length));
  for (const group of stored.groups) {
    out.responses += group.length.length;
    group.kept.forEach((kept, i) => {
      if (kept >= group.length[i]) return;
      ++out.ownCut;
      if (group.correct_after[i] === true) ++out.ownRight;
    });
    for (const length of group.length) out.tokens += length;
    const threshold = dotThreshold(group, alpha);
    if (threshold !== null) {
      ++out.eligible;
      group.length.forEach((length, i) => {
        if (!dotCuts(length, threshold, margin)) return;
        ++out.cut;
        out.removed += length - threshold;
        if (!known(group.first_correct[i])) return;
        ++out.answerKnown;
        if (group.first_correct[i] <= threshold) ++out.answered;
      });
    }
    const weights = drpoWeights(group, lambda, capacity);
    if (weights === null) continue;
    ++out.valid;
    let plainMean = 0, weighted = 0, squares = 0;
    for (const [i, weight] of weights) {
      plainMean += group.length[i] / weights.size;
      weighted += weight * group.length[i];
      squares += weight * weight;
    }
    out.rightLength += plainMean;
    out.weightedLength += weighted;
    out.effective += 1 / squares;
  }
  return out;
}

// ---- The panel.

const choice = {
  run: 0,
  alpha: 1,
  margin: 1,
  lambda: 0.1
};

function storedRuns() {
  return data.runs.map((run, i) => ({run, i})).filter(({run}) => run.lengths);
}

function fillSelect(select, runs, chosen) {
  select.replaceChildren(...runs.map(({run, i}) => {
    const option = document.createElement('option');
    option.value = i;
    option.textContent = run.name;
    option.selected = i === chosen;
    return option;
  }));
}

// Where each length is drawn, by what becomes of it, and the cut lines.
function placedLengths(stored) {
  const order =
      stored.groups
          .map((group) => ({
                 group,
                 mean: group.length.reduce((a, b) => a + b, 0) / Math.max(1, group.length.length)
               }))
          .sort((a, b) => a.mean - b.mean);
  const fresh = () => ({x: [], y: [], text: []});
  const kinds = {right: fresh(), wrong: fresh(), cut: fresh()};
  const line = {x: [], y: []};
  order.forEach(({group}, x) => {
    const threshold = dotThreshold(group, choice.alpha);
    if (threshold !== null) {
      line.x.push(x - 0.45, x + 0.45, null);
      line.y.push(threshold, threshold, null);
    }
    group.length.forEach((length, i) => {
      const isCut = threshold !== null && dotCuts(length, threshold, choice.margin);
      const to = kinds[isCut ? 'cut' : group.correct[i] === true ? 'right' : 'wrong'];
      const n = group.length.length;
      const first = group.first_correct[i];
      to.x.push(x + (n > 1 ? 0.6 * (i / (n - 1) - 0.5) : 0));
      to.y.push(length);
      to.text.push(
          `${plain(group.problem)}, sample ${group.sample[i]}<br>${whole(length)} tokens` +
          (isCut ? `, cut to ${whole(threshold)}` : '') +
          (isCut && known(first) ? `<br>right answer after ${whole(first)} tokens` : '') +
          `<br>advantage ${numberText(group.advantage[i])}`);
    });
  });
  return {kinds, line};
}

function outliers() {
  const runs = storedRuns();
  const panel = document.getElementById('what-if');
  panel.hidden = runs.length === 0;
  if (runs.length === 0)
    return draw('outliers', [], {}, 'Needs stored rollouts (log.rollouts.every).');
  if (!runs.some(({i}) => i === choice.run)) choice.run = runs[0].i;
  fillSelect(document.getElementById('what-if-run'), runs, choice.run);
  const run = data.runs[choice.run], stored = run.lengths, c = ink();
  const {kinds, line} = placedLengths(stored);
  const points = (kind, name, marker) => ({
    ...kinds[kind],
    mode: 'markers',
    name,
    marker,
    hovertemplate: '%{text}<extra></extra>'
  });
  draw(
      'outliers',
      [
        points('right', 'right', {color: run.colour, size: 6, opacity: 0.75}),
        points('wrong', 'wrong or unjudged', {color: c.wrong, size: 6, symbol: 'circle-open'}),
        points('cut', 'would be cut', {color: c.ink, size: 9, symbol: 'x'}), {
          ...line,
          mode: 'lines',
          name: 'cut line',
          line: {color: c.ink, width: 1.6},
          hoverinfo: 'skip'
        }
      ],
      layout(wide() ? 400 : 380, {
        xaxis: axis(
            `groups of step ${whole(stored.step)}, by mean length` +
                (stored.groups.length < stored.num_groups ?
                     ` (${whole(stored.groups.length)} of ${whole(stored.num_groups)})` :
                     ''),
            {showgrid: false, showticklabels: false, ticks: ''}),
        yaxis: axis('length [tokens]', {rangemode: 'tozero'})
      }));
  tellWhatIf(stored);
}

function tellWhatIf(stored) {
  const found = whatIf(stored, choice);
  const set = (id, text) => {
    document.getElementById('what-if-' + id).textContent = text;
  };
  set('alpha-value', choice.alpha.toFixed(2));
  set('margin-value', String(choice.margin));
  set('lambda-value', choice.lambda.toPrecision(2));
  const ofAll = (part, all) => (all > 0 ? ` (${(100 * part / all).toFixed(1)} %)` : '');
  set('eligible', `${whole(found.eligible)} of ${whole(found.groups)}`);
  set('cut', whole(found.cut) + ofAll(found.cut, found.responses));
  set('removed', whole(found.removed) + ofAll(found.removed, found.tokens));
  const mean = found.responses > 0 ? found.tokens / found.responses : 0;
  const after = found.responses > 0 ? (found.tokens - found.removed) / found.responses : 0;
  set('mean', `${mean.toFixed(2)} → ${after.toFixed(2)}`);
  set('answered', found.cut > 0 ? `${whole(found.answered)} of ${whole(found.cut)}` : '–');
  set('valid', `${whole(found.valid)} of ${whole(found.groups)}`);
  set('own', found.ownCut > 0 ? `${whole(found.ownCut)}, still right ${whole(found.ownRight)}` : 'none');
  const per = (sum) => (found.valid > 0 ? (sum / found.valid).toFixed(2) : '–');
  set('weighted', `${per(found.rightLength)} → ${per(found.weightedLength)}`);
  set('effective', per(found.effective));
}

// ---- The responses.

const view = {
  run: 0,
  step: null,
  group: 0,
  colour: 'none'
};

// The stored step that the viewer shows: what the page holds, or what the server is asked for.
async function samplesOf(run, step, group) {
  const held = data.runs[run].samples;
  if (!window.vernierLive)
    return held.groups[group] ? {...held, group: held.groups[group]} : null;
  const wanted = step ?? held.step;
  const name = encodeURIComponent(data.runs[run].name);
  const reply = await fetch(`samples?run=${name}&step=${wanted}&from=${group}&count=1`);
  if (!reply.ok) throw new Error((await reply.json()).error ?? `the server said ${reply.status}`);
  const found = await reply.json();
  return found.groups.length > 0 ? {...found, group: found.groups[0]} : null;
}

function element(tag, className, text) {
  const out = document.createElement(tag);
  if (className) out.className = className;
  if (text !== undefined) out.textContent = text;
  return out;
}

const numberText = (value, digits = 3) =>
    (known(value) ? Number(value.toFixed(digits)).toString().replace('-', '−') : '–');

// The text of a response, its tokens shaded by how unlikely they were or by their weights.
function responseText(sample) {
  const box = element('pre', 'response');
  if (view.colour === 'none' || !sample.tokens) {
    box.textContent = sample.text;
    return box;
  }
  const versions = [...new Set(sample.tokens.map(([, , version]) => version))];
  for (const [text, logprob, version] of sample.tokens) {
    const token = element('span', '', text);
    if (view.colour === 'logprob') {
      const strength = Math.min(1, -logprob / 4);
      token.style.background = shade('#E69F00', 0.85 * strength);
      token.title = `log-probability ${logprob.toFixed(3)}`;
    } else {
      token.style.background = shade(
          ['#56B4E9', '#E69F00', '#009E73', '#CC79A7'][versions.indexOf(version) % 4], 0.35);
      token.title = `weight version ${version ?? 'unknown'}`;
    }
    box.append(token);
  }
  return box;
}

function sampleCard(sample) {
  const card = element('article', 'sample');
  const verdict = sample.sampled_correct ?? sample.correct;
  const head = element('p', 'head');
  head.append(
      element(
          'b', verdict === true ? 'right' : verdict === false ? 'wrong' : 'unjudged',
          verdict === true ? '✓ right' :
              verdict === false ? '✗ wrong' :
                                  '? unjudged'));
  const facts = [`sample ${sample.sample}`, `${whole(sample.raw_num_tokens ?? sample.num_tokens)} tokens`];
  if (known(sample.length_rank)) facts.push(`rank ${numberText(sample.length_rank, 1)}`);
  if (known(sample.length_z)) facts.push(`z ${numberText(sample.length_z, 2)}`);
  if (known(sample.first_correct))
    facts.push(`right answer after ${whole(sample.first_correct)} tokens`);
  if (sample.finish_reason && sample.finish_reason !== 'stop')
    facts.push(`ended by ${sample.finish_reason}`);
  head.append(' ' + facts.join(' · '));
  card.append(head);
  const parts = Object.entries(sample.rewards ?? {}).map(([name, value]) => `${name} ${numberText(value)}`);
  const pay = [`reward ${numberText(sample.reward)}`, `advantage ${numberText(sample.advantage)}`];
  if (parts.length > 0) pay.push(`(${parts.join(', ')})`);
  for (const [name, why] of Object.entries(sample.abstained ?? {})) pay.push(`${name} abstains: ${why}`);
  for (const what of sample.transforms ?? []) pay.push(what);
  if (sample.dropped) pay.push(`group left out: ${sample.dropped}`);
  card.append(element('p', 'soft', pay.join(' · ')), responseText(sample));
  return card;
}

async function samples() {
  const runs = data.runs.map((run, i) => ({run, i})).filter(({run}) => run.samples);
  const panel = document.getElementById('viewer');
  const box = document.getElementById('viewer-group');
  panel.hidden = runs.length === 0;
  if (runs.length === 0) {
    box.replaceChildren(element('p', 'chart empty', 'Needs stored rollouts (log.rollouts.every).'));
    return;
  }
  if (!runs.some(({i}) => i === view.run)) view.run = runs[0].i;
  fillSelect(document.getElementById('viewer-run'), runs, view.run);
  const held = data.runs[view.run].samples;
  const steps = document.getElementById('viewer-step');
  const stored = window.vernierLive ? data.runs[view.run].stored_steps : [held.step];
  if (!stored.includes(view.step)) view.step = null;  // the newest
  const shown = view.step ?? held.step;
  steps.replaceChildren(...stored.map((step) => {
    const option = element('option', '', `step ${whole(step)}`);
    option.value = step;
    option.selected = step === shown;
    return option;
  }));
  const asked = {run: view.run, step: view.step, group: view.group};
  let found;
  try {
    found = await samplesOf(asked.run, asked.step, asked.group);
  } catch (problem) {
    box.replaceChildren(element('p', 'alarm', String(problem.message ?? problem)));
    return;
  }
  if (asked.run !== view.run || asked.step !== view.step || asked.group !== view.group) return;
  const last = (window.vernierLive ? found?.num_groups ?? 0 : held.groups.length) - 1;
  document.getElementById('viewer-before').disabled = view.group <= 0;
  document.getElementById('viewer-after').disabled = view.group >= last;
  document.getElementById('viewer-place').textContent =
      `group ${whole(view.group + 1)} of ${whole(last + 1)}` +
      (!window.vernierLive && held.num_groups > held.groups.length ?
           ` (the page holds these of ${whole(held.num_groups)}; vernier serve shows all)` :
           '');
  if (!found) return box.replaceChildren();
  const group = found.group;
  const head = element('p', 'soft', [
    `problem ${group.problem}`, known(group.difficulty) ? `difficulty ${group.difficulty}` : '',
    group.answer ? `answer ${group.answer}` : ''
  ].filter(Boolean).join(' · '));
  const prompt = element('pre', 'prompt', group.prompt);
  box.replaceChildren(head, prompt, ...group.samples.map(sampleCard));
}

// ---- Controls.

function listen() {
  const on = (id, event, act) => document.getElementById(id).addEventListener(event, act);
  const slider = (id, key, value) => on(`what-if-${id}`, 'input', (event) => {
    choice[key] = value(Number(event.target.value));
    outliers();
  });
  slider('alpha', 'alpha', (x) => x);
  slider('margin', 'margin', (x) => x);
  slider('lambda', 'lambda', (x) => 10 ** x);
  on('what-if-run', 'change', (event) => {
    choice.run = Number(event.target.value);
    outliers();
  });
  on('viewer-run', 'change', (event) => {
    Object.assign(view, {run: Number(event.target.value), step: null, group: 0});
    samples();
  });
  on('viewer-step', 'change', (event) => {
    Object.assign(view, {step: Number(event.target.value), group: 0});
    samples();
  });
  on('viewer-colour', 'change', (event) => {
    view.colour = event.target.value;
    samples();
  });
  const go = (by) => () => {
    view.group = Math.max(0, view.group + by);
    samples();
  };
  on('viewer-before', 'click', go(-1));
  on('viewer-after', 'click', go(1));
}
