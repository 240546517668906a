// The page of `vernier serve`: asks the server for its data, and again whenever a run has grown.

window.vernierLive = true;
let shownVersion = null;

function put(id, html) {
  document.getElementById(id).innerHTML = html;  // the server's own tables, escaped there
}

async function refresh() {
  const reply = await fetch('report.json');
  if (!reply.ok) throw new Error(`the server said ${reply.status}`);
  const page = await reply.json();
  const state = document.getElementById('live-state');
  state.textContent = page.problem ? `Not up to date: ${page.problem}` : `Live, ${page.seen}`;
  state.className = page.problem ? 'alarm' : 'soft';
  if (!page.data || page.version === shownVersion) return;
  shownVersion = page.version;
  data = page.data;
  document.title = `Length against accuracy: ${page.names}`;
  document.getElementById('run-names').textContent = page.names;
  put('summary-rows', page.summary);
  put('cost-rows', page.cost);
  put('statements', page.statements);
  put('notes', page.notes);
  put('configs', page.configs);
  showAll();
}

let asking = null;
function ask() {
  asking ??= refresh()
                 .catch((problem) => {
                   const state = document.getElementById('live-state');
                   state.textContent = `Not up to date: ${problem.message}`;
                   state.className = 'alarm';
                 })
                 .finally(() => {
                   asking = null;
                 });
  return asking;
}

const events = new EventSource('events');
events.addEventListener('report', ask);
events.addEventListener('error', () => {
  const state = document.getElementById('live-state');
  state.textContent = 'The server does not answer; trying again.';
  state.className = 'alarm';
});
