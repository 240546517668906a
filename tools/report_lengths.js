// Charts of lengths: quantiles, difficulty, optima, budgets, pairs, pushes and times.

const percentText = (value) => (known(value) ? (100 * value).toFixed(1) : '–');
const shownRuns = () => data.runs.map((run, i) => ({run, i})).filter(({i}) => !hidden.has(i));

// One small chart for each run that has something to show.
function runPanels(id, runs, rowHeight, title, axes, tracesOf, more) {
  if (runs.length === 0) return draw(id, [], {});
  const columns = Math.min(runs.length, wide() ? 3 : 1);
  const grid = panels(runs.length, columns, rowHeight);
  const shape =
      layout(grid.height, {margin: {l: 60, r: 16, t: 30, b: 10}, annotations: [], ...more});
  const traces = [];
  runs.forEach(({run, i}, k) => {
    const place = grid.at(k);
    const {x, y} = axes(place, k);
    const at = addPanel(shape, k, place, title(run), ink().ink, x, y);
    traces.push(...tracesOf(run, i, at, k));
  });
  draw(id, traces, shape);
}

const stepAxis = (place, k) =>
    axis(place.isBottom ? 'RL step' : '', {matches: k > 0 ? 'x' : undefined});
// Lengths over steps, on one scale for all runs.
const lengthAxes = (place, k) => ({
  x: stepAxis(place, k),
  y: axis(
      place.isLeft ? 'length [tokens]' : '',
      {matches: k > 0 ? 'y' : undefined, rangemode: 'tozero'})
});
const boldName = (run) => `<b>${short(run.name, 34)}</b>`;

// ---- Quantiles of the sampled lengths over training.

function fan() {
  const runs = shownRuns().filter(({run}) => run.fan.step.length > 0);
  runPanels(
      'fan', runs, 250, boldName,
      lengthAxes,
      (run, i, at, k) => {
        const line = (key, more) =>
            ({x: run.fan.step, y: run.fan[key], mode: 'lines', csv: `${run.name} ${key}`, ...at,
              ...more});
        const edge = {line: {width: 0}, hoverinfo: 'skip', showlegend: false};
        const band = (low, high, alpha, name) =>
            [line(low, edge), line(high, {
               ...edge,
               fill: 'tonexty',
               fillcolor: shade(run.colour, alpha),
               name,
               showlegend: k === 0
             })];
        return [
          ...band('p10', 'p90', 0.16, '10th to 90th percentile'),
          ...band('p25', 'p75', 0.26, '25th to 75th'), line('p50', {
            line: {color: run.colour, width: 2},
            name: 'median',
            showlegend: k === 0,
            hovertemplate: 'step %{x}<br>median %{y:.0f} tokens<extra></extra>'
          })
        ];
      },
      {showlegend: true});
}

// ---- Easy and hard prompts.

// Easy to hard, readable for the colour-blind and on both grounds.
const bandColours = ['#56B4E9', '#0072B2', '#CC79A7', '#D55E00'];
const bandMarks = ['circle', 'square', 'diamond', 'triangle-up'];

function tellAlarms() {
  const alarms = document.getElementById('difficulty-alarms');
  alarms.replaceChildren(...data.runs.filter((run) => run.difficulty.alarm).map((run) => {
    const line = document.createElement('p');
    line.className = 'alarm';
    line.textContent = `${run.name}: ${run.difficulty.alarm}`;
    return line;
  }));
}

