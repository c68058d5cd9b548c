// The embedded profile: figures as microseconds and bytes; files unpack on first use.
const D = JSON.parse(document.getElementById('profile-data').textContent);
Object.assign(D, await unpack(D.head));
const MEM = D.totals.alloc_bytes != null;
// The kinds of time. Rankings and bars use the first four, the kinds of CPU time.
const KINDS = [['py', 'P', 'Python'], ['na', 'N', 'native'], ['he', 'H', 'helpers'], ['sy', 'S', 'system'], ['wa', 'W', 'waiting']];
const CPU_KINDS = KINDS.slice(0, 4);
// `only`: the thread or process whose shares the page shows; `part`: its tables; `callees`: figures of its lines with callees; `columns`: the figures that the code view shows.
const state = { cumulative: false, query: '', only: null, part: null, callees: null, columns: innerWidth < 700 ? 'time' : 'both', hot: D.hot };
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return JSON.parse(await new Response(stream).text());
}
const fileCache = new Map();
// A file as {last, numbers, texts, colours, rows}. `rows` holds the figures by line, of the whole run or of the chosen thread or process.
function loadFile(at) {
  if (!fileCache.has(at)) fileCache.set(at, unpack(D.blobs[at]).then(raw => readFile(raw, at)));
  return fileCache.get(at);
}
function readFile(raw, at) {
  const texts = new Map(), colours = new Map(), whole = new Map();
  const src = raw.src.split('\n'), tok = raw.tok.split('\n');
  let i = 0;
  for (const [start, count] of raw.rg) for (let n = start; n < start + count; n++, i++) { texts.set(n, src[i]); colours.set(n, tok[i]); }
  let line = 0;
  const lines = (raw.ln || []).map(step => line += step);
  const functionOf = j => raw.fns[raw.fn[j]];
  const add = (rows, n, row) => { if (rows.has(n)) mergeRow(rows.get(n), row); else rows.set(n, row); };
  lines.forEach((n, j) => add(whole, n, { ...cells(raw, j), ln: n, f: at, fn: functionOf(j), nat: raw.nat[j] }));
  // Shares of threads or processes in the lines. A share without figures of time equals the figures of its line.
  const shares = (kind, wanted) => {
    const rows = new Map(), columns = raw[kind];
    for (let j = 0, line = 0; j < (columns?.n || 0); j++) {
      const { at: step, of, ...figures } = cells(columns, j);
      line += step;
      if (!wanted(of, lines[line])) continue;
      let row = figures;
      if (KINDS.every(([k]) => figures[k] == null)) {
        const { py, na, he, sy, wa, gi, id, gc, cs, ce, cc, cw, ca, ln, ...memory } = cells(raw, line);
        row = { ...(kind === 'threads' ? {} : memory), py, na, he, sy, wa, gi, id, gc, cs, ce, ...(kind === 'threads' && { al: figures.al }) };
      }
      add(rows, lines[line] + ' ' + of, { ...row, of, ln: lines[line], f: at, fn: functionOf(line) });
    }
    return [...rows.values()];
  };
  const last = Math.max(0, ...raw.rg.map(([s, c]) => s + c - 1), lines.length ? lines[lines.length - 1] : 0);
  // Numbers of the lines that the page can show, ascending. Files without text have gaps.
  const numbers = [...new Set([...texts.keys(), ...whole.keys()])].sort((a, b) => a - b);
  if (texts.size && texts.get(numbers[numbers.length - 1]) === '' && !whole.has(numbers[numbers.length - 1])) numbers.pop();
  let only = null, part = null;
  return { at, last, numbers, texts, colours, shares, get rows() {
    if (!state.only) return whole;
    if (only !== state.only) { only = state.only; part = new Map(shares(only.kind, of => of === only.at).map(row => [row.ln, row]));
      // The stacks give the figures with callees. A line that only calls others has no other figures.
      for (const [n, sums] of state.callees?.lines.get(at) || []) {
        if (!part.has(n)) part.set(n, { ln: n, f: at, fn: sums.name });
        Object.assign(part.get(n), { cw: sums.w, cc: sums.c, ca: sums.a });
      }
    }
    return part;
  } };
}
// Row `j` of a table of columns. A column of zeros is sent as 0.
function cells(table, j) {
  const row = {};
  for (const k in table) if (k.length === 2 && !['rg', 'fn'].includes(k)) row[k] = table[k] === 0 ? 0 : table[k][j];
  return row;
}
// Two functions may share a line. Their figures add up, except the footprint of the process.
function mergeRow(a, b) {
  for (const k of Object.keys(b)) {
    if (typeof b[k] !== 'number' || ['f', 'ln', 'of'].includes(k)) continue;
    if (['mu', 'cc', 'cw', 'ca', 'qm'].includes(k)) a[k] = Math.max(a[k] ?? 0, b[k]);
    else if (['ae', 'le', 'pe', 'ce'].includes(k)) a[k] = Math.hypot(a[k] ?? 0, b[k]);
    else a[k] = (a[k] ?? 0) + b[k];
  }
  if (b.nat) a.nat = (a.nat || []).concat(b.nat);
  if (a.fn !== b.fn) a.fn += ', ' + b.fn;
}
const own = r => CPU_KINDS.reduce((s, [k]) => s + (r[k] || 0), 0);
// Figures with callees of a thread or process exist only if the profile has its shares of stacks.
const withCallees = () => state.cumulative && (!state.only || state.callees);
const cost = r => withCallees() ? Math.max(r.cc || 0, own(r)) : own(r);
const bytesOf = r => withCallees() ? Math.max(r.ca || 0, r.al || 0) : r.al || 0;
const worth = r => cost(r) > 0 || r.wa > 0 || bytesOf(r) > 0 || r.li > 0 || r.pk > 0 || r.cp > 0 || r.qc > 0;
const blocksShown = () => MEM && state.only?.kind === 'threads';
const memoryShown = () => MEM && state.only?.kind !== 'threads';
const sumOf = times => times.reduce((s, v) => s + (v || 0), 0);
// The CPU time of a thread or process, including user time without a kind.
const timeOf = one => sumOf(one.t.slice(0, 4)) + (one.us || 0);
const total = () => state.only ? timeOf(D[state.only.kind][state.only.at]) : TOTAL;
const TOTAL = 1e6 * ['python_s', 'native_s', 'helpers_s', 'system_s', 'user_s'].reduce((s, k) => s + (D.totals[k] || 0), 0);
// Figures that no hottest line has, because they were not measured. They get no column: an empty cell would read as zero.
const UNKNOWN = new Set(['py', 'na', 'he', 'sy', 'wa', 'pk', 'li', 'in', 'cp', 'mu'].filter(k => D.hot.every(r => r[k] == null)));
const measured = ([key]) => !UNKNOWN.has(key);
function fmtTime(us) {
  const s = us / 1e6, d = v => v < 9.995 ? v.toFixed(2) : v < 99.95 ? v.toFixed(1) : v.toFixed(0);
  if (!us) return '0 s';
  if (s < 0.9995e-3) return d(us) + ' us';
  if (s < 0.9995) return d(us / 1e3) + ' ms';
  if (s < 119.5) return d(s) + ' s';
  const m = Math.round(s);
  return m < 3600 ? Math.floor(m / 60) + ' min ' + String(m % 60).padStart(2, '0') + ' s' : Math.floor(m / 3600) + ' h ' + String(Math.round(m % 3600 / 60)).padStart(2, '0') + ' min';
}
function fmtBytes(b) {
  if (b == null) return '–';
  const sign = b < 0 ? '-' : '';
  b = Math.abs(b);
  if (b < 1024) return sign + Math.round(b) + ' B';
  let u = 0;
  for (b /= 1024; b >= 1023.5 && u < 5; u++) b /= 1024;
  return sign + b.toFixed(b < 9.995 ? 2 : b < 99.95 ? 1 : 0) + ' ' + ['KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'][u];
}
const fmtPct = v => v >= 0.0995 ? Math.round(v * 100) + '%' : v >= 0.0005 ? (v * 100).toFixed(1) + '%' : v > 0 ? '<0.1%' : '0%';
const fmtCount = n => String(n).replace(/\B(?=(\d{3})+$)/g, ',');
// Profiles before format 1.3 have no standard error: for them, one over the root of the samples.
const timeError = r => r.ce ?? (r.cs > 0 ? own(r) / Math.sqrt(r.cs) : 0);
// A standard error as a share of its figure; empty below 0.5 %.
const fmtError = (value, error) => value && error / value >= 0.005 ? '±' + Math.round(error / value * 100) + '%' : '';
// Whether a file has figures of its own. A file without them has functions that only call code out of scope.
const known = file => D.files[file].t.some(v => v) || D.files[file].m.some(v => v);
const fileAt = new Map(D.files.map((f, i) => [f.k, i]));
const base = path => path.slice(path.lastIndexOf('/') + 1);
