// The figures under the pointer on the timeline, and the strip above the source with a line's share.
const PEAK = D.peak ?? [0, 0];
const owners = D.hot.filter(r => r.pk > 0).sort((a, b) => b.pk - a.pk);
function timelineHover() {
  const picture = $('tl');
  if (!picture) return;
  const box = picture.parentElement;
  const tip = el('div', { class: 'tip', hidden: true });
  const cross = svg('path', { class: 'cross' }), share = svg('g', { class: 'of-line' });
  picture.append(share, cross);
  // The drawings of single lines share the time axis: the pointer's moment is marked in each, with the line's bytes.
  const courses = [...document.querySelectorAll('.courses li')].map(li => {
    const drawing = li.querySelector('svg'), mark = svg('path', { class: 'cross' });
    drawing.append(mark);
    const points = drawing.dataset.live.split(',').map(p => p.split(' ').map(Number));
    return { drawing, mark, points, figure: li.querySelector('.n'), most: li.querySelector('.n').textContent };
  });
  const markCourses = t => { for (const c of courses) {
    c.mark.setAttribute('d', 'M' + t / end * 1000 + ' 0V24');
    c.figure.textContent = c.most + ' · up to ' + fmtBytes(t < c.points[0][0] ? 0 : at(c.points, t)[1]) + ' near ' + fmtTime(t * 1e6);
  } };
  const unmarkCourses = () => { for (const c of courses) { c.mark.removeAttribute('d'); c.figure.textContent = c.most; } };
  box.append(tip);
  const { end, top, base: floor, room } = Object.fromEntries(Object.entries(picture.dataset).map(([k, v]) => [k, +v]));
  const at = (series, t) => { let best = null; for (const p of series) { if (p[0] > t) break; best = p; } return best ?? series[0]; };
  picture.addEventListener('pointermove', e => {
    const area = picture.getBoundingClientRect();
    const t = Math.max(0, Math.min(1, (e.clientX - area.left) / area.width)) * end;
    cross.setAttribute('d', 'M' + t / end * 1000 + ' ' + (floor - room) + 'V' + floor);
    markCourses(t);
    const rss = at(D.timeline.rss, t), live = at(D.timeline.live, t);
    let text = fmtTime(t * 1e6);
    if (rss) text += '\nRSS ' + fmtBytes(rss[1]);
    if (live) text += '\nlive ' + fmtBytes(live[1]);
    if (Math.abs(t - PEAK[0]) < end * 0.015 && owners.length) text += '\n\nowners of the peak\n' + owners.slice(0, 5).map(r => fmtBytes(r.pk) + '  ' + shown(base(D.files[r.f].d)) + ':' + r.ln).join('\n');
    tip.textContent = text;
    tip.hidden = false;
    tip.style.top = '40px';
    tip.style.left = Math.min(e.clientX - area.left + 14, area.width - 150) + 'px';
  });
  picture.addEventListener('pointerleave', () => { tip.hidden = true; cross.removeAttribute('d'); unmarkCourses(); });
  for (const { drawing } of courses) {
    drawing.addEventListener('pointermove', e => {
      const area = drawing.getBoundingClientRect();
      const t = Math.max(0, Math.min(1, (e.clientX - area.left) / area.width)) * end;
      cross.setAttribute('d', 'M' + t / end * 1000 + ' ' + (floor - room) + 'V' + floor);
      markCourses(t);
    });
    drawing.addEventListener('pointerleave', () => { cross.removeAttribute('d'); unmarkCourses(); });
  }
  // Pointing at a line, in the list of owners or of the hottest lines, shows its bytes at the peak and at the end.
  const of = e => e.target.closest('#hot tbody tr')?.row || (e.target.closest('.owners li') && D.hot.find(r => r.f === +e.target.closest('li').dataset.f && r.ln === +e.target.closest('li').dataset.n));
  const point = e => {
    const row = of(e);
    share.replaceChildren();
    if (!row) return;
    for (const [t, b] of [[PEAK[0], row.pk], [end, row.li]]) if (b > 0) {
      const x = Math.min(t / end * 1000, 994), y = floor - Math.min(1, b / top) * room;
      const left = x > 700;
      share.append(svg('path', { class: 'share', d: `M${x} ${floor}V${y}` }), svg('text', { x: x + (left ? -9 : 9), y: Math.min(floor - 4, y + 12), 'text-anchor': left ? 'end' : 'start' }, `${shown(base(D.files[row.f].d))}:${row.ln} ${fmtBytes(b)}`));
    }
  };
  for (const host of document.querySelectorAll('#hot, .owners')) for (const type of ['mouseover', 'focusin']) host.addEventListener(type, point);
  for (const host of document.querySelectorAll('#hot, .owners')) for (const type of ['mouseleave', 'focusout']) host.addEventListener(type, () => share.replaceChildren());
}
// The strip: RSS in the background, the line's bytes at the peak and at the end in front.
function drawStrip(host, row, name) {
  const series = D.timeline.rss;
  if (!MEM || series.length < 2) { host.hidden = true; return; }
  const end = Math.max(D.elapsed, series[series.length - 1][0]) || 1, top = PEAK[1] || 1;
  const w = host.clientWidth || 1000, x = t => t / end * (w - 8) + 4, y = b => 44 - b / top * 28;
  host.setAttribute('viewBox', `0 0 ${w} 46`);
  const d = series.map(([t, b], i) => (i ? 'H' + x(t).toFixed(1) + 'V' : 'M' + x(t).toFixed(1) + ' ') + y(b).toFixed(1)).join('') + 'H' + x(end).toFixed(1);
  host.replaceChildren(svg('path', { class: 'rss-area', d: `${d}V44H${x(series[0][0])}Z` }), svg('path', { class: 'rss', d }));
  const label = row ? `${name} holds ${fmtBytes(row.pk ?? null)} at the peak, ${fmtBytes(row.li ?? null)} at the end` : 'Memory (RSS). Point at a line to see its share of the peak and of the end.';
  host.append(svg('text', { x: 4, y: 11 }, label));
  if (row) for (const [t, b] of [[PEAK[0], row.pk], [end, row.li]]) if (b > 0) host.append(svg('path', { class: 'share', d: `M${Math.min(x(t), w - 4)} 44V${Math.min(42, y(b))}` }));
  host.setAttribute('aria-label', label);
}
