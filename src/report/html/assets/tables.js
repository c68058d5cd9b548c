// Sortable tables. A column: {key, label, value(row), cell(row), text (sorts as text), cls}.
function sortable(mount, caption, columns, rows, sort, pageSize) {
  let key = sort, down = true, limit = pageSize || 60;
  const body = el('tbody');
  const heads = columns.map(c => {
    const th = el('th', { scope: 'col', class: c.cls });
    if (!c.value) { th.append(c.label); return th; }
    th.append(el('button', { type: 'button', 'data-key': c.key, onclick: () => {
      if (key === c.key) down = !down; else { key = c.key; down = !c.text; }
      draw();
      say('sorted by ' + c.label);
    } }, c.label));
    return th;
  });
  const more = el('button', { type: 'button', onclick: () => { limit += 300; draw(); } });
  function draw() {
    const column = columns.find(c => c.key === key);
    const sorted = [...rows].sort((a, b) => {
      const x = column.value(a), y = column.value(b);
      return (column.text ? String(x).localeCompare(String(y)) : (x ?? -Infinity) - (y ?? -Infinity)) * (down ? -1 : 1);
    });
    columns.forEach((c, i) => { if (c.key === key) heads[i].setAttribute('aria-sort', down ? 'descending' : 'ascending'); else heads[i].removeAttribute('aria-sort'); });
    body.replaceChildren(...sorted.slice(0, limit).map(row => el('tr', null, ...columns.map((c, i) =>
      el(i ? 'td' : 'th', { class: c.cls, scope: i ? null : 'row' }, c.cell(row))))));
    more.textContent = 'Show more (' + fmtCount(rows.length - limit) + ')';
    more.hidden = rows.length <= limit;
  }
  draw();
  mount.replaceChildren(el('div', { class: 'scroll' }, el('table', { class: 't' }, el('caption', { class: 'sr' }, caption), el('thead', null, el('tr', null, ...heads)), body)), more);
  return { draw, set(next) { rows = next; draw(); }, sortBy(k) { key = k; down = true; draw(); } };
}
const timeColumns = scale => [
  { key: 'bar', label: 'Time', cls: 'opt', cell: r => timeBar(r, scale()) },
  { key: 'time', label: 'Seconds', cls: 'n', value: cost, cell: r => {
    const node = el('span', null, fmtTime(cost(r)));
    if (!state.cumulative && timeError(r) > 0) node.append(el('span', { class: 'se' }, ' ±' + fmtTime(timeError(r))));
    return node;
  } },
  { key: 'share', label: '%', cls: 'n opt', value: cost, cell: r => fmtPct(cost(r) / TOTAL) },
  ...KINDS.map(([k, letter, name]) => ({ key: k, label: letter, cls: 'n opt', value: r => r[k], cell: r => r[k] ? Math.round(r[k] / own(r) * 100) + '%' : '' })),
];
const memoryColumns = () => !MEM ? [] : [
  { key: 'mbar', label: 'Memory', cls: 'opt', cell: r => memoryBar(r, hotBytes) },
  ...[['al', 'Allocated', 'ae'], ['pk', 'At peak', 'pe'], ['li', 'Live', 'le'], ['in', 'Increment'], ['cp', 'Copied']].map(([k, label, error]) =>
    ({ key: k, label, cls: 'n', value: r => r[k], cell: r => r[k] ? withError(r[k], r[error]) : '' })),
];
const hotBytes = Math.max(1, ...D.hot.map(r => r.al || 0));
let hotScale = 1;
function drawTables() {
  const redraw = [];
  const rescale = () => { hotScale = Math.max(1, ...D.hot.map(cost)); };
  rescale();
  const mount = el('div');
  const panel = $('hot');
  panel.replaceChildren(el('h3', null, 'Hottest lines'), mount);
  const hot = sortable(mount, 'Hottest lines', [
    { key: 'place', label: 'Line', text: true, value: r => D.files[r.f].d + ':' + String(r.ln).padStart(9), cell: r => locLink(r.f, r.ln) },
    { key: 'src', label: 'Source', cls: 'src', cell: r => el('code', { title: shown(r.src || r.fn) }, shown(r.src || r.fn)) },
    ...timeColumns(() => hotScale), ...memoryColumns(),
  ], D.hot, TOTAL > 0 ? 'time' : 'al', 25);
  redraw.push(() => { rescale(); hot.draw(); });
  const functions = D.functions.map(([f, name, first, last, py, na, sy, wa, cc, cw, ca]) => ({ f, name, ln: first, last, py, na, sy, wa, cc, cw, ca }));
  const ownTop = Math.max(1, ...functions.map(own));
  const functionMount = el('div');
  $('functions').replaceChildren($('functions-h'), functionMount);
  const functionTable = sortable(functionMount, 'Functions', [
    { key: 'name', label: 'Function', text: true, value: r => r.name, cell: r => el('code', null, shown(r.name)) },
    { key: 'place', label: 'Place', text: true, value: r => D.files[r.f].d + ':' + String(r.ln).padStart(9), cell: r => locLink(r.f, r.ln) },
    { key: 'bar', label: 'Own time', cls: 'opt', cell: r => { const was = state.cumulative; state.cumulative = false; const bar = timeBar(r, ownTop); state.cumulative = was; return bar; } },
    { key: 'own', label: 'Own', cls: 'n', value: own, cell: r => fmtTime(own(r)) },
    { key: 'kind', label: 'Kind %', cls: 'n opt', cell: kindOf },
    { key: 'cum', label: 'With callees', cls: 'n', value: r => r.cw ?? r.cc, cell: r => (r.cw ?? r.cc) == null ? '–' : fmtTime(r.cw ?? r.cc) },
    { key: 'share', label: '% of run', cls: 'n opt', value: r => r.cw ?? r.cc, cell: r => fmtPct((r.cw ?? r.cc ?? 0) / TOTAL) },
    ...(MEM ? [{ key: 'ca', label: 'Allocated with callees', cls: 'n', value: r => r.ca, cell: r => fmtBytes(r.ca) }] : []),
  ], functions, 'own');
  redraw.push(() => functionTable.sortBy(state.cumulative ? 'cum' : 'own'));
  const files = D.files.map((f, i) => ({ i, f: i, py: f.t[0], na: f.t[1], sy: f.t[2], wa: f.t[3], al: f.m[0], li: f.m[1], pk: f.m[2], cp: f.m[3], d: f.d, lines: f.lines }));
  const fileTop = Math.max(1, ...files.map(own)), fileBytes = Math.max(1, ...files.map(r => r.al));
  const fileMount = el('div');
  $('files').replaceChildren($('files-h'), fileMount);
  sortable(fileMount, 'Files', [
    { key: 'file', label: 'File', text: true, value: r => r.d, cell: r => el('a', { class: 'loc', href: '#' + D.files[r.i].k + ':' }, shown(r.d)) },
    { key: 'lines', label: 'Lines', cls: 'n opt', value: r => r.lines, cell: r => fmtCount(r.lines) },
    { key: 'bar', label: 'Time', cls: 'opt', cell: r => timeBar(r, fileTop) },
    { key: 'time', label: 'Seconds', cls: 'n', value: own, cell: r => fmtTime(own(r)) },
    { key: 'kind', label: 'Kind %', cls: 'n opt', cell: kindOf },
    ...(MEM ? [{ key: 'mbar', label: 'Memory', cls: 'opt', cell: r => memoryBar(r, fileBytes) },
      ...[['al', 'Allocated'], ['pk', 'At peak'], ['li', 'Live'], ['cp', 'Copied']].map(([k, label]) => ({ key: k, label, cls: 'n', value: r => r[k], cell: r => fmtBytes(r[k]) }))] : []),
  ], files, TOTAL > 0 ? 'time' : 'al', 400);
  return () => redraw.forEach(f => f());
}
