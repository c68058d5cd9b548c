// Sortable tables. A column: {key, label, value(row), cell(row), text (sorts as text), cls, title}.
function sortable(mount, caption, columnsOf, rows, sort, pageSize) {
  let key = sort, down = true, limit = pageSize || 60, columns, heads;
  const head = el('tr'), body = el('tbody');
  const more = el('button', { type: 'button', onclick: () => { limit += 300; draw(); } });
  function rehead() {
    columns = columnsOf();
    heads = columns.map(c => el('th', { scope: 'col', class: c.cls, title: c.title, onclick: c.value && (() => {
      if (key === c.key) down = !down; else { key = c.key; down = !c.text; }
      draw();
      say('sorted by ' + c.label);
    }) }, c.value ? el('button', { type: 'button', 'data-key': c.key }, c.label) : c.label));
    head.replaceChildren(...heads);
    if (!columns.some(c => c.key === key)) { key = columns.find(c => c.value && !c.text).key; down = true; }
  }
  function draw() {
    const column = columns.find(c => c.key === key);
    const sorted = [...rows].sort((a, b) => {
      const x = column.value(a), y = column.value(b);
      return (column.text ? String(x).localeCompare(String(y)) : (x ?? -Infinity) - (y ?? -Infinity)) * (down ? -1 : 1);
    });
    columns.forEach((c, i) => { if (c.key === key) heads[i].setAttribute('aria-sort', down ? 'descending' : 'ascending'); else heads[i].removeAttribute('aria-sort'); });
    body.replaceChildren(...sorted.slice(0, limit).map(row => {
      const tr = el('tr', null, ...columns.map((c, i) => el(i ? 'td' : 'th', { class: c.cls, scope: i ? null : 'row' }, c.cell(row))));
      tr.row = row;
      return tr;
    }));
    more.textContent = 'Show more (' + fmtCount(rows.length - limit) + ')';
    more.hidden = rows.length <= limit;
    nothing.hidden = rows.length > 0;
    table.hidden = !rows.length;
  }
  const table = el('div', { class: 'scroll' }, el('table', { class: 't' }, el('caption', { class: 'sr' }, caption), el('thead', null, head), body));
  const nothing = el('p', { class: 'none' }, 'Nothing in scope has a figure.');
  rehead();
  draw();
  mount.replaceChildren(table, nothing, more);
  return { set(next, sortBy) { rows = next; if (sortBy) { key = sortBy; down = true; } rehead(); draw(); } };
}
const kindColumns = () => KINDS.filter(measured).map(([k, , name]) => ({ key: k, label: name[0].toUpperCase() + name.slice(1), cls: 'n', value: r => r[k], cell: r => r[k] ? fmtTime(r[k]) : '' }));
// Sorts by the largest kind, then by its share.
const kindColumn = () => ({ key: 'kind', label: 'Kind %', cls: 'n opt', value: kindRank, cell: kindOf });
function kindRank(r) {
  const parts = CPU_KINDS.map(([k]) => r[k] || 0), most = Math.max(...parts);
  return most ? CPU_KINDS.length - parts.indexOf(most) + most / own(r) / 2 : 0;
}
const waitColumn = () => ({ key: 'wa', label: 'Wait', cls: 'n opt', value: r => r.wa, cell: r => r.wa ? fmtTime(r.wa) : '' });
// The columns of lines. `scale` holds the largest time and the largest bytes in the table.
function lineColumns(scale) {
  const time = { key: 'time', label: 'CPU', cls: 'n', value: cost, cell: timeCell };
  const bars = [{ key: 'bar', label: 'Time', cls: 'opt', value: cost, cell: r => timeBar(r, scale.time) }, time, { key: 'share', label: 'CPU %', cls: 'n opt', value: cost, cell: r => cost(r) ? fmtPct(cost(r) / (total() || 1)) : '' }];
  const number = (k, label, error, cls = 'n') => ({ key: k, label, cls, value: k === 'al' ? bytesOf : r => r[k], cell: bytesCell(k, error) });
  const memory = [{ key: 'mbar', label: 'Memory', cls: 'opt', title: 'allocated, live at the end, at the peak', value: bytesOf, cell: r => memoryBar(r, scale.bytes) }, number('al', 'Allocated', 'ae'), number('pk', 'At peak', 'pe')];
  const asked = D.hot.some(r => r.qc) && !state.only ? sqlFigures.filter(([k]) => D.hot.some(r => r[k] != null)).map(([k, label, cell]) => ({ key: k, label, cls: k === 'qm' ? '' : 'n', value: r => r[k], cell })) : [];
  if (!memoryShown()) return [...bars, ...kindColumns(), ...(blocksShown() ? [number('al', 'Allocated')] : []), ...asked];
  return [...{
    time: () => [...bars, ...kindColumns()],
    both: () => [...bars, kindColumn(), waitColumn(), ...memory, number('li', 'Live', 'le', 'n opt')],
    memory: () => [...memory, number('li', 'Live', 'le'), number('in', 'Increment'), number('cp', 'Copied', 'ce')],
  }[state.columns]().filter(c => !UNKNOWN.has(c.key)), ...asked];
}
// Figures of the chosen thread or process, from all files.
async function gather() {
  const files = await Promise.all(D.files.map((_, at) => loadFile(at)));
  const functions = new Map(), parts = [], hot = [];
  const add = (sum, row) => { for (const k of ['py', 'na', 'he', 'sy', 'wa', 'al', 'li', 'pk', 'cp']) sum[k] = (sum[k] || 0) + (row[k] || 0); };
  for (const file of files) {
    const part = {};
    for (const row of file.rows.values()) {
      const key = file.at + '\n' + row.fn;
      if (!functions.has(key)) functions.set(key, {});
      add(functions.get(key), row);
      add(part, row);
      if (worth(row) || row.cw || row.ca) hot.push({ ...row, src: file.texts.get(row.ln)?.trim().slice(0, 160) });
    }
    parts.push(part);
  }
  return { functions, parts, hot };
}
// Draws the tables. Returns a function that draws them again, for `state.part` if set.
function drawTables() {
  const FUNCTIONS = D.functions.map(([f, name, first, last, py, na, he, sy, wa, cc, cw, ca]) => ({ f, name, ln: first, last, py, na, he, sy, wa, cc, cw, ca })).filter(r => known(r.f));
  const FILES = D.files.map((f, i) => ({ i, ...Object.fromEntries(KINDS.map(([k], j) => [k, f.t[j]])), al: f.m[0], li: f.m[1], pk: f.m[2], cp: f.m[3], d: f.d, lines: f.lines })).filter(r => known(r.i));
  const scales = { hot: {}, functions: {}, files: {} };
  const scale = (name, rows, time) => { Object.assign(scales[name], { time: Math.max(1, ...rows.map(time)), bytes: Math.max(1, ...rows.map(r => r.al || 0)) }); return rows; };
  const hotRows = () => scale('hot', state.hot.filter(worth), cost);
  const ownBar = r => { const was = state.cumulative; state.cumulative = false; const bar = timeBar(r, scales.functions.time); state.cumulative = was; return bar; };
  const place = { key: 'place', label: 'Line', text: true, value: r => D.files[r.f].d + ':' + String(r.ln).padStart(9), cell: r => locLink(r.f, r.ln) };
  const callees = r => r.cc;
  const hotMount = el('div'), functionMount = el('div'), fileMount = el('div');
  $('hot').replaceChildren(el('div', { class: 'tbar' }, el('h3', null, 'Hottest lines'), el('span', { class: 'grow' }), MEM ? memoryLegend() : null, columnButtons(() => { hot.set(hotRows()); if (viewer.data) drawCode(); })), hotMount);
  $('functions').replaceChildren($('functions-h'), functionMount);
  $('files').replaceChildren($('files-h'), fileMount);
  const first = () => total() > 0 ? 'time' : 'al';
  const hot = sortable(hotMount, 'Hottest lines', () => [place,
    { key: 'src', label: 'Source', cls: 'src', text: true, value: r => r.src || r.fn, cell: r => el('a', { class: 'plain', tabindex: -1, href: href(r.f, r.ln) }, el('code', { title: shown(r.src || r.fn) }, shown(r.src || r.fn))) },
    ...lineColumns(scales.hot)], hotRows(), first(), 25);
  const functions = sortable(functionMount, 'Functions', () => [
    { key: 'name', label: 'Function', text: true, cls: 'name', value: r => r.name, cell: r => el('code', { title: shown(r.name) }, shown(r.name)) },
    { ...place, label: 'Defined at' },
    { key: 'bar', label: 'Time', cls: 'opt', value: own, cell: ownBar },
    { key: 'own', label: 'Own', cls: 'n', value: own, cell: r => fmtTime(own(r)) },
    kindColumn(),
    ...(state.only && !state.callees ? [] : [
      { key: 'cum', label: 'Total', cls: 'n', value: callees, cell: r => callees(r) == null ? '–' : fmtTime(callees(r)) },
      { key: 'share', label: state.only ? '%' : 'Total %', cls: 'n opt', value: callees, cell: r => fmtPct((callees(r) ?? 0) / (total() || 1)) },
      ...(MEM ? [{ key: 'ca', label: 'Allocated with callees', cls: 'n', value: r => r.ca, cell: r => fmtBytes(r.ca) }] : [])]),
  ], scale('functions', FUNCTIONS, own), 'own');
  const files = sortable(fileMount, 'Files', () => [
    { key: 'file', label: 'File', text: true, cls: 'name', value: r => r.d, cell: r => el('a', { class: 'loc end', href: '#' + D.files[r.i].k + ':', title: shown(r.d) }, el('bdi', null, shown(r.d))) },
    { key: 'lines', label: 'Lines', cls: 'n opt', value: r => r.lines, cell: r => fmtCount(r.lines) },
    { key: 'bar', label: 'Time', cls: 'opt', value: own, cell: r => timeBar(r, scales.files.time) },
    { key: 'time', label: 'CPU', cls: 'n', value: own, cell: r => fmtTime(own(r)) },
    kindColumn(),
    ...(memoryShown() ? [{ key: 'mbar', label: 'Memory', cls: 'opt', value: r => r.al, cell: r => memoryBar(r, scales.files.bytes) },
      ...[['al', 'Allocated'], ['pk', 'At peak'], ['li', 'Live'], ['cp', 'Copied']].filter(measured).map(([k, label]) => ({ key: k, label, cls: 'n', value: r => r[k], cell: r => r[k] ? fmtBytes(r[k]) : '' }))] : blocksShown() ? [{ key: 'al', label: 'Allocated', cls: 'n', value: r => r.al, cell: r => fmtBytes(r.al) }] : []),
  ], scale('files', FILES, own), first(), 400);
  if ($('sql-rows')) sortable($('sql-rows'), 'Queries', () => [
    { ...place, value: r => r.f == null ? '' : place.value(r), cell: r => r.f == null ? '(no line)' : place.cell(r) },
    { key: 'count', label: 'Count', cls: 'n', value: r => r.count, cell: r => fmtCount(r.count) },
    { key: 'us', label: 'SQL', cls: 'n', value: r => r.us, cell: r => fmtTime(r.us) },
    { key: 'longest', label: 'Longest', cls: 'n opt', value: r => r.longest, cell: r => fmtTime(r.longest) },
    { key: 'rows', label: 'Rows', cls: 'n', value: r => r.rows, cell: r => r.rows == null ? '–' : fmtCount(r.rows) },
    { key: 'failed', label: 'Failed', cls: 'n opt', value: r => r.failed, cell: r => r.failed ? fmtCount(r.failed) : '' },
    { key: 'mark', label: 'Mark', text: true, value: r => r.mark || '', cell: r => r.mark || '' },
    { key: 'text', label: 'Statement', cls: 'src', text: true, value: r => r.text, cell: r => el('code', { title: shown(r.text) }, shown(r.text)) },
  ], D.sql.map(([f, ln, count, us, longest, rows, failed, mark, text]) => ({ f, ln, count, us, longest, rows, failed, mark, text })), 'us', 100);
  if (D.modules.length > 1) sortable(fileMount.parentNode.appendChild(el('div', { class: 'more' }, el('h3', null, 'Modules and packages'))), 'Modules and packages', () => [
    { key: 'name', label: 'Module or package', text: true, cls: 'name', value: r => r.n, cell: r => el('span', { class: r.lib ? null : 'mono' }, shown(r.n)) },
    { key: 'own', label: 'Own CPU', cls: 'n', value: r => r.own, cell: r => fmtTime(r.own) },
    { key: 'share', label: 'CPU %', cls: 'n opt', value: r => r.own, cell: r => fmtPct(r.own / (TOTAL || 1)) },
    { key: 'all', label: 'Total', cls: 'n', value: r => r.all, cell: r => fmtTime(r.all) },
    ...(MEM ? [{ key: 'al', label: 'Allocated', cls: 'n', value: r => r.al, cell: r => fmtBytes(r.al) }] : []),
  ], D.modules, 'own', 30);
  return () => {
    const { part } = state;
    state.hot = part ? part.hot : D.hot;
    hot.set(hotRows());
    const withTheirs = r => {
      const key = r.f + '\n' + r.name, sums = state.callees?.functions.get(key);
      return { f: r.f, name: r.name, ln: r.ln, last: r.last, ...part.functions.get(key), ...(sums && { cw: sums.w, cc: sums.c, ca: sums.a }) };
    };
    const parts = part ? FUNCTIONS.map(withTheirs).filter(r => own(r) || r.cw || r.ca) : FUNCTIONS;
    functions.set(scale('functions', parts, own), withCallees() ? 'cum' : 'own');
    files.set(scale('files', part ? FILES.map(r => ({ i: r.i, d: r.d, lines: r.lines, ...part.parts[r.i] })).filter(worth) : FILES, own));
  };
}
