// The flame graph, callers on top: buttons for what is wide enough to see, rebuilt at each zoom.
const FROW = 19, LEAST = 2, MOST = 2500;
const flame = { tree: null, metric: 'wall', zoom: null, lines: false };
function buildTree(S, byLine) {
  const root = { name: 'all', file: -1, line: 0, wall: 0, cpu: 0, mem: 0, kids: new Map(), up: null, depth: 0 };
  const nodes = [];
  S.p.forEach((parent, i) => {
    const [file, line, name] = S.frames[S.f[i]];
    const up = parent < 0 ? root : nodes[parent];
    const key = file + '\n' + name + (byLine ? '\n' + line : '');
    let node = up.kids.get(key);
    if (!node) up.kids.set(key, node = { name, file, line, best: -1, wall: 0, cpu: 0, mem: 0, kids: new Map(), up, depth: up.depth + 1 });
    // A function stands for the line of it that costs most here.
    if (S.w[i] > node.best) { node.best = S.w[i]; node.line = line; }
    for (let n = node; n; n = n.up) { n.wall += S.w[i]; n.cpu += S.c[i]; n.mem += S.a[i]; }
    nodes.push(node);
  });
  return root;
}
function pathOf(S, file) { return file < 0 ? '' : file < D.files.length ? D.files[file].d : S.other[file - D.files.length] || '?'; }
async function loadStacks() {
  if (flame.stacks) return flame.stacks;
  const S = await unpack(D.stacks);
  let frame = 0;
  S.p = S.p.map((back, i) => back ? i - back : -1);
  S.f = S.f.map(step => frame += step);
  S.frames = S.files.map((file, i) => [file, S.lines[i], S.names[S.functions[i]]]);
  return flame.stacks ??= S;
}
// What leads to a line: its callers with their share of it, largest first, and how many nodes of the tree it has.
async function callersOf(file, line) {
  const S = await loadStacks();
  if (!flame.sums) {
    const [w, a] = flame.sums = [[...S.w], [...S.a]];
    for (let i = S.p.length - 1; i >= 0; i--) if (S.p[i] >= 0) { w[S.p[i]] += w[i]; a[S.p[i]] += a[i]; }
  }
  const here = i => { const [f, l] = S.frames[S.f[i]]; return f === file && l === line; };
  const found = new Map();
  let frames = 0;
  S.p.forEach((parent, i) => {
    if (!here(i)) return;
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
    const metrics = [['wall', 'Time'], ['cpu', 'CPU'], ...(flame.stacks.a.some(v => v > 0) ? [['mem', 'Memory']] : [])];
    const group = el('span', { class: 'seg', role: 'group', 'aria-label': 'Measure' }, ...metrics.map(([k, label]) => el('button', { type: 'button', 'data-metric': k, 'aria-pressed': String(k === flame.metric), onclick: e => {
      flame.metric = k;
      for (const b of group.children) b.setAttribute('aria-pressed', String(b === e.target));
      drawFlame();
    } }, label)));
    flame.trail = el('span', { class: 'none grow' });
    flame.byLine = el('button', { type: 'button', 'aria-pressed': 'false', onclick: () => { byLine(!flame.lines); drawFlame(); } }, 'By line');
    flame.find = el('input', { type: 'search', placeholder: 'Find in the graph', 'aria-label': 'Find in the graph', oninput: e => { flame.query = e.target.value.toLowerCase(); flame.mark = null; drawFlame(); } });
    flame.box = el('div', { class: 'flame', role: 'group', 'aria-label': 'Flame graph' });
    flame.tip = el('div', { class: 'none' }, 'Coloured: your code. Grey: libraries. Enter or click zooms, Escape zooms out, arrows move.');
    section.append(el('div', { class: 'tbar' }, group, flame.byLine, el('button', { type: 'button', onclick: () => { flame.zoom = flame.mark = null; drawFlame(); } }, 'Reset'), flame.find, flame.trail), flame.box, flame.tip);
    if (D.folded) section.append(el('p', { class: 'none' }, fmtCount(D.folded) + ' stacks too small to see are folded into their callers.'));
    flame.tree = buildTree(flame.stacks, false);
    flame.box.addEventListener('click', e => { const b = e.target.closest('button'); if (b) { flame.zoom = b.node; drawFlame(b.node); } });
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
const fmtWeight = v => flame.metric === 'mem' ? fmtBytes(v) : fmtTime(v);
function label(n) {
  const kids = [...n.kids.values()].reduce((s, k) => s + weigh(k), 0);
  return `${shown(n.name)} · ${fmtWeight(weigh(n))} (${fmtPct(weigh(n) / (weigh(flame.tree) || 1))}), own ${fmtWeight(Math.max(0, weigh(n) - kids))}`;
}
function describe(n) {
  flame.tip.replaceChildren(label(n) + ' · ');
  if (n.file >= 0 && n.file < D.files.length) flame.tip.append(locLink(n.file, n.line)); else flame.tip.append(shown(pathOf(flame.stacks, n.file)) + (n.line ? ':' + n.line : ''));
}
function drawFlame(focus) {
  if (!flame.tree || !flame.box.clientWidth) return;
  const zoom = flame.zoom || flame.tree, w = flame.box.clientWidth - 2, total = weigh(zoom);
  const chain = [];
  for (let n = zoom.up; n; n = n.up) chain.unshift(n);
  const out = [];
  let hits = 0, deepest = 0;
  const place = (n, x, wide, depth) => {
    if (wide < LEAST || out.length > MOST) return;
    const hit = flame.mark ? n.file === flame.mark[0] && n.line === flame.mark[1] : flame.query && (n.name.toLowerCase().includes(flame.query) || pathOf(flame.stacks, n.file).toLowerCase().includes(flame.query));
    if (hit) hits++;
    const b = el('button', { type: 'button', class: (n.file >= 0 && n.file < D.files.length ? 'own' : '') + (hit ? ' hit' : ''), tabindex: n === zoom ? 0 : -1, 'aria-label': label(n), title: label(n) }, wide > 26 ? shown(n.name) + (flame.lines && n.line ? ':' + n.line : '') : '');
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
    for (const kid of [...n.kids.values()].sort((a, b) => weigh(b) - weigh(a))) { const k = weigh(kid) / (weigh(n) || 1) * wide; walk(kid, at, k, depth + 1); at += k; }
  };
  if (total > 0) walk(zoom, 0, w, chain.length);
  flame.box.classList.toggle('mem', flame.metric === 'mem');
  flame.box.classList.toggle('searching', !!(flame.query || flame.mark));
  flame.box.style.maxHeight = (deepest + 1) * FROW + 14 + 'px';
  flame.box.replaceChildren(...out);
  flame.trail.textContent = flame.mark ? hits + ' of ' + shown(base(pathOf(flame.stacks, flame.mark[0]))) + ':' + flame.mark[1] : flame.query ? hits + ' found' : flame.zoom ? 'zoomed on ' + shown(zoom.name) : '';
  if (focus) out.find(b => b.node === focus)?.focus();
}
function moveInFlame(e) {
  const n = e.target.node;
  if (!n) return;
  const siblings = n.up ? [...n.up.kids.values()].sort((a, b) => weigh(b) - weigh(a)) : [n];
  const kids = [...n.kids.values()].sort((a, b) => weigh(b) - weigh(a));
  const next = { ArrowDown: kids[0], ArrowUp: n.up, ArrowRight: siblings[siblings.indexOf(n) + 1], ArrowLeft: siblings[siblings.indexOf(n) - 1] }[e.key];
  if (e.key === 'Escape') { flame.zoom = null; drawFlame(flame.tree); e.stopPropagation(); return; }
  if (!next) return;
  e.preventDefault();
  [...flame.box.children].find(b => b.node === next)?.focus();
}
