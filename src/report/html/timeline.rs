//! The memory timeline as SVG.
//!
//! Job: draw RSS and live bytes over the run with the peak marked. Invariant: readable without script and without
//! colour (the live series is dashed, both are labelled). Neighbours: `assets/timeline.js` adds the hover.

use crate::profile::model::Timeline;
use crate::units;

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 170.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 20.0;

/// Appends the drawing; nothing when there are fewer than two points.
pub(super) fn push(out: &mut String, timeline: &Timeline, elapsed_s: f64) {
    let last = timeline.rss.last().or(timeline.live.last()).map_or(0.0, |point| point.0);
    let end = elapsed_s.max(last);
    let top = timeline.rss.iter().chain(&timeline.live).map(|point| point.1).max().unwrap_or(0);
    if timeline.rss.len().max(timeline.live.len()) < 2 || end <= 0.0 || top == 0 {
        out.push_str("<p class=\"none\">No memory timeline was recorded.</p>");
        return;
    }
    let x = |t: f64| t / end * WIDTH;
    let y = |bytes: u64| HEIGHT - BOTTOM - bytes as f64 / top as f64 * (HEIGHT - TOP - BOTTOM);
    let path = |series: &[(f64, u64)]| -> String {
        let step = series.len().div_ceil(500).max(1);
        let points = series.chunks(step).filter_map(|run| run.iter().max_by_key(|point| point.1));
        points.map(|(t, b)| format!("{:.1},{:.1} ", x(*t), y(*b))).collect()
    };
    out.push_str(&format!(
        "<svg id=\"tl\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Memory over time\" \
         data-end=\"{end}\" data-top=\"{top}\">"
    ));
    let (base, mid) = (HEIGHT - BOTTOM, (HEIGHT - BOTTOM + TOP) / 2.0);
    for (level, bytes) in [(TOP, top), (mid, top / 2)] {
        out.push_str(&format!(
            "<path class=\"grid\" d=\"M0 {level}H{WIDTH}\"/><text class=\"ax\" x=\"2\" y=\"{:.1}\">{}</text>",
            level - 3.0,
            units::bytes(bytes)
        ));
    }
    for quarter in 1..=4 {
        let t = end * f64::from(quarter) / 4.0;
        out.push_str(&format!(
            "<text class=\"ax end\" x=\"{:.1}\" y=\"{HEIGHT}\" dy=\"-5\">{}</text>",
            x(t),
            units::seconds(t)
        ));
    }
    if !timeline.rss.is_empty() {
        let rss = path(&timeline.rss);
        let first = x(timeline.rss[0].0);
        let last = x(timeline.rss[timeline.rss.len() - 1].0);
        out.push_str(&format!("<polygon class=\"rss-area\" points=\"{first:.1},{base} {rss}{last:.1},{base}\"/><polyline class=\"rss\" points=\"{rss}\"/>"));
    }
    if !timeline.live.is_empty() {
        out.push_str(&format!("<polyline class=\"live\" points=\"{}\"/>", path(&timeline.live)));
    }
    if let Some(peak) = timeline.rss.iter().max_by_key(|point| point.1) {
        let (at, label) = (x(peak.0), format!("peak {} at {}", units::bytes(peak.1), units::seconds(peak.0)));
        let (anchor, shift) = if at > WIDTH * 0.7 { ("end", -7.0) } else { ("start", 7.0) };
        out.push_str(&format!(
            "<g class=\"peak\"><path d=\"M{at:.1} {TOP}V{base}\"/><circle cx=\"{at:.1}\" cy=\"{:.1}\" r=\"4\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{label}</text></g>",
            y(peak.1),
            at + shift,
            TOP - 8.0
        ));
    }
    out.push_str("</svg>");
}