// One number of the bands of a run. `first` says whether a name stands in the legend for the first
// time.
function bandTraces(run, key, title, at, first) {
  const bands = run.difficulty.bands;
  return bands.map((band, b) => {
    const place = bands.length > 1 ? Math.round((b * 3) / (bands.length - 1)) : 0;
    const colour = bandColours[place];
    const value = (point) => (key === 'accuracy' ?
        `accuracy ${percentText(point.accuracy)} %` + range(point, 'accuracy', percentText) :
        `length ${tokens(point.mean_length)} tokens` + range(point, 'mean_length', tokens));
    return {
      x: band.points.map((point) => point.step),
      y: band.points.map((point) => point[key]),
      error_y: errorBar(band.points, key, colour),
      mode: 'lines+markers',
      name: plain(band.label),
      csv: `${run.name} ${title} ${band.label}`,
      legendgroup: band.label,
      showlegend: first(band.label),
      line: {color: colour, width: 2},
      marker: {color: colour, size: 7, symbol: bandMarks[place]},
      text: band.points.map(
          (point) => `<b>${plain(band.label)}</b>, step ${whole(point.step)}<br>${value(point)}<br>${
              whole(band.num_prompts)} prompts`),
      hovertemplate: '%{text}<extra></extra>',
      ...at
    };
  });
}

function solvedTraces(run, at, first) {
  const solved = run.difficulty.solved;
  return [['always_length', 'now always right', 'dot'], ['never_length', 'now never right', 'dash']]
      .filter(([key]) => solved.some((row) => known(row[key])))
      .map(([key, name, dash]) => ({
             x: solved.map((row) => row.step),
             y: solved.map((row) => row[key]),
             mode: 'lines',
             name,
             csv: `${run.name} ${name}`,
             legendgroup: name,
             showlegend: first(name),
             line: {color: ink().soft, width: 1.3, dash},
             hovertemplate: `step %{x}<br>${name}: %{y:.1f} tokens<extra></extra>`,
             ...at
           }));
}

function difficulty() {
  tellAlarms();
  const runs = shownRuns().filter(({run}) => run.difficulty.bands.length > 0);
  if (runs.length === 0)
    return draw(
        'difficulty', [], {},
        'Needs evaluations with their responses, and prompts that differ in difficulty or pass rate.');
  const grid = panels(2 * runs.length, wide() ? 2 : 1, 260, 0.075);
  const shape = layout(grid.height, {margin: {l: 60, r: 16, t: 40, b: 10}, annotations: []});
  const traces = [], named = new Set();
  const first = (name) => named.size < named.add(name).size;
  runs.forEach(({run}, r) => {
    const panel = (k, title, yaxis) => addPanel(
        shape, k, grid.at(k), `${boldName(run)}: ${title} (bands: ${plain(run.difficulty.source)})`,
        ink().ink, axis('evaluation at RL step'), yaxis);
    const left = panel(2 * r, 'accuracy', share());
    const right =
        panel(2 * r + 1, 'mean length', axis('mean length [tokens]', {rangemode: 'tozero'}));
    traces.push(
        ...bandTraces(run, 'accuracy', 'accuracy', left, first),
        ...bandTraces(run, 'mean_length', 'mean length', right, first),
        ...solvedTraces(run, right, first));
  });
  draw('difficulty', traces, shape);
}

// ---- The length of highest accuracy over training.

function optimum() {
  const runs = shownRuns().filter(({run}) => run.optima.length > 0);
  runPanels(
      'optimum', runs, 260, boldName,
      lengthAxes,
      (run, i, at, k) => {
        const middle = (one) => (one.first_step + one.last_step) / 2;
        const fitted = (key, name, symbol, colour) => {
          const rows = run.optima.filter((one) => one[key].certain);
          return {
            x: rows.map(middle),
            y: rows.map((one) => one[key].length),
            error_y: errorBar(rows.map((one) => one[key]), 'length', colour),
            mode: 'markers',
            name,
            csv: `${run.name} ${name}`,
            legendgroup: name,
            showlegend: k === 0,
            marker: {symbol, size: 9, color: colour},
            text: rows.map(
                (one) => `steps ${whole(one.first_step)}–${whole(one.last_step)}<br>` +
                    `highest at ${tokens(one[key].length)} tokens` +
                    range(one[key], 'length', tokens) +
                    `<br>${whole(one[key].num_samples)} answers` +
                    (one[key].num_clipped > 0 ?
                         `, ${whole(one[key].num_clipped)} at the limit left out` :
                         '')),
            hovertemplate: '%{text}<extra></extra>',
            ...at
          };
        };
        return [
          {
            x: run.optima.map(middle),
            y: run.optima.map((one) => one.mean_length),
            mode: 'lines',
            name: 'mean length',
            csv: `${run.name} mean length`,
            showlegend: k === 0,
            line: {color: run.colour, width: 2},
            hovertemplate: 'mean length %{y:.1f} tokens<extra></extra>',
            ...at
          },
          fitted('pooled', 'optimum, pooled', 'diamond-open', ink().soft),
          fitted('within_question', 'optimum within a question', 'diamond', ink().ink)
        ];
      },
      {showlegend: true});
}

