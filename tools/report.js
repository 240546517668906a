// Charts of a report: what all of them share, and accuracy and length over steps. One scope with
// the other report_*.js, which the page holds after this one. Nothing here fetches anything.

let data = JSON.parse(document.getElementById('report-data').textContent);
const symbols = [
  'circle', 'square', 'diamond', 'triangle-up', 'triangle-down', 'pentagon', 'hexagon', 'cross'
];
// Runs that share a colour, eight apart, differ in their symbol.
const symbolOf = (i) => symbols[(i + 3 * Math.floor(i / 8)) % symbols.length];
const hidden = new Set();  // places of runs that the reader switched off
const wide = () => document.documentElement.clientWidth >= 1000;

// Plotly reads a few tags in texts; a name is never meant as one.
const plain = (text) =>
    String(text).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
// Cut in the middle: names of a sweep differ at their ends.
const short = (text, limit) => {
  if (text.length <= limit) return plain(text);
  const tail = Math.floor(limit * 0.6);
  return plain(text.slice(0, limit - tail - 1) + '…' + text.slice(text.length - tail));
};
const shade = (colour, alpha) => colour + Math.round(alpha * 255).toString(16).padStart(2, '0');
const known = (value) => value !== null && value !== undefined;
const tokens = (value) => {
  if (!known(value)) return '–';
  return value >= 1000 ? Math.round(value).toLocaleString('en') : value.toFixed(1);
};
const whole = (value) => (known(value) ? value.toLocaleString('en') : '–');

function ink() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    paper: read('--paper'),
    ink: read('--ink'),
    soft: read('--soft'),
    line: read('--line'),
    grid: read('--grid'),
    wrong: read('--wrong')
  };
}

function axis(title, more) {
  const c = ink();
  return {
    title: {text: title, font: {size: 13, color: c.soft}, standoff: 8},
    gridcolor: c.grid,
    linecolor: c.line,
    zeroline: false,
    showline: true,
    ticks: 'outside',
    tickcolor: c.line,
    ticklen: 4,
    automargin: true,
    tickfont: {size: 12, color: c.soft},
    ...more
  };
}

function layout(height, more) {
  const c = ink();
  return {
    height,
    margin: {l: 60, r: 16, t: 12, b: 48},
    paper_bgcolor: c.paper,
    plot_bgcolor: c.paper,
    font: {family: getComputedStyle(document.body).fontFamily, size: 13, color: c.ink},
    hovermode: 'closest',
    hoverlabel:
        {bgcolor: c.paper, bordercolor: c.line, font: {size: 12, color: c.ink}, align: 'left'},
    legend:
        {orientation: 'h', x: 0, xanchor: 'left', y: 1.02, yanchor: 'bottom', font: {size: 13}},
    ...more
  };
}

const share = (more) => axis('accuracy [%]', {tickformat: '.0%', ...more});

// Draws, or says that there is nothing to draw. Runs that are switched off keep their place.
function draw(id, traces, shape, why) {
  const place = document.getElementById(id);
  if (traces.length === 0) {
    if (place.classList.contains('js-plotly-plot')) Plotly.purge(place);
    place.className = 'chart empty';
    place.textContent = why ?? 'These run folders hold no data for this chart.';
    offerFiles(place, false);
    return;
  }
  if (place.classList.contains('empty')) {
    place.className = 'chart';
    place.textContent = '';
  }
  for (const trace of traces)
    if (hidden.has(trace.meta)) trace.visible = trace.showlegend === false ? false : 'legendonly';
  const fresh = !place.classList.contains('js-plotly-plot');
  Plotly.react(place, traces, shape, {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d'],
    showSendToCloud: false,
    plotlyServerURL: '',  // plotly.js would offer to send the data away
    toImageButtonOptions: {format: 'svg', filename: 'vernier-' + id},
  });
  offerFiles(place, true);
  if (!fresh) return;
  const onRun = (act) => (event) => {
    const run = event.data[event.curveNumber].meta;
    if (!Number.isInteger(run)) return true;
    act(run);
    runBoxes();
    drawAll();
    return false;
  };
  place.on('plotly_legendclick', onRun(toggle));
  place.on('plotly_legenddoubleclick', onRun(leave));
}

