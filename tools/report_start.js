// Draws the page, and again when it has to.

// Counts calls of drawAll(): one that began before the last gives up.
let drawing = 0;

// One chart after the other, the first ones at once: between them the page can be read and used.
// `data-drawn` of the page says "all" when the last one is there.
async function drawAll() {
  const mine = ++drawing;
  const state = document.documentElement.dataset;
  state.drawn = '';
  const blocks = Math.max(...data.runs.map((run) => run.train.block));
  for (const place of document.getElementsByClassName('block-width'))
    place.textContent = blocks > 1 ? `, means over up to ${whole(blocks)} steps` : '';
  const charts = {
    'trade-off': tradeOff,
    accuracy: () => overSteps('accuracy', 'accuracy', 'accuracy', share()),
    length: () => overSteps(
        'length', 'mean_length', 'mean_length',
        axis('mean length [tokens]', {rangemode: 'tozero'})),
    fan,
    split,
    histograms,
    difficulty,
    start,
    law,
    optimum,
    budgets,
    pairs,
    outliers,
    pushes,
    timings
  };
  // One that cannot be drawn says so in its place, and the others are drawn.
  for (const [id, chart] of Object.entries(charts)) {
    if (id !== 'trade-off') await new Promise((go) => setTimeout(go));
    if (mine !== drawing) return;
    try {
      chart();
    } catch (problem) {
      console.error(id, problem);
      draw(id, [], {}, `This chart could not be drawn: ${problem.message}`);
    }
  }
  state.drawn = 'all';
}

// Which runs are shown: the same as clicks in a legend, for the keyboard.
function runBoxes() {
  const place = document.getElementById('run-boxes');
  place.replaceChildren(...data.runs.map((run, i) => {
    const label = element('label');
    const box = element('input');
    box.type = 'checkbox';
    box.checked = !hidden.has(i);
    box.addEventListener('change', () => {
      toggle(i);
      drawAll();
    });
    const mark = element('i');
    mark.style.background = run.colour;
    label.append(box, mark, run.name);
    return label;
  }));
  place.hidden = data.runs.length < 2;
}

function showAll() {
  runBoxes();
  drawAll();
  samples();
}

listen();
if (data !== null) showAll();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  if (data !== null) showAll();
});
let wasWide = wide();
addEventListener('resize', () => {
  if (wide() === wasWide || data === null) return;
  wasWide = wide();
  drawAll();
});
