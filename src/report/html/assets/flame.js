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
async function showFlame() {
  const section = $('flame');
  if (!flame.stacks) {
    flame.stacks = await unpack(D.stacks);
    if (!flame.stacks.p.length) { section.append(el('p', { class: 'none' }, 'No stacks were recorded.')); return; }
    const metrics = [['wall', 'Time'], ['cpu', 'CPU'], ...(flame.stacks.a.some(v => v > 0) ? [['mem', 'Memory']] : [])];
    const group = el('span', { class: 'seg', role: 'group', 'aria-label': 'Measure' }, ...metrics.map(([k, label]) => el('button', { type: 'button', 'data-metric': k, 'aria-pressed': String(k === flame.metric), onclick: e => {
      flame.metric = k;
      for (const b of group.children) b.setAttribute('aria-pressed', String(b === e.target));
      drawFlame();
    } }, label)));
    flame.trail = el('span', { class: 'none grow' });
    const lines = el('button', { type: 'button', 'aria-pressed': 'false', onclick: e => { flame.lines = !flame.lines; e.target.setAttribute('aria-pressed', String(flame.lines)); flame.tree = buildTree(flame.stacks, flame.lines); flame.zoom = null; drawFlame(); } }, 'By line');
    const find = el('input', { type: 'search', placeholder: 'Find in the graph', 'aria-label': 'Find in the graph', oninput: e => { flame.query = e.target.value.toLowerCase(); drawFlame(); } });
    flame.box = el('div', { class: 'flame', role: 'group', 'aria-label': 'Flame graph' });
    flame.tip = el('div', { class: 'none' }, 'Coloured: your code. Grey: libraries. Enter or click zooms, Escape zooms out, arrows move.');
    section.append(el('div', { class: 'tbar' }, group, lines, el('button', { type: 'button', onclick: () => { flame.zoom = null; drawFlame(); } }, 'Reset zoom'), find, flame.trail), flame.box, flame.tip);
    if (D.folded) section.append(el('p', { class: 'none' }, fmtCount(D.folded) + ' stacks too small to see are folded into their callers.'));
    flame.tree = buildTree(flame.stacks, false);
    flame.box.addEventListener('click', e => { const b = e.target.closest('button'); if (b) { flame.zoom = b.node; drawFlame(b.node); } });
    for (const type of ['mouseover', 'focusin']) flame.box.addEventListener(type, e => { const b = e.target.closest('button'); if (b) describe(b.node); });
    flame.box.addEventListener('keydown', moveInFlame);
    new ResizeObserver(() => drawFlame()).observe(flame.box);
  }
  drawFlame();
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
    const hit = flame.query && (n.name.toLowerCase().includes(flame.query) || pathOf(flame.stacks, n.file).toLowerCase().includes(flame.query));
    if (hit) hits++;
    const b = el('button', { type: 'button', class: (n.file >= 0 && n.file < D.files.length ? 'own' : '') + (hit ? ' hit' : ''), tabindex: n === zoom ? 0 : -1, 'aria-label': label(n), title: label(n) }, wide > 26 ? shown(n.name) + (flame.lines && n.line ? ':' + n.line : '') : '');
    b.node = n;
    b.style.left = x + 'px';
    b.style.width = wide + 'px';
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
  flame.box.classList.toggle('searching', !!flame.query);
  flame.box.style.maxHeight = (deepest + 1) * FROW + 14 + 'px';
  flame.box.replaceChildren(...out);
  flame.trail.textContent = flame.query ? hits + ' found' : flame.zoom ? 'zoomed on ' + shown(zoom.name) : '';
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
