// Hover for the timeline of the overview, and the strip above the source that shows a line's share.
const PEAK = D.timeline.rss.reduce((a, b) => b[1] > a[1] ? b : a, [0, 0]);
const owners = D.hot.filter(r => r.pk > 0).sort((a, b) => b.pk - a.pk);
function timelineHover() {
  const picture = $('tl');
  if (!picture) return;
  const box = picture.parentElement;
  const tip = el('div', { class: 'tip', hidden: true });
  const cross = svg('path', { class: 'cross' });
  picture.append(cross);
  box.append(tip);
  const end = +picture.dataset.end;
  const at = (series, t) => { let best = null; for (const p of series) { if (p[0] > t) break; best = p; } return best ?? series[0]; };
  picture.addEventListener('pointermove', e => {
    const area = picture.getBoundingClientRect();
    const t = Math.max(0, Math.min(1, (e.clientX - area.left) / area.width)) * end;
    cross.setAttribute('d', 'M' + t / end * 1000 + ' 22V150');
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
  picture.addEventListener('pointerleave', () => { tip.hidden = true; cross.removeAttribute('d'); });
}
// The strip: RSS behind, the line's bytes at the peak and at the end in front.
function drawStrip(host, row, name) {
  const series = D.timeline.rss;
  if (!MEM || series.length < 2) { host.hidden = true; return; }
  const end = Math.max(D.elapsed, series[series.length - 1][0]) || 1, top = PEAK[1] || 1;
  const w = host.clientWidth || 1000, x = t => t / end * (w - 8) + 4, y = b => 44 - b / top * 28;
  host.setAttribute('viewBox', `0 0 ${w} 46`);
  const points = series.map(([t, b]) => x(t).toFixed(1) + ',' + y(b).toFixed(1)).join(' ');
  host.replaceChildren(svg('polygon', { class: 'rss-area', points: `${x(series[0][0])},44 ${points} ${x(series[series.length - 1][0])},44` }), svg('polyline', { class: 'rss', points }));
  const label = row ? `${name} holds ${fmtBytes(row.pk ?? null)} at the peak, ${fmtBytes(row.li ?? null)} at the end` : 'Memory (RSS). Point at a line to see its share of the peak and of the end.';
  host.append(svg('text', { x: 4, y: 11 }, label));
  if (row) for (const [t, b] of [[PEAK[0], row.pk], [end, row.li]]) if (b > 0) host.append(svg('path', { class: 'share', d: `M${Math.min(x(t), w - 4)} 44V${Math.min(42, y(b))}` }));
  host.setAttribute('aria-label', label);
}
