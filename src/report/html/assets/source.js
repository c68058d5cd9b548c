// The annotated source: one file at a time. Rows are built only while they are in view.
const ROW = 20, OVER = 12;
const viewer = { file: -1, data: null, items: [], sel: 0, open: new Set(), all: false, from: -1, to: -1 };
let V = null;
function buildViewer() {
  const order = D.files.map((f, i) => i).filter(known).sort((a, b) => timeOf(D.files[b]) - timeOf(D.files[a]) || D.files[b].m[0] - D.files[a].m[0]);
  if (!order.length) {
    $('viewer').append(el('p', { class: 'none' }, 'No line in scope has a figure.'));
    V = { order, pane: el('div'), box: el('div') };
    return;
  }
  const select = el('select', { 'aria-label': 'File', onchange: e => { location.hash = '#' + D.files[+e.target.value].k + ':'; } },
    ...order.map(i => el('option', { value: i }, shown(D.files[i].d) + (TOTAL ? ' · ' + fmtPct(timeOf(D.files[i]) / TOTAL) : ''))));
  const strip = svg('svg', { id: 'strip', role: 'img' });
  const box = el('div', { class: 'codebox', tabindex: 0, role: 'region', 'aria-label': 'Annotated source' });
  const table = el('table', { class: 'code' });
  const mini = el('div', { class: 'mini', 'aria-hidden': 'true' });
  const fold = el('button', { type: 'button', id: 'unfold', 'aria-pressed': 'false', title: 'e', onclick: () => toggleAll() }, 'Unfold all');
  const columns = columnButtons(() => { drawCode(); redrawTables(); });
  const note = el('span', { class: 'none' });
  const pane = el('div', { class: 'pane' }, box, mini);
  box.append(table);
  $('viewer').append(el('div', { class: 'tbar' }, select,
    el('button', { type: 'button', title: 'p', onclick: () => hop(-1) }, '↑ Hotter'), el('button', { type: 'button', title: 'n', onclick: () => hop(1) }, '↓ Next hot'),
    fold, columns, memoryShown() ? memoryLegend() : null, el('span', { class: 'grow' }), note), strip, pane);
  V = { order, select, strip, box, table, mini, fold, note, pane };
  let queued = false;
  box.addEventListener('scroll', () => { if (!queued) { queued = true; requestAnimationFrame(() => { queued = false; closePop(); drawRows(); }); } }, { passive: true });
  table.addEventListener('mouseover', e => { const tr = e.target.closest('tr[data-n]'); if (tr) hover(+tr.dataset.n); });
  table.addEventListener('click', e => {
    const tr = e.target.closest('tr[data-n]');
    if (!tr || e.target.closest('a')) return;
    pick(+tr.dataset.n);
    openPop(+tr.dataset.n);
  });
  mini.addEventListener('click', e => { box.scrollTop = (e.offsetY / mini.clientHeight) * box.scrollHeight - box.clientHeight / 2; });
  new ResizeObserver(() => { if (viewer.data) { drawRows(true); if (viewer.sel) hover(viewer.sel); else drawStrip(strip); } }).observe(box);
}
const hover = n => { const row = viewer.data.rows.get(n); drawStrip(V.strip, row && (row.pk || row.li) ? row : null, shown(base(D.files[viewer.file].d)) + ':' + n); };
async function showFile(at, line) {
  if (!V.order.length) return;
  if (viewer.file !== at) {
    const data = await loadFile(at);
    Object.assign(viewer, { file: at, data, open: new Set(), all: false, sel: 0 });
    V.fold.setAttribute('aria-pressed', 'false');
    V.select.value = at;
    V.note.textContent = (D.files[at].changed ? 'file changed since the run · ' : '') + fmtCount(data.last) + ' lines, ' + fmtCount(data.rows.size) + ' measured';
    drawCode();
    V.box.scrollTop = 0;
  }
  const rows = [...viewer.data.rows.entries()];
  const target = line || (rows.length ? rows.reduce((a, b) => cost(b[1]) + bytesOf(b[1]) * 1e-9 > cost(a[1]) + bytesOf(a[1]) * 1e-9 ? b : a)[0] : 1);
  reveal(target);
}
// Folds cold lines: lines more than 3 lines away from every measured line. The first line of a function with hot lines stays.
function layout() {
  const { numbers, rows } = viewer.data;
  const keep = new Set();
  for (const n of rows.keys()) for (let k = n - 3; k <= n + 3; k++) keep.add(k);
  for (const [f, , first, last] of D.functions) if (f === viewer.file) for (let k = first; k <= last; k++) if (rows.has(k)) { keep.add(first); break; }
  const items = [];
  for (let i = 0; i < numbers.length;) {
    let j = i;
    while (j < numbers.length && !keep.has(numbers[j])) j++;
    if (j - i >= 4 && !viewer.all && !viewer.open.has(numbers[i])) items.push({ fold: numbers[i], last: numbers[j - 1], count: j - i });
    else for (let k = i; k < j; k++) items.push({ n: numbers[k] });
    for (i = j; i < numbers.length && keep.has(numbers[i]); i++) items.push({ n: numbers[i] });
  }
  viewer.items = items;
}
// Figures of a line's queries.
const milliseconds = us => us == null ? '' : (us / 1e3).toFixed(3);
const sqlFigures = [['qc', 'SQL', r => r.qc ? fmtCount(r.qc) : ''], ['qs', 'SQL ms', r => milliseconds(r.qs)], ['qb', 'Build ms', r => milliseconds(r.qb)],
  ['qr', 'Rows', r => r.qr == null ? '' : fmtCount(r.qr)], ['qm', 'Mark', r => ['', 'duplicate', 'N+1'][r.qm || 0]]];