// ---- The length of highest accuracy by difficulty, and the law of it.

function law() {
  const starts =
      data.start_policies.filter((one) => one.by_difficulty.some((row) => row.certain));
  const traces = [], c = ink();
  starts.forEach((one, k) => {
    const rows = one.by_difficulty.filter((row) => row.certain);
    const colour = starts.length > 1 ? bandColours[k % 4] : c.ink;
    const name = starts.length > 1 ? `start of ${short(one.runs.join(', '), 40)}` : 'start policy';
    traces.push({
      x: rows.map((row) => row.difficulty),
      y: rows.map((row) => row.length),
      error_y: errorBar(rows, 'length', colour),
      mode: 'markers',
      name,
      csv: name,
      marker: {color: colour, size: 9, symbol: 'diamond'},
      text: rows.map(
          (row) => `difficulty ${row.difficulty}<br>highest at ${tokens(row.length)} tokens` +
              range(row, 'length', tokens) + `<br>${whole(row.num_samples)} answers`),
      hovertemplate: '%{text}<extra></extra>'
    });
    if (!known(one.law.scale)) return;
    const drawn = one.by_difficulty.filter((row) => known(row.predicted));
    traces.push({
      x: drawn.map((row) => row.difficulty),
      y: drawn.map((row) => row.predicted),
      mode: 'lines',
      name: 'law',
      csv: `${name}, law`,
      showlegend: k === 0,
      line: {color: colour, width: 1.4, dash: 'dot'},
      hovertemplate: 'law: %{y:.1f} tokens<extra></extra>'
    });
  });
  draw(
      'law', traces, layout(wide() ? 380 : 360, {
        xaxis: axis('difficulty'),
        yaxis: axis('length of highest accuracy [tokens]', {rangemode: 'tozero'})
      }),
      'Needs a start policy whose accuracy rises and falls with length at some difficulties of the data.');
}

// ---- Budgets.

function budgets() {
  const traces = [];
  shownRuns().forEach(({run, i}) => {
    const rows = run.checkpoints.filter((row) => row.budgets.length > 0);
    if (rows.length === 0) return;
    const curve = (row, more) => traces.push({
      x: row.budgets.map((point) => point.budget),
      y: row.budgets.map((point) => point.accuracy),
      error_y: errorBar(row.budgets, 'accuracy', run.colour),
      mode: 'lines+markers',
      meta: i,
      csv: `${run.name} step ${row.step}`,
      marker: {color: run.colour, size: 8, symbol: symbolOf(i)},
      text: row.budgets.map(
          (point) => `<b>${plain(run.name)}</b>, step ${whole(row.step)}<br>at most ${
                         whole(point.budget)} tokens: accuracy ${percentText(point.accuracy)} %` +
              range(point, 'accuracy', percentText) +
              `<br>mean length ${tokens(point.mean_length)} tokens`),
      hovertemplate: '%{text}<extra></extra>',
      ...more
    });
    if (rows.length > 1)
      curve(rows[0], {
        name: `${short(run.name, 30)}, step ${whole(rows[0].step)}`,
        line: {color: run.colour, width: 1.4, dash: 'dot'}
      });
    curve(rows[rows.length - 1], {
      name: `${short(run.name, 30)}, step ${whole(rows[rows.length - 1].step)}`,
      line: {color: run.colour, width: 2.2}
    });
  });
  draw(
      'budgets', traces,
      layout(wide() ? 430 : 400, {
        xaxis: axis('tokens at which every answer is cut', {rangemode: 'tozero'}),
        yaxis: share({rangemode: 'tozero'})
      }),
      'No evaluation of these runs was scored at budgets: eval.budgets = [256, 512, …] does.');
}

