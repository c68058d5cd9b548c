// A text with each occurrence of the query marked.
function marked(text, query) {
  const host = el('span');
  paint(host, text, '', query);
  return host.childNodes;
}
// Text search over source, functions and paths.
let searchRun = 0;
async function search(text) {
  const query = state.query = text.trim().toLowerCase();
  const run = ++searchRun, box = $('results');
  if (viewer.data) drawRows(true);
  if (!query) { box.hidden = true; return; }
  const found = [];
  let count = 0;
  const add = (file, line, label) => { count++; if (found.length < 200) found.push([file, line, label]); };
  D.files.forEach((f, i) => { if (f.d.toLowerCase().includes(query)) add(i, 0, 'file'); });
  for (const [f, name, first] of D.functions) if (name.toLowerCase().includes(query)) add(f, first, 'def ' + name);
  if (D.source) for (const at of V.order) {
    const data = await loadFile(at);
    if (run !== searchRun) return;
    for (const [n, source] of data.texts) if (source && source.toLowerCase().includes(query)) add(at, n, source.trim().slice(0, 160));
  }
  box.replaceChildren(el('p', null, count ? fmtCount(count) + ' found' + (count > found.length ? ', the first ' + found.length + ' shown' : '') : 'nothing found'),
    ...found.map(([file, line, label]) => el('a', { href: line ? href(file, line) : '#' + D.files[file].k + ':' }, el('span', null, shown(base(D.files[file].d)) + (line ? ':' + line : '')), ...marked(label, query))));
  box.hidden = false;
  say(count + ' found');
}
