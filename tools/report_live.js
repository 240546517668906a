// The page of `vernier serve`: asks the server for its data, and again whenever a run has grown.

window.vernierLive = true;
let shownVersion = null;

function put(id, html) {
  document.getElementById(id).innerHTML = html;  // the server's own tables, escaped there
}

function tellState(text, isGood) {
  const state = document.getElementById('live-state');
  state.textContent = text;
  state.className = isGood ? 'soft' : 'alarm';
}

// What the reader has chosen is of runs by name: a new one may stand before them.
function takeData(fresh) {
  const names = data === null ? [] : data.runs.map((run) => run.name);
  const place = (i) => Math.max(0, fresh.runs.findIndex((run) => run.name === names[i]));
  const off = [...hidden].map((i) => names[i]);
  hidden.clear();
  fresh.runs.forEach((run, i) => {
    if (off.includes(run.name)) hidden.add(i);
  });
  choice.run = place(choice.run);
  view.run = place(view.run);
  data = fresh;
}

async function refresh() {
  const reply = await fetch('report.json');
  if (!reply.ok) throw new Error(`the server said ${reply.status}`);
  const page = await reply.json();
  tellState(page.problem ? `Not up to date: ${page.problem}` : `Live, ${page.seen}`, !page.problem);
  if (!page.data || page.version === shownVersion) return;
  shownVersion = page.version;
  takeData(page.data);
  document.title = `Length against accuracy: ${page.names}`;
  document.getElementById('run-names').textContent = page.names;
  put('summary-rows', page.summary);
  put('cost-rows', page.cost);
  put('statements', page.statements);
  put('notes', page.notes);
  put('configs', page.configs);
  showAll();
}

// One at a time; what came meanwhile is asked for after it.
let asking = false, wanted = false;
async function ask() {
  wanted = true;
  if (asking) return;
  asking = true;
  while (wanted) {
    wanted = false;
    try {
      await refresh();
    } catch (problem) {
      tellState(`Not up to date: ${problem.message}`, false);
    }
  }
  asking = false;
}

const events = new EventSource('events');
events.addEventListener('open', ask);
events.addEventListener('report', ask);
events.addEventListener('error', () => {
  if (events.readyState === EventSource.CLOSED)
    tellState('The server refuses this page; load it again.', false);
  else
    tellState('The server does not answer; trying again.', false);
});
