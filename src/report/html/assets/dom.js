// Elements get their content as text. No part of the script parses markup.
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
// Replaces invisible and reordering characters by visible text, as `escape.rs` does.
const HIDDEN = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u00ad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\u3164\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
const shown = text => text.replace(HIDDEN, c => {
  const n = c.codePointAt(0);
  return n === 10 ? '\u2424' : n < 32 ? String.fromCharCode(0x2400 + n) : n === 127 ? '\u2421' : '⟨U+' + n.toString(16).toUpperCase().padStart(4, '0') + '⟩';
});
const say = text => { $('live').textContent = text; };
const width = (part, whole) => part > 0 && whole > 0 ? 'w' + Math.min(100, Math.max(1, Math.round(part / whole * 100))) : 'w0';
function timeBar(r, scale) {
  const bar = el('span', { class: 'bar', 'aria-hidden': 'true' });
  // Each kind ends at the rounded sum of all kinds so far, so that rounding does not change the length of the bar.
  let soFar = 0, drawn = 0;
  for (const [k, part] of [...CPU_KINDS.map(([k]) => [k, r[k] || 0]), ['ca', Math.max(0, cost(r) - own(r))]]) {
    const wide = +width(soFar += part, scale).slice(1) - drawn;
    if (part > 0 && wide > 0) { bar.append(el('i', { class: k + ' w' + wide, title: k === 'ca' ? 'in callees' : null })); drawn += wide; }
  }
  return bar;
}
function memoryBar(r, scale) {
  return el('span', { class: 'mbar', 'aria-hidden': 'true', title: 'allocated, live at the end, at the peak' },
    ...['al', 'li', 'pk'].map(k => el('i', { class: k + ' ' + width(r[k] || 0, scale) })));
}
function kindOf(r) {
  const all = own(r);
  if (!all) return '';
  const [k, letter, name] = CPU_KINDS.reduce((a, b) => (r[b[0]] || 0) > (r[a[0]] || 0) ? b : a);
  const node = el('span', null, el('abbr', { class: 'kind ' + k, title: name }, letter), ' ' + Math.round(r[k] / all * 100));
  return node;
}
function withError(text, value, error) {
  const node = el('span', null, text), about = fmtError(value, error);
  if (about) node.append(el('span', { class: 'se', title: 'one standard error' }, ' ' + about));
  return node;
}
const timeCell = r => cost(r) ? withError(fmtTime(cost(r)), own(r), withCallees() ? 0 : timeError(r)) : '';
const bytesCell = (k, error) => r => {
  const value = k === 'al' ? bytesOf(r) : r[k];
  return value ? withError(fmtBytes(value), value, value === r[k] ? r[error] : 0) : '';
};
// Legend of the three parts of the memory bar.
const memoryLegend = () => el('span', { class: 'key memory-key', hidden: state.columns === 'time' }, ...[['al', 'allocated'], ['li', 'live at the end'], ['pk', 'at the peak']].filter(measured).flatMap(([k, name]) => [el('i', { class: 'mk ' + k }), name]));
// A group of buttons; exactly one is pressed.
function segments(name, choices, chosen, onpick) {
  return el('span', { class: 'seg', role: 'group', 'aria-label': name }, ...choices.map(([key, label]) => el('button', { type: 'button', 'data-key': key, 'aria-pressed': String(key === chosen), onclick: e => {
    for (const b of e.target.parentElement.children) b.setAttribute('aria-pressed', String(b === e.target));
    onpick(key);
  } }, label)));
}
const columnButtons = onpick => MEM ? segments('Columns', [['time', 'Time'], ['both', 'Both'], ['memory', 'Memory']], state.columns, key => {
  state.columns = key;
  for (const b of document.querySelectorAll('[aria-label=Columns] button')) b.setAttribute('aria-pressed', String(b.dataset.key === key));
  for (const legend of document.querySelectorAll('.memory-key')) legend.hidden = key === 'time';
  onpick();
}) : null;
// Time in native code behind a line by library, largest first.
function librariesOf(r) {
  const sums = new Map();
  for (const [object, , us] of r.nat || []) sums.set(object, (sums.get(object) || 0) + us);
  return [...sums].sort((a, b) => b[1] - a[1]);
}
// Name of a native library without the details of its build.
const libraryName = object => shown(base(object).replace(/(-[0-9a-f]{8})?(\.(cpython|abi3)[^.]*)*\.so[.\d]*$/, '')) || shown(object);
const href = (file, line) => '#' + D.files[file].k + ':' + line;
const locLink = (file, line) => el('a', { class: 'loc', href: href(file, line), title: shown(D.files[file].d) + ':' + line }, shown(base(D.files[file].d)) + ':' + line);
// Wide characters take two columns, as in a terminal. `wide` adds the space that the font lacks.
const WIDE = /([\u1100-\u115f\u2e80-\u303e\u3041-\u3163\u3165-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6]+)/;
function appendText(host, text) {
  if (!WIDE.test(text)) { host.append(shown(text)); return; }
  text.split(WIDE).forEach((part, i) => { if (part) host.append(i % 2 ? wide(part) : shown(part)); });
}
function wide(text) {
  const span = el('span', { class: 'wide' }, text);
  span.style.letterSpacing = spacing(text[0]) + 'em';
  return span;
}
// Space that a font lacks for two columns, in ems, by script, because scripts may come from different fonts.
const spacings = new Map();
function spacing(character) {
  const script = /[\u1100-\u11ff\ua960-\ua97f\uac00-\ud7a3]/.test(character) ? 'hangul' : /[\u3041-\u30ff]/.test(character) ? 'kana' : 'han';
  if (!spacings.has(script)) {
    const pen = el('canvas').getContext('2d');
    const probe = document.body.appendChild(el('code')), { fontSize, fontFamily } = getComputedStyle(probe);
    pen.font = fontSize + ' ' + fontFamily;
    probe.remove();
    spacings.set(script, Math.max(0, 2 * pen.measureText('0').width - pen.measureText(character).width) / parseFloat(fontSize));
  }
  return spacings.get(script);
}
// Source text with its colours, and with each occurrence of `query` marked.
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
      if (a > p) appendText(host, text.slice(p, a));
      appendText(host.appendChild(el('mark')), text.slice(Math.max(a, p), Math.min(b, to)));
      p = Math.min(b, to);
    }
    if (p < to) appendText(host, text.slice(p, to));
  }
}