// ---- Pairs of runs.

const signedText = (value, digits, unit = '') =>
    (known(value) ? `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}${unit}` : '–');

function pairRow(row) {
  const line = document.createElement('tr');
  const add = (text, below) => {
    const cell = document.createElement('td');
    cell.textContent = text;
    if (below) {
      const small = document.createElement('small');
      small.textContent = below;
      cell.append(small);
    }
    line.append(cell);
  };
  const points = (key) => (known(row[key]) ? 100 * row[key] : null);
  const change = (key) => (known(row[key]) ? 100 * (row[key] - 1) : null);
  const p = (value) =>
      (!known(value) ? '–' : value < 0.0005 ? '< 0.0005' : value.toFixed(value < 0.1 ? 4 : 2));
  const name = document.createElement('th');
  name.scope = 'row';
  name.textContent = `${row.second} against ${row.first}`;
  line.append(name);
  add(whole(row.num_prompts));
  add(signedText(points('accuracy_difference'), 1),
      `${signedText(points('accuracy_difference_low'), 1)} to ${
          signedText(points('accuracy_difference_high'), 1)}`);
  add(p(row.accuracy_p_holm));
  add(signedText(change('length_ratio'), 1, ' %'),
      `${signedText(change('length_ratio_low'), 1)} to ${
          signedText(change('length_ratio_high'), 1)}`);
  add(p(row.length_p_holm));
  for (const key of ['win', 'win_length_controlled'])
    add(percentText(row[key]), `${percentText(row[key + '_low'])}–${percentText(row[key + '_high'])}`);
  add(known(row.aes) ? row.aes.toFixed(2).replace('-', '−') : '–');
  return line;
}

// One quantity of every pair with its interval, beside the line of no difference, which is at `same`.
function forest(rows, shape, k, domain, key, same, title, more) {
  const c = ink(), n = k === 0 ? '' : String(k + 1);
  shape['xaxis' + n] = axis(title, {domain, anchor: 'y' + n, ...more});
  shape['yaxis' + n] =
      axis('', {anchor: 'x' + n, type: 'category', autorange: 'reversed', showticklabels: k === 0});
  shape.shapes.push({
    type: 'line',
    xref: 'x' + n,
    yref: 'y' + n + ' domain',
    x0: same,
    x1: same,
    y0: 0,
    y1: 1,
    line: {color: c.soft, width: 1, dash: 'dot'}
  });
  return {
    x: rows.map((row) => row[key]),
    y: rows.map((row) => `${short(row.second, 24)} − ${short(row.first, 24)}`),
    error_x: errorBar(rows, key, c.ink),
    mode: 'markers',
    csv: title,
    marker: {color: c.ink, size: 9},
    text: rows.map((row) => `${numberText(row[key])}${range(row, key, numberText)}`),
    hovertemplate: '%{y}<br>%{text}<extra></extra>',
    xaxis: 'x' + n,
    yaxis: 'y' + n
  };
}

