//! The memory timeline as SVG.
//!
//! Job: draw RSS and live bytes over the run, with the peak marked. Invariants: readable without script and without
//! colour (the live series is dashed, both have a label); a value holds until the next point, so the line has steps.
//! Neighbours: `assets/timeline.js` adds the figures under the pointer, `payload` sends the same thinned series.

use crate::profile::model::Profile;
use crate::report::view::peak_moment;
use crate::units;

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 270.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 20.0;
/// Number of parts of a drawn series: about two pixels each.
const STRETCHES: usize = 400;

/// Divides a series into `stretches` parts and keeps at most two points of each part: the largest value and the last.
pub(super) fn thinned(series: &[(f64, u64)], stretches: usize) -> Vec<(f64, u64)> {
    let step = series.len().div_ceil(stretches).max(1);
    let mut points = Vec::with_capacity(stretches * 2);
    for run in series.chunks(step) {
        let most = (0..run.len()).max_by_key(|&at| (run[at].1, std::cmp::Reverse(at))).unwrap_or(0);
        points.push(run[most]);
        if most + 1 < run.len() {
            points.push(run[run.len() - 1]);
        }
    }
    points
}

/// Seconds at the right end of the time axis, here and in the drawings of single lines.
pub(super) fn end_of(profile: &Profile) -> f64 {
    let lasts = profile.timeline.rss.last().into_iter().chain(profile.timeline.live.last()).map(|point| point.0);
    lasts.fold(profile.clock.elapsed_s, f64::max)
}

/// Appends the drawing; nothing if the series has fewer than two points.
pub(super) fn push(out: &mut String, profile: &Profile) {
    let (timeline, end, peak) = (&profile.timeline, end_of(profile), peak_moment(profile));
    let top = timeline.rss.iter().chain(&timeline.live).chain(&peak).map(|point| point.1).max().unwrap_or(0);
    if timeline.rss.len().max(timeline.live.len()) < 2 || end <= 0.0 || top == 0 {
        out.push_str("<p class=\"none\">No memory timeline was recorded.</p>");
        return;
    }
    let x = |t: f64| t / end * WIDTH;
    let y = |bytes: u64| HEIGHT - BOTTOM - bytes as f64 / top as f64 * (HEIGHT - TOP - BOTTOM);
    let base = HEIGHT - BOTTOM;
    let steps = |series: &[(f64, u64)]| -> String {
        let points = thinned(series, STRETCHES);
        let mut path = String::new();
        for (at, (t, bytes)) in points.iter().enumerate() {
            path.push_str(&match at {
                0 => format!("M{:.1} {:.1}", x(*t), y(*bytes)),
                _ => format!("H{:.1}V{:.1}", x(*t), y(*bytes)),
            });
        }
        path.push_str(&format!("H{WIDTH}"));
        path
    };
    out.push_str(&format!(
        "<svg id=\"tl\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Memory over time\" \
         data-end=\"{end}\" data-top=\"{top}\" data-base=\"{base}\" data-room=\"{}\">",
        base - TOP
    ));
    let mid = (base + TOP) / 2.0;
    for (level, bytes) in [(TOP, top), (mid, top / 2)] {
        out.push_str(&format!(
            "<path class=\"grid\" d=\"M0 {level}H{WIDTH}\"/><text class=\"ax\" x=\"2\" y=\"{:.1}\">{}</text>",
            level - 3.0,
            units::bytes(bytes)
        ));
    }
    let tick = round_step(end / 4.0);
    for t in (1..=8).map(|nth| f64::from(nth) * tick).take_while(|t| *t <= end) {
        let anchor = if x(t) > WIDTH - 25.0 { "end" } else { "mid" };
        out.push_str(&format!(
            "<path class=\"grid\" d=\"M{0:.1} {base}v4\"/><text class=\"ax {anchor}\" x=\"{0:.1}\" y=\"{HEIGHT}\" dy=\"-4\">{1}</text>",
            x(t),
            units::seconds(t)
        ));
    }
    if let Some(first) = timeline.rss.first() {
        let path = steps(&timeline.rss);
        out.push_str(&format!(
            "<path class=\"rss-area\" d=\"{path}V{base}H{:.1}Z\"/><path class=\"rss\" d=\"{path}\"/>",
            x(first.0)
        ));
    }
    if !timeline.live.is_empty() {
        out.push_str(&format!("<path class=\"live\" d=\"{}\"/>", steps(&timeline.live)));
    }
    if let Some(peak) = peak {
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

/// The largest round number (1, 2 or 5 times a power of ten) up to `most`.
fn round_step(most: f64) -> f64 {
    let ten = 10_f64.powf(most.log10().floor());
    [5.0, 2.0].into_iter().map(|times| times * ten).find(|step| *step <= most).unwrap_or(ten)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{Clock, Timeline};

    #[test]
    fn thinning_keeps_the_peak_and_the_point_after_the_peak() {
        let series: Vec<(f64, u64)> = (0..10_000).map(|i| (f64::from(i), if i == 7777 { 99 } else { 1 })).collect();
        let thin = thinned(&series, 600);
        assert!(thin.len() <= 1200);
        assert!(thin.contains(&(7777.0, 99)));
        let after = thin.iter().find(|point| point.0 > 7777.0).unwrap();
        assert!(after.0 < 7777.0 + 20.0 && after.1 == 1);
    }

    #[test]
    fn a_value_holds_until_the_next_point() {
        let timeline = Timeline { rss: vec![(0.0, 50), (8.0, 100)], ..Timeline::default() };
        let clock = Clock { elapsed_s: 10.0, ..Clock::default() };
        let profile = Profile { timeline, clock, ..Profile::default() };
        let mut out = String::new();
        push(&mut out, &profile);
        assert!(out.contains("d=\"M0.0 136.0H800.0V22.0H1000\""), "{out}");
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!([9.7, 2.5, 1.0, 0.8].map(round_step), [5.0, 2.0, 1.0, 0.5]);
    }
}