// The points of a chart as comma-separated values: what is drawn, with the ends of the intervals.
function chartCsv(traces) {
  const quoted = (value) => {
    const text = known(value) ? String(value) : '';
    return /[",\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  };
  const rows = [['series', 'x', 'y', 'y_low', 'y_high', 'x_low', 'x_high']];
  const ends = (values, bar, k) =>
      (bar && bar.array ? [values[k] - (bar.arrayminus ?? bar.array)[k], values[k] + bar.array[k]] :
                          [null, null]);
  for (const trace of traces) {
    const name = (trace.csv ?? trace.name ?? '').replace(/<[^>]*>/g, '');
    (trace.x ?? []).forEach((x, k) => rows.push([
      name, x, trace.y[k], ...ends(trace.y, trace.error_y, k), ...ends(trace.x, trace.error_x, k)
    ]));
  }
  return rows.map((row) => row.map(quoted).join(',')).join('\r\n') + '\r\n';
}

function save(name, type, content) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content], {type}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Buttons below a chart, which the keyboard reaches too.
function offerFiles(place, drawn) {
  let bar = place.nextElementSibling;
  if (!bar || !bar.classList.contains('files')) {
    bar = document.createElement('div');
    bar.className = 'files';
    const button = (label, act) => {
      const one = document.createElement('button');
      one.type = 'button';
      one.textContent = label;
      one.title = `save this chart as ${label}`;
      one.addEventListener('click', act);
      bar.append(one);
    };
    const picture = (format) => () => Plotly.downloadImage(
        place, {format, filename: 'vernier-' + place.id, scale: format === 'png' ? 2 : 1});
    button('PNG', picture('png'));
    button('SVG', picture('svg'));
    button('CSV', () => save(`vernier-${place.id}.csv`, 'text/csv', chartCsv(place.data)));
    place.after(bar);
  }
  bar.hidden = !drawn;
}

function toggle(run) {
  if (!hidden.delete(run)) hidden.add(run);
}

// Leaves one run alone; a second time brings all back.
function leave(run) {
  const alone = hidden.size === data.runs.length - 1 && !hidden.has(run);
  hidden.clear();
  if (alone) return;
  for (const other of data.runs.keys())
    if (other !== run) hidden.add(other);
}

function errorBar(rows, key, colour) {
  return {
    type: 'data',
    symmetric: false,
    color: colour,
    thickness: 1.2,
    width: 3,
    array: rows.map((row) => (known(row[key + '_high']) ? row[key + '_high'] - row[key] : 0)),
    arrayminus: rows.map((row) => (known(row[key + '_low']) ? row[key] - row[key + '_low'] : 0))
  };
}

function range(row, key, format) {
  return known(row[key + '_low']) ?
      ` (${format(row[key + '_low'])}–${format(row[key + '_high'])})` :
      '';
}

function describe(name, row) {
  const percent = (value) => (100 * value).toFixed(1);
  let out = `<b>${plain(name)}</b>, step ${whole(row.step)}`;
  if (known(row.accuracy))
    out += `<br>accuracy ${percent(row.accuracy)} %${range(row, 'accuracy', percent)}`;
  if (known(row.mean_length))
    out += `<br>length ${tokens(row.mean_length)} tokens${range(row, 'mean_length', tokens)}`;
  if (known(row.tokens_per_correct))
    out += `<br>${tokens(row.tokens_per_correct)} tokens per right answer`;
  return out + `<br>n = ${whole(row.num_samples)} answers, ${whole(row.num_prompts)} prompts`;
}

// One quantity over steps: training as a thin line, evaluations with intervals on top.
function overSteps(id, trainKey, key, yaxis) {
  const traces = [];
  data.runs.forEach((run, i) => {
    if (run.train[trainKey].some(known))
      traces.push({
        x: run.train.step,
        y: run.train[trainKey],
        mode: 'lines',
        line: {color: run.colour, width: 1},
        opacity: 0.38,
        hoverinfo: 'skip',
        showlegend: false,
        meta: i,
        name: plain(run.name)
      });
  });
  data.runs.forEach((run, i) => {
    const rows = run.checkpoints.filter((row) => known(row[key]));
    if (rows.length === 0 && !run.train[trainKey].some(known)) return;
    traces.push({
      x: rows.length ? rows.map((row) => row.step) : [null],
      y: rows.length ? rows.map((row) => row[key]) : [null],
      mode: 'lines+markers',
      name: short(run.name, 40),
      meta: i,
      line: {color: run.colour, width: 2.2},
      marker: {color: run.colour, size: 8, symbol: symbolOf(i)},
      error_y: errorBar(rows, key, run.colour),
      text: rows.map((row) => describe(run.name, row)),
      hovertemplate: '%{text}<extra></extra>'
    });
    const law = run.learning_curve;
    if (key !== 'accuracy' || !known(law.a)) return;
    const steps = rows.map((row) => row.step).filter((step) => step > 0);
    const first = Math.min(...steps), last = Math.max(...steps);
    const x = Array.from({length: 60}, (_, k) => first + ((last - first) * k) / 59);
    traces.push({
      x,
      y: x.map((n) => Math.min(1, Math.max(0, 1 - law.a * n ** law.b - law.c))),
      mode: 'lines',
      meta: i,
      csv: `${run.name} power law`,
      showlegend: false,
      line: {color: run.colour, width: 1.2, dash: 'dot'},
      hovertemplate: `${plain(run.name)}: 1 − ${law.a.toPrecision(3)}·n^${law.b.toFixed(2)} − ${
          law.c.toPrecision(3)}<extra></extra>`
    });
  });
  draw(id, traces, layout(wide() ? 430 : 400, {xaxis: axis('RL step'), yaxis}));
}

const placed = (row) => known(row.accuracy) && known(row.mean_length);

// A run's path through the plane, and its last point.
function pathOf(run, i) {
  const rows = run.checkpoints.filter(placed);
  if (rows.length === 0) return [];
  const last = rows[rows.length - 1];
  const marker = {color: run.colour, symbol: symbolOf(i)};
  const path = {
    x: rows.map((row) => row.mean_length),
    y: rows.map((row) => row.accuracy),
    mode: 'lines+markers',
    meta: i,
    showlegend: false,
    line: {color: run.colour, width: 1.6},
    marker: {...marker, size: 6},
    opacity: 0.75,
    text: rows.map((row) => describe(run.name, row)),
    hovertemplate: '%{text}<extra></extra>'
  };
  const point = {
    x: [last.mean_length],
    y: [last.accuracy],
    mode: 'markers',
    name: short(run.name, 40),
    meta: i,
    marker: {...marker, size: 15, line: {color: ink().paper, width: 1.5}},
    error_x: errorBar([last], 'mean_length', run.colour),
    error_y: errorBar([last], 'accuracy', run.colour),
    text: [describe(run.name, last)],
    hovertemplate: '%{text}<extra></extra>'
  };
  return [path, point];
}

// Equal start policies share one star.
function startStars() {
  const c = ink();
  const starts = new Map();
  for (const run of data.runs) {
    if (!run.start || run.start.step !== 0 || !placed(run.start)) continue;
    const place = run.start.mean_length + ' ' + run.start.accuracy;
    starts.set(place, {row: run.start, names: [...(starts.get(place)?.names ?? []), run.name]});
  }
  const stars = [...starts.values()];
  if (stars.length === 0) return [];
  return [{
    x: stars.map((star) => star.row.mean_length),
    y: stars.map((star) => star.row.accuracy),
    mode: 'markers',
    name: 'start policy',
    marker: {symbol: 'star', size: 15, color: c.ink, line: {color: c.paper, width: 1}},
    text: stars.map((star) => describe('start of ' + star.names.join(', '), star.row)),
    hovertemplate: '%{text}<extra></extra>'
  }];
}

function tradeOff() {
  const c = ink();
  const all = data.runs.flatMap((run) => run.checkpoints.filter(placed));
  if (all.length === 0) return draw('trade-off', [], {});
  const traces = [];
  const longest = Math.max(...all.map((row) => row.mean_length_high ?? row.mean_length));
  const front = data.frontier;
  if (front.length > 0)
    traces.push({
      x: [front[0].mean_length, ...front.map((p) => p.mean_length), longest * 1.04],
      y: [
        Math.min(...all.map((row) => row.accuracy_low ?? row.accuracy)),
        ...front.map((p) => p.accuracy), front[front.length - 1].accuracy
      ],
      mode: 'lines',
      name: 'frontier of all points',
      hoverinfo: 'skip',
      line: {color: c.soft, width: 1.4, dash: 'dot', shape: 'hv'}
    });
  data.runs.forEach((run, i) => traces.push(...pathOf(run, i)));
  traces.push(...startStars());
  draw(
      'trade-off', traces,
      layout(wide() ? 520 : 460, {xaxis: axis('mean length [tokens]'), yaxis: share()}));
}

// Places of small charts: `count` of them in `columns`, each with a title above it.
function panels(count, columns, rowHeight, gapX = 0.045) {
  const rows = Math.ceil(count / columns), height = rows * rowHeight + 30;
  const gapY = 62 / height, titleRoom = 26 / height, bottom = 48 / height;
  const w = (1 - gapX * (columns - 1)) / columns;
  const h = (1 - bottom - rows * titleRoom - gapY * (rows - 1)) / rows;
  return {
    height,
    at: (k) => {
      const column = k % columns, row = Math.floor(k / columns);
      const top = 1 - row * (h + gapY + titleRoom) - titleRoom, left = column * (w + gapX);
      return {
        x: [left, left + w],
        y: [Math.max(0, top - h), top],
        isLeft: column === 0,
        isBottom: k + columns >= count
      };
    }
  };
}

function addPanel(shape, k, place, title, colour, xaxis, yaxis) {
  const n = k === 0 ? '' : String(k + 1);
  shape['xaxis' + n] = {...xaxis, domain: place.x, anchor: 'y' + n};
  shape['yaxis' + n] = {...yaxis, domain: place.y, anchor: 'x' + n};
  shape.annotations.push({
    text: title,
    x: place.x[0],
    y: place.y[1],
    xref: 'paper',
    yref: 'paper',
    xanchor: 'left',
    yanchor: 'bottom',
    yshift: 4,
    showarrow: false,
    font: {size: 13, color: colour}
  });
  return {xaxis: 'x' + n, yaxis: 'y' + n};
}

function splitTraces(run, at) {
  const c = ink();
  const line = (key, more) =>
      ({x: run.train.step, y: run.train[key], mode: 'lines', ...at, ...more});
  const points = (key, label, more) => {
    const rows = run.checkpoints.filter((row) => known(row[key]));
    return {
      x: rows.map((row) => row.step),
      y: rows.map((row) => row[key]),
      mode: 'markers',
      ...at,
      text: rows.map(
          (row) => `<b>${plain(run.name)}</b>, step ${whole(row.step)}<br>${label} answers: ${
              tokens(row[key])} tokens`),
      hovertemplate: '%{text}<extra></extra>',
      ...more
    };
  };
  const filled = {x: run.train.step, hoverinfo: 'skip', mode: 'lines', line: {width: 0}, ...at};
  return [
    {...filled, y: run.train.right_p50},
    {...filled, y: run.train.right_p90, fill: 'tonexty', fillcolor: shade(run.colour, 0.14)},
    line('wrong_mean', {
      line: {color: run.colour, width: 1.5, dash: '4px,3px'},
      hovertemplate: 'step %{x}<br>wrong answers: %{y:.1f} tokens<extra></extra>'
    }),
    line('right_mean', {
      line: {color: run.colour, width: 2},
      hovertemplate: 'step %{x}<br>right answers: %{y:.1f} tokens<extra></extra>'
    }),
    points(
        'length_wrong_mean', 'wrong',
        {marker: {size: 8, color: c.paper, line: {color: run.colour, width: 1.6}}}),
    points(
        'length_correct_mean', 'right',
        {marker: {size: 8, color: run.colour, line: {color: c.paper, width: 1}}})
  ];
}

function split() {
  const c = ink();
  const width = data.running_steps;
  if (width > 1)
    document.getElementById('split-width').textContent = `, running over ${whole(width)} steps`;
  const runs =
      data.runs.map((run, i) => ({run, i}))
          .filter(
              ({run, i}) => !hidden.has(i) &&
                  (run.train.right_mean.some(known) || run.train.wrong_mean.some(known) ||
                   run.checkpoints.some((row) => known(row.length_correct_mean))));
  if (runs.length === 0) return draw('split', [], {});
  const columns = Math.min(runs.length, wide() ? 3 : 2);
  const grid = panels(runs.length, columns, 250);
  const shape = layout(
      grid.height, {margin: {l: 60, r: 16, t: 6, b: 10}, annotations: [], showlegend: false});
  const traces = [];
  runs.forEach(({run}, k) => {
    const place = grid.at(k);
    const at = addPanel(
        shape, k, place, `<b>${short(run.name, 34)}</b>`, c.ink,
        axis(place.isBottom ? 'RL step' : '', {matches: k > 0 ? 'x' : undefined}),
        axis(
            place.isLeft ? 'length [tokens]' : '',
            {matches: k > 0 ? 'y' : undefined, rangemode: 'tozero'}));
    traces.push(...splitTraces(run, at));
  });
  draw('split', traces, shape);
}

function histogramTraces(run, part, at) {
  const c = ink();
  const x = part.right.map((_, bin) => (bin + 0.5) * data.bin_width);
  const ranges = part.right.map(
      (_, bin) => `${whole(Math.ceil(bin * data.bin_width))}–${
          whole(Math.ceil((bin + 1) * data.bin_width) - 1)} tokens`);
  const bars = (counts, label, marker) => ({
    type: 'bar',
    x,
    y: counts.map((count) => count / part.num_samples),
    marker,
    ...at,
    text: counts.map((count, bin) => `${ranges[bin]}<br>${label}: ${whole(count)} answers`),
    textposition: 'none',
    hovertemplate: '%{text}<extra></extra>'
  });
  const traces = [
    bars(part.right, 'right', {color: run.colour}), bars(part.wrong, 'wrong', {color: c.wrong})
  ];
  if (part.unjudged.some((count) => count > 0))
    traces.push(
        bars(part.unjudged, 'unjudged', {color: c.paper, line: {color: c.wrong, width: 0.8}}));
  return traces;
}

function histograms() {
  const c = ink();
  const cells = [];
  const several =
      data.runs.some((run) => run.last.num_samples > 0 && run.last.step !== run.first.step);
  data.runs.forEach((run, i) => {
    if (hidden.has(i) || run.first.num_samples === 0) return;
    cells.push({run, part: run.first});
    const other = run.last.step !== run.first.step && run.last.num_samples > 0;
    if (several) cells.push({run, part: other ? run.last : null});
  });
  if (cells.length === 0) return draw('histograms', [], {});
  const columns = several ? 2 : Math.min(cells.length, wide() ? 3 : 2);
  const grid = panels(cells.length, columns, 195);
  const shape = layout(grid.height, {
    margin: {l: 60, r: 16, t: 6, b: 10},
    barmode: 'stack',
    bargap: 0.06,
    annotations: [],
    shapes: [],
    showlegend: false
  });
  const traces = [];
  cells.forEach(({run, part}, k) => {
    if (part === null) return;
    const place = grid.at(k);
    const title = `<b>${short(run.name, 22)}</b>, step ${whole(part.step)}: mean ${
        tokens(part.mean_length)}, n = ${whole(part.num_samples)}`;
    const at = addPanel(
        shape, k, place, title, c.ink,
        axis(place.isBottom ? 'length [tokens]' : '', {matches: k > 0 ? 'x' : undefined}),
        axis(place.isLeft ? 'answers [%]' : '', {
          tickformat: '.0%',
          matches: place.isLeft ? undefined : 'y' + (k < columns ? '' : k - (k % columns) + 1),
          nticks: 4
        }));
    traces.push(...histogramTraces(run, part, at));
    shape.shapes.push({
      type: 'line',
      xref: at.xaxis,
      yref: at.yaxis + ' domain',
      x0: part.mean_length,
      x1: part.mean_length,
      y0: 0,
      y1: 1,
      line: {color: c.ink, width: 1.2, dash: 'dot'}
    });
  });
  draw('histograms', traces, shape);
}

function curveTrace(curve, colour, width, symbol, describeBin) {
  const x = curve.bins.map((bin) => bin.mean), y = curve.bins.map((bin) => bin.accuracy);
  return {
    x,
    y,
    mode: 'lines+markers',
    name: `${plain(curve.label)} (n = ${whole(curve.num_samples)})`,
    meta: curve.label,
    line: {color: colour, width},
    marker: {color: colour, size: 7, symbol},
    error_y: errorBar(curve.bins, 'accuracy', colour),
    text: curve.bins.map(describeBin),
    hovertemplate: '%{text}<extra></extra>'
  };
}

const sizeOf = (bin) =>
    `<br>n = ${whole(bin.num_samples)} answers, ${whole(bin.num_prompts)} prompts`;

function lengthTrace(curve, ...style) {
  const percent = (value) => (100 * value).toFixed(1);
  return curveTrace(
      curve, ...style,
      (bin) => `<b>${plain(curve.label)}</b><br>${whole(bin.low)}–${whole(bin.high)} tokens<br>` +
          `accuracy ${percent(bin.accuracy)} %` + range(bin, 'accuracy', percent) + sizeOf(bin));
}

// In percentage points.
function withinTrace(curve, colour) {
  const signed = (value) => (value > 0 ? '+' : '') + value.toFixed(1);
  const bins = curve.bins.map((bin) => ({
                                ...bin,
                                accuracy: 100 * bin.accuracy,
                                accuracy_low: 100 * bin.accuracy_low,
                                accuracy_high: 100 * bin.accuracy_high
                              }));
  return curveTrace(
      {...curve, bins}, colour, 2.2, 'circle',
      (bin) => `rank ${bin.low.toFixed(2)} to ${bin.high.toFixed(2)}<br>` +
          `${signed(bin.accuracy)} points` + range(bin, 'accuracy', signed) + sizeOf(bin));
}

// A row for each distinct start policy: by length on the left, within a question on the right.
function start() {
  const c = ink();
  const starts = data.start_policies.filter(
      (s) => s.pooled.bins.length > 0 || s.within_question.bins.length > 0);
  if (starts.length === 0) return draw('start', [], {});
  const columns = wide() ? 2 : 1;
  const grid = panels(2 * starts.length, columns, wide() ? 400 : 360, 0.075);
  const shape = layout(grid.height + 40, {margin: {l: 60, r: 16, t: 40, b: 10}, annotations: []});
  const traces = [], bandColours = ['#c5a8e0', '#9d72cc', '#7a45b0', '#a0527f'],
        marks = ['circle', 'square', 'diamond', 'triangle-up'];
  starts.forEach((s, k) => {
    const names = starts.length > 1 ? `<b>${short(s.runs.join(', '), 40)}</b>: ` : '';
    const means = s.pooled.bins.map((bin) => bin.mean).filter((mean) => mean > 0);
    const type =
        means.length > 1 && Math.max(...means) > 50 * Math.min(...means) ? 'log' : 'linear';
    const left = addPanel(
        shape, 2 * k, grid.at(2 * k),
        `${names}by length (${plain(s.source)}, ${whole(s.pooled.num_prompts)} prompts)`, c.soft,
        axis('length [tokens]', {type, rangemode: 'tozero'}), share({rangemode: 'tozero'}));
    const right = addPanel(
        shape, 2 * k + 1, grid.at(2 * k + 1),
        `${names}within a question (${plain(s.within_source)}, ${
            whole(s.within_question.num_prompts)} prompts, n = ${
            whole(s.within_question.num_samples)})`,
        c.soft, axis('rank of the length in its question (−0.5 shortest, 0.5 longest)', {
          range: [-0.5, 0.5]
        }),
        axis(
            'difference in accuracy [% points]',
            {tickformat: '+d', zeroline: true, zerolinecolor: c.line}));
    const line = (curve, ...style) =>
        traces.push({...left, showlegend: k === 0, ...lengthTrace(curve, ...style)});
    s.bands.forEach((band, b) => {
      if (band.bins.length > 0) line(band, bandColours[b % 4], 1.6, marks[b % 4]);
    });
    if (s.pooled.bins.length > 0) line(s.pooled, c.ink, 2.6, 'circle');
    if (s.within_question.bins.length > 0)
      traces.push({...right, ...withinTrace(s.within_question, c.ink), showlegend: false});
  });
  draw('start', traces, shape);
}