function pairs() {
  const rows = data.pairs ? data.pairs.pairs : [];
  document.getElementById('pair-rows').replaceChildren(...rows.map(pairRow));
  document.getElementById('pair-table').hidden = rows.length === 0;
  if (rows.length === 0)
    return draw(
        'pairs', [], {}, 'Two runs or more with evaluations of the same prompts are compared here.');
  const shape = layout(110 + 46 * rows.length, {
    margin: {l: 60, r: 16, t: 30, b: 48},
    annotations: [],
    showlegend: false,
    shapes: []
  });
  const accuracy =
      [rows, shape, 0, [0, 0.47], 'accuracy_difference', 0, 'difference in accuracy', {tickformat: '+.0%'}];
  const length =
      [rows, shape, 1, [0.53, 1], 'length_ratio', 1, 'ratio of mean lengths', {
      type: 'log',
      tickvals: [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    }];
  draw('pairs', [forest(...accuracy), forest(...length)], shape);
}

// ---- What of the pushes is due to length.

function pushes() {
  const traces = [];
  shownRuns().forEach(({run, i}) => {
    const rows = run.pushes.steps.filter((row) => known(row.share));
    if (rows.length === 0) return;
    traces.push({
      x: rows.map((row) => row.step),
      y: rows.map((row) => row.share),
      mode: 'lines+markers',
      name: short(run.name, 40),
      meta: i,
      csv: run.name,
      line: {color: run.colour, width: 2},
      marker: {color: run.colour, size: 8, symbol: symbolOf(i)},
      text: rows.map(
          (row) => `<b>${plain(run.name)}</b>, step ${whole(row.step)}<br>${
              percentText(row.share)} % of ${row.push.toFixed(1)}, ${
              whole(row.num_samples)} answers`),
      hovertemplate: '%{text}<extra></extra>'
    });
  });
  const obstacles =
      data.runs.filter((run) => run.pushes.obstacle)
          .map((run) => `${run.name}: ${run.pushes.obstacle}.`);
  document.getElementById('push-obstacles').textContent =
      obstacles.length ? `Not told of ${obstacles.join(' ')}` : '';
  draw(
      'pushes', traces, layout(wide() ? 380 : 360, {
        xaxis: axis('RL step'),
        yaxis: axis('Σ|A − A₀| / Σ|A| [%]', {tickformat: '.0%', rangemode: 'tozero'})
      }),
      'Needs stored rollouts (log.rollouts.every) and rewards that can be computed again.');
}

// ---- Times.

function timings() {
  const phases = [
    ['rollout', 'sampling', '#0072B2'], ['score', 'rewards', '#E69F00'],
    ['credit', 'advantages', '#CC79A7'], ['update', 'learning', '#009E73'],
    ['other', 'everything else', '#8a939d']
  ];
  const has = (run) => phases.some(([key]) => key !== 'other' && run.timings[key].some(known));
  const runs = shownRuns().filter(({run}) => has(run));
  const saved = document.getElementById('time-saved');
  saved.textContent =
      runs.filter(({run}) => known(run.timings.saved_s) && Math.abs(run.timings.saved_s) >= 0.5)
          .map(({run}) => {
            const seconds = Math.round(run.timings.saved_s);
            return seconds > 0 ?
                `${run.name}: its shorter answers saved about ${whole(seconds)} s of sampling.` :
                `${run.name}: its longer answers cost about ${whole(-seconds)} s of sampling.`;
          })
          .join(' ');
  if (saved.textContent)
    saved.textContent += ' (Against the mean length of the first step; sampling time in proportion.)';
  runPanels(
      'timings', runs, 250, boldName,
      (place, k) => ({
        x: stepAxis(place, k),
        y: axis(place.isLeft ? 'time of a step [s]' : '', {rangemode: 'tozero'})
      }),
      (run, i, at, k) => phases.filter(([key]) => run.timings[key].some((v) => v > 0))
                             .map(([key, name, colour]) => ({
                                    x: run.train.step,
                                    y: run.timings[key],
                                    mode: 'lines',
                                    stackgroup: run.name,
                                    line: {width: 0.5, color: colour},
                                    fillcolor: shade(colour, 0.75),
                                    name,
                                    csv: `${run.name} ${name}`,
                                    legendgroup: key,
                                    showlegend: k === 0,
                                    hovertemplate: `step %{x}<br>${name}: %{y:.3f} s<extra></extra>`,
                                    ...at
                                  })),
      {showlegend: true});
}
