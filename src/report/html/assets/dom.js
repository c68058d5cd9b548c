// Elements are made of text only: nothing here, nor anywhere else, parses markup.
const $ = id => document.getElementById(id);
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (v == null || v === false) continue;
    if (k.startsWith('on')) node.addEventListener(k.slice(2), v); else node.setAttribute(k, v === true ? '' : v);
  }
  node.append(...children.filter(c => c != null));
  return node;
}
function svg(tag, attributes, text) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [k, v] of Object.entries(attributes || {})) node.setAttribute(k, v);
  if (text != null) node.textContent = text;
  return node;
}
// Invisible and reordering characters are shown, as in the static part.
const HIDDEN = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const shown = text => text.replace(HIDDEN, c => {
  const n = c.charCodeAt(0);
  return n === 10 ? '\u2424' : n < 32 ? String.fromCharCode(0x2400 + n) : n === 127 ? '\u2421' : '⟨U+' + n.toString(16).toUpperCase().padStart(4, '0') + '⟩';
});
const say = text => { $('live').textContent = text; };
const width = (part, whole) => part > 0 && whole > 0 ? 'w' + Math.min(100, Math.max(1, Math.round(part / whole * 100))) : 'w0';
function timeBar(r, scale) {
  const bar = el('span', { class: 'bar', 'aria-hidden': 'true' });
  for (const [k] of KINDS) if (r[k] > 0) bar.append(el('i', { class: k + ' ' + width(r[k], scale) }));
  const rest = cost(r) - own(r);
  if (rest > 0) bar.append(el('i', { class: 'ca ' + width(rest, scale), title: 'in callees' }));
  return bar;
}
function memoryBar(r, scale) {
  return el('span', { class: 'mbar', 'aria-hidden': 'true', title: 'allocated, live at the end, at the peak' },
    ...['al', 'li', 'pk'].map(k => el('i', { class: k + ' ' + width(r[k] || 0, scale) })));
}
function kindOf(r) {
  const all = own(r);
  if (!all) return '';
  const [k, letter, name] = KINDS.reduce((a, b) => (r[b[0]] || 0) > (r[a[0]] || 0) ? b : a);
  const node = el('span', null, el('abbr', { class: 'kind ' + k, title: name }, letter), ' ' + Math.round(r[k] / all * 100));
  return node;
}
function withError(value, error) {
  if (value == null) return '–';
  const text = el('span', null, fmtBytes(value));
  if (error >= 0.5 && error > value * 0.01) text.append(el('span', { class: 'se' }, ' ±' + fmtBytes(error)));
  return text;
}
const href = (file, line) => '#' + D.files[file].k + ':' + line;
const locLink = (file, line) => el('a', { class: 'loc', href: href(file, line), title: shown(D.files[file].d) + ':' + line }, shown(base(D.files[file].d)) + ':' + line);
// Coloured source; `query` is marked.
function paint(parent, text, colours, query) {
  text = text ?? '';
  const cuts = [];
  let at = 0;
  for (const [, kind, len] of (colours || '').matchAll(/([a-z])(\d+)/g)) { cuts.push([at, Math.min(at += +len, text.length), kind]); }
  if (at < text.length) cuts.push([at, text.length, 'w']);
  const hits = [];
  if (query) for (let i = text.toLowerCase().indexOf(query); i >= 0; i = text.toLowerCase().indexOf(query, i + query.length)) hits.push([i, i + query.length]);
  for (const [from, to, kind] of cuts) {
    const host = kind === 'w' ? parent : parent.appendChild(el('span', { class: 't-' + kind }));
    let p = from;
    for (const [a, b] of hits) {
      if (b <= p || a >= to) continue;
      if (a > p) host.append(shown(text.slice(p, a)));
      host.append(el('mark', null, shown(text.slice(Math.max(a, p), Math.min(b, to)))));
      p = Math.min(b, to);
    }
    if (p < to) host.append(shown(text.slice(p, to)));
  }
}
