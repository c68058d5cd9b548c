// The flame graph, callers on top: a button for each frame wide enough to see, rebuilt at each zoom.
const IMPORTING = /^<frozen importlib\._bootstrap(_external)?>$/;
const FROW = 19, LEAST = 2, MOST = 2500;
const flame = { tree: null, metric: 'wall', zoom: null, lines: false, native: null, hits: [], hit: -1 };
function buildTree(S, byLine) {
  const { w, c, a, k } = figuresOf(S);
  const root = { name: 'all', file: -1, line: 0, wall: 0, cpu: 0, mem: 0, peak: 0, kids: new Map(), up: null, depth: 0 };
  const nodes = [], lineAt = [];
  S.p.forEach((parent, i) => {
    const [file, line, name] = S.frames[S.f[i]];
    const up = parent < 0 ? root : nodes[parent];
    if (flame.native) {
      // With `native`, the native code behind a line replaces the library frames below the line.
      const own = file < D.files.length, lib = parent < 0 ? null : lineAt[parent];
      lineAt.push(own ? [file, line] : lib);
      if (!own && lib) {
        for (let n = up; n; n = n.up) { n.wall += w[i]; n.cpu += c[i]; n.mem += a[i]; n.peak += k[i]; }
        nodes.push(up);
        addNative(up, lib, c[i]);
        return;
      }
    }
    // Frames of `import` itself are left out: their figures count for the importing frame.
    if (IMPORTING.test(pathOf(S, file))) {
      for (let n = up; n; n = n.up) { n.wall += w[i]; n.cpu += c[i]; n.mem += a[i]; n.peak += k[i]; }
      nodes.push(up);
      return;
    }
    const key = file + '\n' + name + (byLine ? '\n' + line : '');
    let node = up.kids.get(key);
    if (!node) up.kids.set(key, node = { name, file, line, best: -1, wall: 0, cpu: 0, mem: 0, peak: 0, kids: new Map(), up, depth: up.depth + 1 });
    // A function shows its line with the most wall time here.
    if (w[i] > node.best) { node.best = w[i]; node.line = line; }
    if (w[i] || a[i] || k[i]) for (let n = node; n; n = n.up) { n.wall += w[i]; n.cpu += c[i]; n.mem += a[i]; n.peak += k[i]; }
    nodes.push(node);
    if (flame.native && lineAt[i]) addNative(node, lineAt[i], c[i]);
  });
  return root;
}
// Divides CPU time of a line as in the whole run, because samples of native code have no stack.
function addNative(node, [file, line], cpu) {
  const row = cpu > 0 && flame.native.get(file)?.get(line);
  for (const [object, symbol, us] of row?.nat || []) {
    const key = 'native\n' + object + '\n' + symbol, part = cpu * us / Math.max(own(row), 1);
    let n = node.kids.get(key);
    if (!n) node.kids.set(key, n = { name: symbol || libraryName(object), native: libraryName(object), file: -1, line: 0, best: -1, wall: 0, cpu: 0, mem: 0, peak: 0, kids: new Map(), up: node, depth: node.depth + 1 });
    n.wall += part;
    n.cpu += part;
  }
}
async function showNative(on) {
  if (on) flame.native = new Map(await Promise.all(D.files.map(async (_, i) => [i, (await loadFile(i)).rows]))); else flame.native = null;
  flame.byNative.setAttribute('aria-pressed', String(on));
}
// The body of every module is called `<module>`. Show its file instead, and for a package the folder too.
function frameName(n) {
  if (n.name !== '<module>') return n.name;
  const parts = pathOf(flame.stacks, n.file).replace(/^<frozen (.*)>$/, '$1').split('/');
  return parts.slice(/^__(init|main)__\.py$/.test(parts.at(-1)) ? -2 : -1).join('/') || n.name;
}
function pathOf(S, file) { return file < 0 ? '' : file < D.files.length ? D.files[file].d : S.other[file - D.files.length] || '?'; }
async function loadStacks() {
  if (flame.stacks) return flame.stacks;
  const S = await unpack(D.stacks);
  let frame = 0;
  S.p = S.p.map((back, i) => back ? i - back : -1);
  S.f = S.f.map(step => frame += step);
  S.frames = S.files.map((file, i) => [file, S.lines[i], S.names[S.functions[i]]]);
  for (const kind of ['threads', 'processes']) { let node = 0; S[kind].n = S[kind].n.map(step => node += step); }
  return flame.stacks ??= S;
}
// The nodes' own time, CPU time, bytes allocated and bytes at the peak, of the run or of the chosen thread or process.
function figuresOf(S) {
  const only = state.callees && state.only;
  if (!only) return S;
  const shares = S[only.kind], figures = Object.fromEntries([...'wcak'].map(key => [key, new Array(S.p.length).fill(0)]));
  shares.n.forEach((node, i) => { if (shares.of[i] === only.at) for (const key of 'wcak') figures[key][node] += shares[key][i]; });
  return figures;
}
// The nodes' figures plus the figures of all descendants.
function subtrees(S, keys) {
  const own = figuresOf(S);
  return keys.map(key => {
    const sums = [...own[key]];
    for (let i = S.p.length - 1; i >= 0; i--) if (S.p[i] >= 0) sums[S.p[i]] += sums[i];
    return sums;
  });
}
// Figures with callees of the lines and functions of the chosen thread or process; recursion counts once. Null if the
// profile has no shares of stacks.
async function calleesOfOnly() {
  const S = await loadStacks();
  if (!S[state.only.kind].n.length) return null;
  state.callees = { lines: new Map(), functions: new Map() };
  state.callees.cpu = sumOf(figuresOf(S).c);
  const [w, c, a] = subtrees(S, ['w', 'c', 'a']);
  const add = (map, key, i, name) => {
    const sums = map.get(key) || { w: 0, c: 0, a: 0, name };
    map.set(key, Object.assign(sums, { w: sums.w + w[i], c: sums.c + c[i], a: sums.a + a[i] }));
  };
  S.p.forEach((parent, i) => {
    if (!w[i] && !a[i]) return;
    const [file, line, name] = S.frames[S.f[i]];
    if (file >= D.files.length) return;
    let again = false, within = false;
    for (let up = parent; up >= 0 && !again; up = S.p[up]) {
      const [f, l, n] = S.frames[S.f[up]];
      if (f === file && n === name) within = true;
      again = f === file && l === line;
    }
    if (!state.callees.lines.has(file)) state.callees.lines.set(file, new Map());
    if (!again) add(state.callees.lines.get(file), line, i, name);
    if (!within && !again) add(state.callees.functions, file + '\n' + name, i);
  });
  return state.callees;
}
// Draws the graph again after a thread, a process or the run was chosen.
function refilterFlame() {
  flame.sums = null;
  if (!flame.tree) return;
  for (const b of document.querySelectorAll('[data-metric=peak]')) b.disabled = state.only?.kind === 'threads';
  if (flame.metric === 'peak' && state.only?.kind === 'threads') setMetric('mem');
  flame.tree = buildTree(flame.stacks, flame.lines);
  flame.zoom = null;
  drawFlame();
}
function setMetric(metric) {
  flame.metric = metric;
  // A zoomed frame may have no weight in this measure. Then zoom to the nearest caller with weight.
  while (flame.zoom && !(weigh(flame.zoom) > 0)) flame.zoom = flame.zoom.up;
  for (const b of document.querySelectorAll('[data-metric]')) b.setAttribute('aria-pressed', String(b.dataset.metric === metric));
}
// The callers of a line with their shares, largest first, and the number of tree nodes of the line.
async function callersOf(file, line) {
  const S = await loadStacks();
  flame.sums ||= subtrees(S, ['w', 'a']);
  const here = i => { const [f, l] = S.frames[S.f[i]]; return f === file && l === line; };
  const found = new Map();
  let frames = 0;
  S.p.forEach((parent, i) => {
    if (!here(i) || !flame.sums[0][i] && !flame.sums[1][i]) return;
    frames++;
    for (let up = parent; up >= 0; up = S.p[up]) if (here(up)) return;
    if (parent < 0) return;
    const sum = found.get(S.f[parent]) || [0, 0];
    found.set(S.f[parent], [sum[0] + flame.sums[0][i], sum[1] + flame.sums[1][i]]);
  });
  return { frames, callers: [...found].map(([frame, sums]) => [S.frames[frame], ...sums]).sort((a, b) => b[1] - a[1] || b[2] - a[2]) };
}
async function showFlame() {
  const section = $('flame');
  if (!flame.box) {
    await loadStacks();
    if (flame.box) return;
    if (!flame.stacks.p.length) { section.append(el('p', { class: 'none' }, 'No stacks were recorded.')); return; }
    const has = key => flame.stacks[key].some(v => v > 0);
    const metrics = [['wall', 'Time', 'w', 'on and off the CPU'], ['cpu', 'CPU', 'c', 'on the CPU'], ['mem', 'Allocated', 'a', 'bytes allocated'], ['peak', 'At peak', 'k', 'who holds the memory at its peak']].filter(([,, key]) => has(key));
    if (!metrics.length) { section.append(el('p', { class: 'none' }, 'No stack has any figure.')); return; }
    if (!metrics.some(([k]) => k === flame.metric)) flame.metric = metrics[0][0];
    const group = el('span', { class: 'seg', role: 'group', 'aria-label': 'Measure' }, ...metrics.map(([k, label, , title]) => el('button', { type: 'button', title, disabled: k === 'peak' && state.only?.kind === 'threads', 'data-metric': k, 'aria-pressed': String(k === flame.metric), onclick: () => { setMetric(k); zoomTo(flame.zoom); } }, label)));
    flame.trail = el('span', { class: 'none grow' });
    flame.byLine = el('button', { type: 'button', 'aria-pressed': 'false', onclick: () => { byLine(!flame.lines); zoomTo(null); } }, 'By line');
    flame.byNative = el('button', { type: 'button', 'aria-pressed': 'false', title: 'the native code behind your lines, in place of library frames', onclick: async () => { await showNative(!flame.native); byLine(flame.lines); zoomTo(null); } }, 'Native code');
    flame.find = el('input', { type: 'search', placeholder: 'Find in the graph', 'aria-label': 'Find in the graph', oninput: e => { flame.query = e.target.value.toLowerCase(); flame.mark = null; flame.hit = -1; drawFlame(); }, onkeydown: findKeys });
    flame.box = el('div', { class: 'flame', role: 'group', 'aria-label': 'Flame graph' });
    flame.tip = el('div', { class: 'none' }, 'Coloured: your code. Grey: libraries. Click or Enter zooms in, Escape zooms out, arrows move. In the search, Enter goes to the next match.');
    section.append(el('div', { class: 'tbar' }, group, flame.byLine, flame.byNative, el('button', { type: 'button', onclick: () => { flame.mark = null; flame.query = flame.find.value = ''; zoomTo(null); } }, 'Reset'), flame.find, flame.trail), flame.box, flame.tip);
    if (D.folded) section.append(el('p', { class: 'none' }, fmtCount(D.folded) + ' stacks too small to see are folded into their callers.'));
    flame.tree = buildTree(flame.stacks, false);
    flame.box.addEventListener('click', e => { const b = e.target.closest('button'); if (b) zoomTo(b.node, b.node); });
    for (const type of ['mouseover', 'focusin']) flame.box.addEventListener(type, e => { const b = e.target.closest('button'); if (b) describe(b.node); });
    flame.box.addEventListener('keydown', moveInFlame);
    new ResizeObserver(() => drawFlame()).observe(flame.box);
  }
  if (flame.mark) { flame.query = flame.find.value = ''; byLine(true); }
  drawFlame();
}
function byLine(on) {
  flame.lines = on;
  flame.byLine.setAttribute('aria-pressed', String(on));
  flame.tree = buildTree(flame.stacks, on);
  flame.zoom = null;
}
const weigh = n => n[flame.metric];
const ofMemory = () => flame.metric === 'mem' || flame.metric === 'peak';
const fmtWeight = v => ofMemory() ? fmtBytes(v) : fmtTime(v);
function label(n) {
  const kids = [...n.kids.values()].reduce((s, k) => s + weigh(k), 0);
  return `${shown(frameName(n))} · ${fmtWeight(weigh(n))} (${fmtPct(weigh(n) / (weigh(flame.tree) || 1))}), own ${fmtWeight(Math.max(0, weigh(n) - kids))}`;
}
// Shows a frame's figures, place and source, and the native code behind its line.
async function describe(n) {
  flame.told = n;
  flame.tip.replaceChildren(label(n) + ' · ');
  if (n.native) { flame.tip.append('native code in ' + n.native); return; }
  if (n.file < 0 || n.file >= D.files.length) { flame.tip.append(shown(pathOf(flame.stacks, n.file)) + (n.line ? ':' + n.line : '')); return; }
  flame.tip.append(locLink(n.file, n.line));
  const file = await loadFile(n.file);
  if (flame.told !== n) return;
  const text = file.texts.get(n.line)?.trim(), row = file.rows.get(n.line);
  if (text) flame.tip.append(' ', el('code', null, shown(text.slice(0, 160))));
  const native = row ? librariesOf(row).slice(0, 3) : [];
  if (native.length) flame.tip.append(' · native: ' + native.map(([object, us]) => libraryName(object) + ' ' + fmtTime(us)).join(', '));
}
const byWeight = n => [...n.kids.values()].sort((a, b) => weigh(b) - weigh(a));
// Zooms, and writes the zoom into the link: `#flame:MEASURE:PLACES`. A place is the index of a child among its caller's calls.
function zoomTo(node, focus) {
  flame.zoom = node?.up ? node : null;
  const places = [];
  for (let n = flame.zoom; n?.up; n = n.up) places.unshift([...n.up.kids.values()].indexOf(n));
  const link = '#flame' + (places.length || flame.native || flame.metric !== 'wall' ? ':' + flame.metric + (flame.lines ? '-lines' : '') + (flame.native ? '-native' : '') + ':' + places.join('.') : '');
  if (state.view === 'flame' && location.hash !== link) history.replaceState(null, '', link);
  drawFlame(focus);
}
// Zooms to the frame in a link; false if this profile has no such frame.
async function zoomFrom(link) {
  const [, measure, places] = link.split(':'), [metric, ...modes] = measure.split('-');
  if (!flame.tree || ![...document.querySelectorAll('[data-metric]')].some(b => b.dataset.metric === metric)) return !flame.tree;
  if (modes.includes('native') !== !!flame.native) await showNative(!flame.native);
  byLine(modes.includes('lines'));
  let node = flame.tree;
  for (const at of places ? places.split('.') : []) node = node && [...node.kids.values()][at];
  flame.zoom = node?.up ? node : null;
  setMetric(metric);
  drawFlame();
  return !!node;
}
// Frames that match the search or the marked line, in the order of the graph, whether drawn or not.
function findHits() {
  const own = n => flame.mark ? n.file === flame.mark[0] && n.line === flame.mark[1] : n.name.toLowerCase().includes(flame.query) || pathOf(flame.stacks, n.file).toLowerCase().includes(flame.query);
  flame.hits = [];
  if (!flame.query && !flame.mark) return;
  const left = [flame.tree];
  while (left.length) {
    const n = left.pop();
    if (n.up && weigh(n) > 0 && own(n)) flame.hits.push(n);
    left.push(...byWeight(n).reverse());
  }
}
function findKeys(e) {
  if (e.key === 'Escape') { e.stopPropagation(); flame.find.value = flame.query = ''; flame.mark = null; flame.hit = -1; drawFlame(); return; }
  if (e.key !== 'Enter' || !flame.hits.length) return;
  e.preventDefault();
  flame.hit = (flame.hit + (e.shiftKey ? flame.hits.length - 1 : 1)) % flame.hits.length;
  const n = flame.hits[flame.hit];
  zoomTo(n);
  describe(n);
}
function drawFlame(focus) {
  if (!flame.tree || !flame.box.clientWidth) return;
  const zoom = flame.zoom || flame.tree, w = flame.box.clientWidth - 2, total = weigh(zoom);
  const chain = [];
  for (let n = zoom.up; n; n = n.up) chain.unshift(n);
  const out = [];
  let deepest = 0;
  findHits();
  const found = new Set(flame.hits);
  const place = (n, x, wide, depth) => {
    if (wide < LEAST || out.length > MOST) return;
    const hit = found.has(n);
    const b = el('button', { type: 'button', class: (n.native ? 'na' : n.file >= 0 && n.file < D.files.length ? 'own' : '') + (hit ? ' hit' : ''), tabindex: n === zoom ? 0 : -1, 'aria-label': label(n), title: label(n) }, wide > 26 ? shown(frameName(n)) + (flame.lines && n.line ? ':' + n.line : '') : '');
    b.node = n;
    b.style.left = x + 'px';
    b.style.width = wide + 'px';
    if (wide <= 26) b.style.padding = 0;
    b.style.top = depth * FROW + 4 + 'px';
    deepest = Math.max(deepest, depth);
    out.push(b);
  };
  chain.forEach((n, i) => place(n, 0, w, i));
  const walk = (n, x, wide, depth) => {
    if (wide < LEAST || out.length > MOST) return;
    place(n, x, wide, depth);
    let at = x;
    for (const kid of byWeight(n)) { const k = weigh(kid) / (weigh(n) || 1) * wide; walk(kid, at, k, depth + 1); at += k; }
  };
  if (total > 0) walk(zoom, 0, w, chain.length);
  flame.box.classList.toggle('mem', ofMemory());
  flame.box.classList.toggle('searching', !!(flame.query || flame.mark));
  flame.box.style.maxHeight = (deepest + 1) * FROW + 14 + 'px';
  flame.box.replaceChildren(...(out.length ? out : [el('p', { class: 'none' }, 'Nothing was seen of this here.')]));
  const hits = flame.hits.length;
  flame.trail.textContent = flame.mark ? hits + ' of ' + shown(base(pathOf(flame.stacks, flame.mark[0]))) + ':' + flame.mark[1] : flame.query ? (flame.hit >= 0 && hits ? flame.hit + 1 + ' of ' : '') + hits + ' found' : flame.zoom ? 'zoomed on ' + shown(frameName(zoom)) : '';
  if (focus) out.find(b => b.node === focus)?.focus();
}
function moveInFlame(e) {
  const n = e.target.node;
  if (!n) return;
  const siblings = n.up ? byWeight(n.up) : [n], kids = byWeight(n);
  const next = { ArrowDown: kids[0], ArrowUp: n.up, ArrowRight: siblings[siblings.indexOf(n) + 1], ArrowLeft: siblings[siblings.indexOf(n) - 1] }[e.key];
  if (e.key === 'Escape') { zoomTo(flame.zoom?.up, flame.zoom?.up ?? flame.tree); e.stopPropagation(); return; }
  if (e.key === 'Enter') { e.preventDefault(); e.stopPropagation(); zoomTo(n, n); return; }
  if (!next) return;
  e.preventDefault();
  [...flame.box.children].find(b => b.node === next)?.focus();
}