function codeColumns() {
  const rows = [...viewer.data.rows.values()];
  const scale = Math.max(1, ...rows.map(cost)), bytes = Math.max(1, ...rows.map(r => r.al || 0));
  viewer.scale = scale;
  const time = [['Time', '', r => timeBar(r, scale)], ['CPU', 'n', timeCell], ['CPU %', 'n opt', r => cost(r) ? fmtPct(cost(r) / (total() || 1)) : '']];
  const kinds = KINDS.filter(measured).map(([k, , name]) => [name[0].toUpperCase() + name.slice(1), 'n opt', r => r[k] ? fmtTime(r[k]) : '']);
  const bar = ['Memory', '', r => r.al || r.li || r.pk ? memoryBar(r, bytes) : ''];
  const figures = list => list.filter(measured).map(([k, ...column]) => column);
  const memory = [bar, ...figures([['al', 'Allocated', 'n', bytesCell('al', 'ae')], ['pk', 'At peak', 'n opt', bytesCell('pk', 'pe')]])];
  const rest = cls => figures([['li', 'Live', cls, bytesCell('li', 'le')], ['in', 'Increment', cls, bytesCell('in')], ['cp', 'Copied', cls, bytesCell('cp', 'ce')]]);
  const asked = rows.some(r => r.qc) ? sqlFigures.filter(([k]) => rows.some(r => r[k] != null)).map(([k, label, cell]) => [label, k === 'qm' ? '' : 'n', cell]) : [];
  const beside = columns => [...columns, ...asked];
  if (!memoryShown()) return beside([...time, ...kinds, ...(blocksShown() ? [['Allocated', 'n', bytesCell('al')]] : [])]);
  return beside({ time: [...time, ...kinds], both: [...time, ['Kind %', 'n opt', kindOf], ['Wait', 'n opt', r => r.wa ? fmtTime(r.wa) : ''], ...memory, ...rest('n wide-only')], memory: [time[1], ...memory, ...rest('n'), ...figures([['mu', 'Mem usage', 'n opt', bytesCell('mu')]])] }[state.columns]);
}
function drawCode() {
  layout();
  const columns = viewer.cols = codeColumns();
  const body = el('tbody');
  V.table.replaceChildren(el('caption', { class: 'sr' }, 'Source of ' + shown(D.files[viewer.file].d)),
    el('thead', null, el('tr', null, ...columns.map(([label, cls]) => el('th', { scope: 'col', class: cls }, label)), el('th', { scope: 'col', class: 'ln' }, 'Line'), el('th', { scope: 'col' }, 'Source'))), body);
  V.table.setAttribute('aria-rowcount', viewer.items.length + 1);
  V.body = body;
  drawRows(true);
  drawMini();
}
function drawMini() {
  const marks = [], count = viewer.items.length || 1;
  viewer.items.forEach((item, i) => {
    const row = item.n && viewer.data.rows.get(item.n);
    const heat = row ? cost(row) / viewer.scale : 0;
    if (heat > 0.02) { const mark = el('i'); mark.style.top = i / count * 100 + '%'; mark.style.opacity = 0.25 + 0.75 * heat; marks.push([heat, mark]); }
  });
  V.mini.replaceChildren(...marks.sort((a, b) => b[0] - a[0]).slice(0, 250).map(m => m[1]));
}
function drawRows(force) {
  const { items, cols } = viewer;
  const first = Math.max(0, Math.floor(V.box.scrollTop / ROW) - OVER), last = Math.min(items.length, Math.ceil((V.box.scrollTop + V.box.clientHeight) / ROW) + OVER);
  if (!force && viewer.from <= first + OVER / 2 && viewer.to >= last - OVER / 2 && viewer.to - viewer.from < 400) return;
  viewer.from = first;
  viewer.to = last;
  const span = cols.length + 2;
  const pad = count => { const td = el('td', { colspan: span }); td.style.height = count * ROW + 'px'; td.style.padding = 0; return el('tr', { 'aria-hidden': 'true' }, td); };
  const rows = items.slice(first, last).map((item, i) => item.n ? codeRow(item.n, first + i) : foldRow(item, span));
  V.body.replaceChildren(...(first ? [pad(first)] : []), ...rows, ...(last < items.length ? [pad(items.length - last)] : []));
}
function foldRow(item, span) {
  return el('tr', { class: 'fold' }, el('td', { colspan: span }, el('button', { type: 'button', 'aria-expanded': 'false', onclick: () => { viewer.open.add(item.fold); drawCode(); V.box.focus(); } },
    `⋯ ${fmtCount(item.count)} lines without figures (${item.fold}–${item.last})`)));
}
function codeRow(n, index) {
  const r = viewer.data.rows.get(n), file = D.files[viewer.file];
  const heat = r ? Math.ceil(Math.min(1, cost(r) / viewer.scale) * 5) : 0;
  const tr = el('tr', { 'data-n': n, class: 'h' + heat + (viewer.sel === n ? ' sel' : ''), 'aria-rowindex': index + 2, 'aria-current': viewer.sel === n ? 'true' : null });
  for (const [, cls, cell] of viewer.cols) tr.append(el('td', { class: cls }, r ? cell(r) : null));
  tr.append(el('th', { scope: 'row', class: 'ln' }, el('a', { href: '#' + file.k + ':' + n, 'aria-label': 'Link to line ' + n, tabindex: -1 }, String(n))));
  const code = el('code');
  const text = viewer.data.texts.get(n);
  paint(code, text?.length > 2000 ? text.slice(0, 2000) + '…' : text, viewer.data.colours.get(n), state.query);
  if (text == null && r) code.append(el('span', { class: 't-c' }, shown(r.fn)));
  const cell = el('td', { class: 'src' }, code);
  const libraries = r?.nat ? librariesOf(r) : [];
  if (libraries.length && libraries[0][1] > own(r) * 0.05) cell.append(el('button', { type: 'button', class: 'nat', tabindex: -1, title: 'native code behind this line:\n' + libraries.slice(0, 6).map(([object, us]) => fmtTime(us) + '  ' + shown(base(object))).join('\n') }, libraryName(libraries[0][0]) + (libraries.length > 1 ? ' +' + (libraries.length - 1) : '')));
  tr.append(cell);
  return tr;
}
function pick(n) {
  viewer.sel = n;
  drawRows(true);
  hover(n);
  history.replaceState(null, '', '#' + D.files[viewer.file].k + ':' + n);
}
function reveal(n) {
  let at = viewer.items.findIndex(item => item.n === n);
  if (at < 0) {
    const fold = viewer.items.find(item => item.fold <= n && item.last >= n);
    if (fold) { viewer.open.add(fold.fold); drawCode(); }
    at = viewer.items.findIndex(item => item.n >= n);
  }
  if (at < 0) at = viewer.items.length - 1;
  const top = at * ROW;
  if (top < V.box.scrollTop + 30 || top > V.box.scrollTop + V.box.clientHeight - 60) V.box.scrollTop = top - V.box.clientHeight * 0.35;
  if (viewer.items[at]) pick(viewer.items[at].n ?? viewer.items[at].fold);
}
function step(by) {
  const at = viewer.items.findIndex(item => item.n === viewer.sel);
  for (let i = at + by; i >= 0 && i < viewer.items.length; i += by) if (viewer.items[i].n) { reveal(viewer.items[i].n); return; }
}
// Goes to the next line in the ranking, in any file.
function hop(by) {
  const ranked = [...state.hot].sort((a, b) => cost(b) - cost(a) || bytesOf(b) - bytesOf(a));
  const now = ranked.findIndex(r => r.f === viewer.file && r.ln === viewer.sel);
  const next = ranked[Math.max(0, Math.min(ranked.length - 1, now + by))];
  if (next) location.hash = href(next.f, next.ln);
}
function toggleAll() {
  viewer.all = !viewer.all;
  viewer.open.clear();
  V.fold.setAttribute('aria-pressed', String(viewer.all));
  const keep = viewer.sel;
  drawCode();
  if (keep) reveal(keep);
}
function closePop() {
  const pop = V?.pane.querySelector('.pop'), inside = pop?.contains(document.activeElement);
  pop?.remove();
  if (inside) V.box.focus({ preventScroll: true });
}
function openPop(n) {
  closePop();
  const r = viewer.data.rows.get(n), file = viewer.file;
  if (!r) return;
  const pairs = [];
  for (const [k, letter, name] of KINDS) if (r[k]) pairs.push([letter + ' ' + name, fmtTime(r[k])]);
  if (r.gi) pairs.push(['thereof waiting for the GIL', fmtTime(r.gi)]);
  if (r.gc) pairs.push(['thereof in the garbage collector', fmtTime(r.gc)]);
  if (timeError(r)) pairs.push(['CPU samples', `${fmtCount(r.cs)} (±${fmtTime(timeError(r))})`]);
  if (r.id) pairs.push(['idle', fmtTime(r.id)]);
  if (r.cc > own(r)) pairs.push(['with callees', fmtTime(r.cc)]);
  for (const [k, label, error] of [...D.figures, ['ca', 'allocated with callees']])
    if (r[k] && (k !== 'ca' || r.ca > r.al)) pairs.push([label, fmtBytes(r[k]) + (error && r[error] >= 0.5 ? ' ±' + fmtBytes(r[error]) : '')]);
  if (r.qc) for (const [k, label, cell] of sqlFigures) if (r[k] != null) pairs.push([label, cell(r)]);
  if (r.ac) pairs.push(['blocks', fmtCount(r.ac)]);
  const leak = (D.leaks || []).find(l => l.file === file && l.line === n);
  if (leak) pairs.push(['grew until the end', fmtBytes(leak.bytes_per_s) + '/s, ' + fmtPct(leak.confidence) + ' sure']);
  const close = () => { closePop(); V.box.focus(); };
  const pop = el('div', { class: 'pop', role: 'dialog', tabindex: -1, 'aria-label': 'Figures of line ' + n },
    el('h3', null, shown(r.fn) + ' · ' + shown(base(D.files[file].d)) + ':' + n), el('button', { class: 'x', type: 'button', 'aria-label': 'Close', onclick: close }, '×'),
    el('dl', null, ...pairs.flatMap(([k, v]) => [el('dt', null, k), el('dd', null, v)])));
  const list = (title, rows) => { if (rows.length) pop.append(el('h4', null, title), el('ul', { 'aria-label': title }, ...rows.map(([what, figure]) => el('li', null, what, el('span', null, figure))))); };
  list('Native code', (r.nat || []).slice(0, 8).map(([object, symbol, us]) => [el('code', null, shown(object) + (symbol ? '  ' + shown(symbol) : '')), fmtTime(us)]));
  if (!state.only) for (const [kind, title] of [['threads', 'By thread'], ['processes', 'By process']])
    list(title, viewer.data.shares(kind, (_, line) => line === n).sort((a, b) => own(b) - own(a)).slice(0, 6).map(row => [
      el('button', { type: 'button', class: 'link', onclick: () => chooseOnly(kind, row.of) }, nameOf(kind, row.of)), fmtTime(own(row)) + (row.al ? ' · ' + fmtBytes(row.al) : '')]));
  V.pane.append(pop);
  const tr = V.body.querySelector(`tr[data-n="${n}"]`);
  const put = () => {
    const y = tr?.isConnected ? tr.getBoundingClientRect().bottom - V.pane.getBoundingClientRect().top : 40;
    pop.style.top = Math.max(4, Math.min(y + 4, V.pane.clientHeight - pop.offsetHeight - 6)) + 'px';
  };
  put();
  pop.focus({ preventScroll: true });
  callersOf(file, n).then(({ callers, frames }) => {
    if (!pop.isConnected) return;
    list('Called from', callers.slice(0, 5).map(([[f, line, name], wall, bytes]) => [
      f < D.files.length ? el('span', null, locLink(f, line), ' ' + shown(name)) : el('span', null, shown(name)), [wall && fmtTime(wall), bytes && fmtBytes(bytes)].filter(Boolean).join(' · ')]));
    if (frames) pop.append(el('button', { type: 'button', id: 'in-flame', onclick: () => { flame.mark = [file, n]; location.hash = '#flame'; } }, 'Show in the flame graph'));
    put();
  });
}
