//! Live bytes of single lines over time, below the memory timeline.
//!
//! Job: one small drawing for each line, as wide as the timeline above, on the same time axis, with the peak marked, and
//! all on one scale. Invariants: readable without script; a value holds until the next point; without data of lines the
//! list is left out. Neighbours: `overview` places the list, `timeline` draws the total, `assets/timeline.js` shows the
//! figures under the pointer.

use super::escape;
use super::page::Page;
use super::timeline::end_of;
use crate::report::view::peak_moment;
use crate::units;

/// Most lines to draw.
const DRAWN: usize = 6;
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 24.0;

/// Appends the list.
pub(super) fn push(out: &mut String, page: &Page<'_>) {
    let timeline = &page.profile.timeline;
    let end = end_of(page.profile);
    let most = |live: &[(f64, u64)]| live.iter().map(|point| point.1).max().unwrap_or(0);
    let Some(top) = timeline.lines.first().map(|row| most(&row.live)).filter(|top| *top > 0) else { return };
    if end <= 0.0 {
        return;
    }
    out.push_str("<h3 class=\"over\">Lines over time <span class=\"key\">live bytes, on the time axis above and one scale</span></h3><ul class=\"courses\">");
    let mark = peak_moment(page.profile)
        .map(|peak| format!("<path class=\"at-peak\" d=\"M{:.1} 0V{HEIGHT}\"/>", peak.0 / end * WIDTH));
    let mark = mark.unwrap_or_default();
    // Leave out a line below a fiftieth of the largest: its curve would look like the base line.
    for row in timeline.lines.iter().take(DRAWN).filter(|row| most(&row.live) >= top / 50) {
        let (Some(name), Some(text)) = (page.names.get(row.file), page.texts.get(row.file)) else { continue };
        let source = text.get(row.line).map(str::trim).unwrap_or_default();
        let y = |bytes: u64| HEIGHT - bytes as f64 / top as f64 * HEIGHT;
        let mut path = format!("M0 {HEIGHT}");
        for (t, bytes) in &row.live {
            path.push_str(&format!("H{:.1}V{:.1}", t / end * WIDTH, y(*bytes)));
        }
        let most = units::bytes(most(&row.live));
        let points: Vec<String> = row.live.iter().map(|(t, bytes)| format!("{t:.4} {bytes}")).collect();
        out.push_str(&format!(
            "<li>{}<span class=\"n\">{most}</span><code>{}</code><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             preserveAspectRatio=\"none\" role=\"img\" aria-label=\"live bytes over time, at most {most}\" \
             data-live=\"{}\"><path class=\"course\" d=\"{path}H{WIDTH}V{HEIGHT}Z\"/>{mark}</svg></li>",
            name.link(row.line),
            escape::text(source),
            points.join(",")
        ));
    }
    out.push_str("</ul>");
}
