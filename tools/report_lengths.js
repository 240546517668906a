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
const boldName = (run) => `<b>${short(run.name, 34)}</b>`;

// ---- Quantiles of the sampled lengths over training.

function fan() {
  const runs = shownRuns().filter(({run}) => run.fan.step.length > 0);
  runPanels(
      'fan', runs, 250, boldName,
      (place, k) => ({
        x: stepAxis(place, k),
        y: axis(place.isLeft ? 'length [tokens]' : '', {
          matches: k > 0 ? 'y' : undefined,
          rangemode: 'tozero'
        })
      }),
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

function difficulty() {
  const runs = shownRuns().filter(({run}) => run.difficulty.bands.length > 0);
  const alarms = document.getElementById('difficulty-alarms');
  alarms.replaceChildren(...data.runs.filter((run) => run.difficulty.alarm).map((run) => {
    const line = document.createElement('p');
    line.className = 'alarm';
    line.textContent = `${run.name}: ${run.difficulty.alarm}`;
    return line;
  }));
  if (runs.length === 0)
    return draw(
        'difficulty', [], {},
        'Needs evaluations with their responses, and prompts that differ in difficulty or pass rate.');
  const columns = wide() ? 2 : 1;
  const grid = panels(2 * runs.length, columns, 260, 0.075);
  const shape = layout(grid.height, {margin: {l: 60, r: 16, t: 40, b: 10}, annotations: []});
  const traces = [];
  const drawn = new Set();
  runs.forEach(({run}, r) => {
    const panel = run.difficulty;
    const series = (k, key, title, yaxis) => {
      const place = grid.at(k);
      const at = addPanel(
          shape, k, place, `${boldName(run)}: ${title} (bands: ${plain(panel.source)})`, ink().ink,
          axis('evaluation at RL step'), yaxis);
      panel.bands.forEach((band, b) => {
        const colour = bandColours[panel.bands.length > 1 ?
                Math.round(b * 3 / (panel.bands.length - 1)) :
                0];
        const first = !drawn.has(band.label);
        drawn.add(band.label);
        traces.push({
          x: band.points.map((point) => point.step),
          y: band.points.map((point) => point[key]),
          error_y: errorBar(band.points, key, colour),
          mode: 'lines+markers',
          name: plain(band.label),
          csv: `${run.name} ${title} ${band.label}`,
          legendgroup: band.label,
          showlegend: first,
          line: {color: colour, width: 2},
          marker: {color: colour, size: 7, symbol: bandMarks[b % 4]},
          text: band.points.map(
              (point) => `<b>${plain(band.label)}</b>, step ${whole(point.step)}<br>` +
                  (key === 'accuracy' ?
                       `accuracy ${percentText(point.accuracy)} %` +
                           range(point, 'accuracy', percentText) :
                       `length ${tokens(point.mean_length)} tokens` +
                           range(point, 'mean_length', tokens)) +
                  `<br>${whole(band.num_prompts)} prompts`),
          hovertemplate: '%{text}<extra></extra>',
          ...at
        });
      });
      return at;
    };
    series(2 * r, 'accuracy', 'accuracy', share());
    const at = series(
        2 * r + 1, 'mean_length', 'mean length',
        axis('mean length [tokens]', {rangemode: 'tozero'}));
    const overlay = (key, name, dash) => {
      if (!panel.solved.some((row) => known(row[key]))) return;
      const first = !drawn.has(name);
      drawn.add(name);
      traces.push({
        x: panel.solved.map((row) => row.step),
        y: panel.solved.map((row) => row[key]),
        mode: 'lines',
        name,
        csv: `${run.name} ${name}`,
        legendgroup: name,
        showlegend: first,
        line: {color: ink().soft, width: 1.3, dash},
        hovertemplate: `step %{x}<br>${name}: %{y:.1f} tokens<extra></extra>`,
        ...at
      });
    };
    overlay('always_length', 'now always right', 'dot');
    overlay('never_length', 'now never right', 'dash');
  });
  draw('difficulty', traces, shape);
}

// ---- The length of highest accuracy over training.

function optimum() {
  const runs = shownRuns().filter(({run}) => run.optima.length > 0);
  const trusted = (one) => known(one.length) && one.support >= 0.9;
  runPanels(
      'optimum', runs, 260, boldName,
      (place, k) => ({
        x: stepAxis(place, k),
        y: axis(place.isLeft ? 'length [tokens]' : '', {
          matches: k > 0 ? 'y' : undefined,
          rangemode: 'tozero'
        })
      }),
      (run, i, at, k) => {
        const middle = (one) => (one.first_step + one.last_step) / 2;
        const fitted = (key, name, symbol, colour) => {
          const rows = run.optima.filter((one) => trusted(one[key]));
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
                    `<br>${whole(one[key].num_samples)} answers`),
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

function pairs() {
  const rows = data.pairs ? data.pairs.pairs : [];
  const body = document.getElementById('pair-rows');
  const signed = (value, digits, unit) =>
      (known(value) ? `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}${unit}` : '–');
  const pText = (value) =>
      (!known(value) ? '–' : value < 0.0005 ? '< 0.0005' : value.toFixed(value < 0.1 ? 4 : 2));
  body.replaceChildren(...rows.map((row) => {
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
    const name = document.createElement('th');
    name.scope = 'row';
    name.textContent = `${row.second} against ${row.first}`;
    line.append(name);
    add(whole(row.num_prompts));
    add(signed(100 * row.accuracy_difference, 1, ''),
        `${signed(100 * row.accuracy_difference_low, 1, '')} to ${
            signed(100 * row.accuracy_difference_high, 1, '')}`);
    add(pText(row.accuracy_p_holm));
    add(signed(100 * (row.length_ratio - 1), 1, ' %'),
        `${signed(100 * (row.length_ratio_low - 1), 1, '')} to ${
            signed(100 * (row.length_ratio_high - 1), 1, '')}`);
    add(pText(row.length_p_holm));
    add(percentText(row.win),
        `${percentText(row.win_low)}–${percentText(row.win_high)}`);
    add(percentText(row.win_length_controlled),
        `${percentText(row.win_length_controlled_low)}–${
            percentText(row.win_length_controlled_high)}`);
    add(known(row.aes) ? row.aes.toFixed(2) : '–');
    return line;
  }));
  document.getElementById('pair-table').hidden = rows.length === 0;
  if (rows.length === 0)
    return draw(
        'pairs', [], {}, 'Two runs or more with evaluations of the same prompts are compared here.');
  const names = rows.map((row) => `${short(row.second, 24)} − ${short(row.first, 24)}`);
  const shape = layout(110 + 46 * rows.length, {
    margin: {l: 60, r: 16, t: 30, b: 48},
    annotations: [],
    showlegend: false,
    shapes: []
  });
  const c = ink();
  const forest = (k, domain, key, scale, shift, title) => {
    const n = k === 0 ? '' : '2';
    shape['xaxis' + n] = axis(title, {domain, anchor: 'y' + n});
    shape['yaxis' + n] = axis('', {
      anchor: 'x' + n,
      type: 'category',
      autorange: 'reversed',
      showticklabels: k === 0
    });
    shape.shapes.push({
      type: 'line',
      xref: 'x' + n,
      yref: 'y' + n + ' domain',
      x0: 0,
      x1: 0,
      y0: 0,
      y1: 1,
      line: {color: c.soft, width: 1, dash: 'dot'}
    });
    const moved = rows.map((row) => ({
                             value: scale * (row[key] - shift),
                             value_low: known(row[key + '_low']) ?
                                 scale * (row[key + '_low'] - shift) :
                                 null,
                             value_high: known(row[key + '_high']) ?
                                 scale * (row[key + '_high'] - shift) :
                                 null
                           }));
    return {
      x: moved.map((row) => row.value),
      y: names,
      error_x: errorBar(moved, 'value', c.ink),
      mode: 'markers',
      csv: title,
      marker: {color: c.ink, size: 9},
      text: moved.map(
          (row) => `${signed(row.value, 1, '')}${range(row, 'value', (v) => signed(v, 1, ''))}`),
      hovertemplate: '%{y}<br>%{text}<extra></extra>',
      xaxis: 'x' + n,
      yaxis: 'y' + n
    };
  };
  draw(
      'pairs',
      [
        forest(0, [0, 0.47], 'accuracy_difference', 100, 0, 'difference in accuracy [% points]'),
        forest(1, [0.53, 1], 'length_ratio', 100, 1, 'difference in length [%]')
      ],
      shape);
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
        yaxis: axis('due to length [% of all pushes]', {tickformat: '.0%', rangemode: 'tozero'})
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
