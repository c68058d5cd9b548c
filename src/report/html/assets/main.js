// Views, keys and the tools in the head of the page.
const VIEWS = ['overview', 'source', 'flame', 'functions', 'files', 'sql', 'run'].filter($);
const root = document.documentElement;
let redrawTables = null;
function show(view) {
  for (const v of VIEWS) $(v).classList.toggle('on', v === view);
  for (const a of document.querySelectorAll('nav a')) if (a.hash === '#' + view) a.setAttribute('aria-current', 'page'); else a.removeAttribute('aria-current');
  state.view = view;
}
// Shows the message that a link names no part of this profile.
function lost() {
  const text = 'The link names nothing in this profile.';
  say(text);
  $('lost')?.remove();
  const note = el('p', { id: 'lost', class: 'only', role: 'status' }, text, el('button', { type: 'button', onclick: () => note.remove() }, 'Close'));
  document.querySelector('main').prepend(note);
}
async function route() {
  $('lost')?.remove();
  const hash = location.hash.slice(1);
  $('results').hidden = true;
  closePop();
  if (VIEWS.includes(hash) || !hash) {
    show(hash || 'overview');
    if (hash === 'flame') await showFlame();
    if (hash === 'source' && viewer.file < 0 && V.order.length) await showFile(V.order[0]); else if (hash === 'source' && viewer.data) drawRows(true);
    if (!hash || hash !== 'source') window.scrollTo(0, 0);
    return;
  }
  if (hash.startsWith('flame:')) {
    show('flame');
    await showFlame();
    if (!await zoomFrom(hash)) lost();
    return;
  }
  const cut = hash.lastIndexOf(':');
  const file = fileAt.get(cut < 0 ? hash : hash.slice(0, cut));
  if (file == null) { show('overview'); lost(); return; }
  show('source');
  window.scrollTo(0, 0);
  await showFile(file, Number(hash.slice(cut + 1)) || 0);
}
const nameOf = (kind, at) => { const { n, pid, tid } = D[kind][at]; return (shown(kind === 'processes' ? n.replace(/^\S*\//, '') : n) || 'process') + ' · ' + (tid ?? pid); };
// Text for CPU time of a thread or process without lines: with few samples, only the clock knows this time.
function unplaced(kind, at) {
  const cpu = sumOf(D[kind][at].t.slice(0, 4)), less = cpu - (state.callees?.cpu ?? cpu);
  return less > cpu / 10 && less >= 1000 ? fmtTime(less) + ' of its CPU time are on no line: too few samples met it. ' : '';
}
// Shows the share of one thread or process; without arguments, the whole run.
async function chooseOnly(kind, at) {
  const only = state.only = kind ? { kind, at } : null;
  $('only-select').value = kind ? kind + ' ' + at : '';
  state.callees = null;
  if (only) await calleesOfOnly();
  if (only !== state.only) return;
  $('cumulative').disabled = !!only && !state.callees;
  root.classList.toggle('one-thread', only?.kind === 'threads');
  const note = $('only');
  note.hidden = !only;
  if (only) note.replaceChildren('Only ' + (kind === 'threads' ? 'thread ' : 'process '), el('b', null, nameOf(kind, at)),
    ': ' + (kind === 'threads' && MEM ? 'its time and what it allocated' : 'its share') + '. ' + (MEM ? 'Memory over time, the leaks' : 'The facts of the run') + (state.callees ? ' are' : ' and the flame graph (the profile holds no shares of stacks) are') + ' of the whole run. ' + unplaced(kind, at),
    el('button', { type: 'button', onclick: () => { chooseOnly(); $('only-select').focus(); } }, 'Show all'));
  const part = only && await gather();
  if (only !== state.only) return;
  state.part = part;
  drawHead(part);
  redrawTables();
  refilterFlame();
  closePop();
  if (viewer.data) drawCode();
  say(only ? 'only ' + nameOf(kind, at) : 'the whole run');
}
// Draws the cards and the bar of the chosen thread or process; without `part`, those of the page.
function drawHead(part) {
  const cards = document.querySelector('.cards'), time = $('time');
  flame.head ??= [cards, time].map(e => e && [...e.childNodes]);
  const [theirs, bar] = flame.head;
  if (!part) { cards.replaceChildren(...theirs); time?.replaceChildren(...bar); return; }
  const card = (cls, label, figure, small, ...body) => el('li', { class: 'card ' + cls }, el('h3', null, label), el('p', { class: 'figure' }, figure, small ? ' ' : null, small ? el('small', null, small) : null), el('div', { class: 'say' }, ...body));
  const largest = figure => part.hot.reduce((a, b) => figure(b) > (a ? figure(a) : 0) ? b : a, null);
  const mostly = r => {
    const [key, , name] = CPU_KINDS.reduce((a, b) => (r[b[0]] || 0) > (r[a[0]] || 0) ? b : a);
    return el('span', { class: 'tag ' + key }, fmtPct(r[key] / own(r)) + ' ' + name);
  };
  const placed = r => [locLink(r.f, r.ln), el('code', null, shown(r.src || r.fn))];
  const { at, kind } = state.only, { t, us } = D[kind][at], all = timeOf(D[kind][at]);
  const hottest = largest(own), k = t.indexOf(Math.max(...t.slice(0, 4))), waits = largest(r => r.wa || 0), holder = largest(r => kind === 'threads' ? r.al || 0 : r.pk || 0);
  const memory = kind === 'threads' ? ['Allocates most', 'al'] : ['Owner of its memory peak', 'pk'];
  cards.replaceChildren(
    hottest ? card('hottest', 'Hottest line', fmtTime(own(hottest)), fmtPct(own(hottest) / (all || 1)), ...placed(hottest), mostly(hottest)) : card('hottest', 'Hottest line', 'none', '', 'No line in scope was seen on the CPU.'),
    us > all / 2 ? card('kind', 'Where its CPU time went', 'unknown', '', 'Python is not told from native code here.') : all > 0 ? card(KINDS[k][0], 'Where its CPU time went', fmtPct(t[k] / all), KINDS[k][2], `${fmtTime(all)} in all`) : card('kind', 'Where its CPU time went', 'nowhere', '', 'No time of it was seen.'),
    waits ? card('wa', 'Longest wait', fmtTime(waits.wa), '', ...placed(waits)) : card('wa', 'Longest wait', 'none', '', 'No line in scope waits for an answer.'),
    holder ? card('peak', memory[0], fmtBytes(holder[memory[1]]), '', ...placed(holder)) : card('peak', memory[0], MEM ? 'none' : 'not measured', '', MEM ? 'No line in scope has any.' : 'Memory was not profiled.'),
    theirs[3]);
  const row = Object.fromEntries(KINDS.map(([key], i) => [key, t[i] || 0])), wide = timeBar(row, all || 1);
  wide.classList.add('big');
  time?.replaceChildren(el('h3', null, 'CPU time by kind'), wide, el('ul', { class: 'legend' }, ...KINDS.map(([key, letter, name], i) => key === 'he' && t[i] == null ? null :
    el('li', null, el('i', { class: 'sw ' + key }), el('b', null, letter), ' ' + name + ' ', el('span', null, t[i] == null ? 'not measured' : fmtTime(t[i]) + (key === 'wa' ? '' : ' · ' + fmtPct(t[i] / (all || 1)))))), us ? el('li', null, 'kind unknown ', el('span', null, fmtTime(us) + ' · ' + fmtPct(us / all))) : null));
}
// The list of threads and processes, the largest first; null if there is only one of each.
function onlySelect() {
  const groups = [['processes', 'Processes'], ['threads', 'Threads']].filter(([kind]) => D[kind].length > 1);
  if (!groups.length) return null;
  const option = (kind, at) => el('option', { value: kind + ' ' + at }, nameOf(kind, at) + ' · ' + fmtTime(timeOf(D[kind][at])));
  const largest = kind => D[kind].map((_, at) => at).filter(at => timeOf(D[kind][at]) > 0 || D[kind][at].al > 0).sort((a, b) => timeOf(D[kind][b]) - timeOf(D[kind][a])).slice(0, 100);
  return el('select', { id: 'only-select', 'aria-label': 'Threads and processes', onchange: e => { const [kind, at] = e.target.value.split(' '); chooseOnly(kind, +at); } },
    el('option', { value: '' }, 'Whole run'), ...groups.map(([kind, label]) => el('optgroup', { label }, ...largest(kind).map(at => option(kind, at)))));
}
function theme() {
  const dark = (root.dataset.theme || (matchMedia('(prefers-color-scheme:dark)').matches ? 'dark' : 'light')) === 'dark';
  root.dataset.theme = dark ? 'light' : 'dark';
  try { localStorage.setItem('rscalene-theme', root.dataset.theme); } catch { /* a page may be denied storage */ }
  $('theme').setAttribute('aria-pressed', String(!dark));
}
function start() {
  root.classList.add('js');
  try { const kept = localStorage.getItem('rscalene-theme'); if (kept === 'dark' || kept === 'light') root.dataset.theme = kept; } catch { /* as above */ }
  redrawTables = drawTables();
  const cumulative = el('button', { type: 'button', id: 'cumulative', 'aria-pressed': 'false', title: 'c: add to each line and function the time and memory of the functions that it calls', onclick: e => {
    state.cumulative = !state.cumulative;
    cumulative.setAttribute('aria-pressed', String(state.cumulative));
    redrawTables();
    if (viewer.data) drawCode();
  } }, 'Include called functions');
  let timer = 0;
  const input = el('input', { type: 'search', id: 'search', placeholder: 'Search  /', 'aria-label': 'Search source, functions and files', oninput: e => { clearTimeout(timer); timer = setTimeout(() => search(e.target.value), 120); } });
  const dark = root.dataset.theme === 'dark' || (!root.dataset.theme && matchMedia('(prefers-color-scheme:dark)').matches);
  $('tools').append(input, ...[onlySelect()].filter(Boolean), cumulative, el('button', { type: 'button', id: 'theme', 'aria-pressed': String(dark), title: 't', onclick: theme }, 'Dark'), el('button', { type: 'button', id: 'help', 'aria-label': 'Keys', onclick: () => keys.showModal() }, '?'));
  const keys = el('dialog', { 'aria-label': 'Keys' }, el('h2', null, 'Keys'), el('dl', null, ...[
    ['1 … 6', 'views'], ['/', 'search'], ['j k', 'next and previous line'], ['n p', 'next and previous hot line, through all files'], ['Enter', 'figures of the line'],
    ['[ ]', 'previous and next file'], ['e', 'unfold all'], ['c', 'with callees'], ['t', 'light or dark'], ['Esc', 'close'], ['?', 'this list']].flatMap(([k, v]) => [el('dt', null, el('kbd', null, k)), el('dd', null, v)])),
    el('button', { type: 'button', onclick: () => keys.close() }, 'Close'));
  document.body.append(keys, el('div', { id: 'results', hidden: true, role: 'region', 'aria-label': 'Search results' }));
  for (const [kind, table] of [['threads', 'Threads'], ['processes', 'Processes']]) if (D[kind].length > 1) {
    const rows = [...document.querySelectorAll('#run table')].find(t => t.caption.textContent === table).tBodies[0].rows;
    for (const tr of rows) { const at = +tr.dataset.at; tr.cells[0].append(' ', el('button', { type: 'button', class: 'link only-this', 'aria-label': 'Only ' + nameOf(kind, at), onclick: () => { chooseOnly(kind, at); location.hash = '#overview'; } }, 'only this')); }
  }
  buildViewer();
  const owned = document.querySelector('.owners');
  if (owned) owned.querySelector('h3').append(el('button', { type: 'button', class: 'link', id: 'peak-flame', onclick: () => { flame.metric = 'peak'; setMetric('peak'); location.hash = '#flame'; } }, 'Who called them'));
  timelineHover();
  addEventListener('hashchange', route);
  addEventListener('keydown', e => {
    if (e.key === 'Escape') { closePop(); $('results').hidden = true; if (e.target === input) input.blur(); return; }
    if (e.target === input && e.key === 'Enter') { $('results').querySelector('a')?.click(); V.box.focus(); return; }
    if (e.target === input && e.key === 'ArrowDown') { e.preventDefault(); $('results').querySelector('a')?.focus(); return; }
    if (e.target.closest?.('#results') && (e.key === 'ArrowDown' || e.key === 'ArrowUp')) { e.preventDefault(); (e.key === 'ArrowDown' ? e.target.nextElementSibling : e.target.previousElementSibling)?.focus?.(); return; }
    if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName) || keys.open) return;
    const source = state.view === 'source' && viewer.data;
    const turn = by => { const at = V.order.indexOf(viewer.file) + by; if (V.order[at] != null) location.hash = '#' + D.files[V.order[at]].k + ':'; };
    const actions = { '/': () => input.focus(), t: theme, c: () => cumulative.click(), '?': () => keys.showModal(), n: () => { hop(1); }, p: () => { hop(-1); } };
    if (source) Object.assign(actions, { j: () => step(1), k: () => step(-1), e: toggleAll, '[': () => turn(-1), ']': () => turn(1) });
    if (source && e.target === V.box) Object.assign(actions, { Enter: () => openPop(viewer.sel), ArrowDown: () => step(1), ArrowUp: () => step(-1) });
    VIEWS.forEach((v, i) => { actions[String(i + 1)] = () => { location.hash = '#' + v; }; });
    if (actions[e.key]) { e.preventDefault(); actions[e.key](); }
  });
  route();
}
start();
