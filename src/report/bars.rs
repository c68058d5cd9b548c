//! Small pictures made of characters: stacked bars and sparklines.
//!
//! Job: show sizes at a glance. Invariants: a bar takes exactly the cells that its caller asked for; kinds differ by
//! texture, so that a reader without colours can tell them apart; each cell of a sparkline shows the largest value of
//! its time, so the peak is never lost. Neighbours: `report::table` places the pictures.

use super::style::{Role, Style};
use super::view::waiting_s;
use crate::profile::model::Time;

/// Number of the kinds of CPU time, which are the first in [`KINDS`]. Bars stack only these: waiting takes no CPU.
pub(crate) const CPU_KINDS: usize = 4;
/// Index of native helper threads in [`KINDS`].
pub(crate) const HELPERS: usize = 2;
/// Index of the kernel's time in [`KINDS`].
pub(crate) const SYSTEM: usize = 3;
/// Index of waiting in [`KINDS`].
pub(crate) const WAIT: usize = 4;

/// The kinds of time, those of CPU time first, in the order in which bars stack them.
pub(crate) const KINDS: [Kind; 5] = [
    Kind { name: "python", short: "py", role: Role::Python, unicode: '\u{2588}', ascii: '#' },
    Kind { name: "native", short: "nat", role: Role::Native, unicode: '\u{2593}', ascii: '=' },
    Kind { name: "helpers", short: "help", role: Role::Native, unicode: '\u{259a}', ascii: '%' },
    Kind { name: "system", short: "sys", role: Role::System, unicode: '\u{2592}', ascii: '+' },
    Kind { name: "wait", short: "wait", role: Role::Wait, unicode: '\u{2591}', ascii: '.' },
];

/// How a kind of time looks.
pub(crate) struct Kind {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its short name, for narrow columns.
    pub(crate) short: &'static str,
    /// Its colour.
    pub(crate) role: Role,
    unicode: char,
    ascii: char,
}

impl Kind {
    /// Its texture.
    pub(crate) fn texture(&self, style: &Style) -> char {
        style.glyph(self.unicode, self.ascii)
    }
}

/// The figures of the kinds, in the order of [`KINDS`]. Waiting excludes the time in which threads idle.
pub(crate) fn parts(time: &Time) -> [Option<f64>; 5] {
    [time.python_s, time.native_s, time.helpers_s, time.system_s, waiting_s(time)]
}

/// The figures of the kinds of CPU time; an unknown figure is 0.
pub(crate) fn cpu_parts(time: &Time) -> [f64; CPU_KINDS] {
    [time.python_s, time.native_s, time.helpers_s, time.system_s].map(Option::unwrap_or_default)
}

/// Appends a bar of `cells` cells. Each part fills its share of `whole`; spaces fill the rest.
pub(crate) fn stacked(out: &mut String, parts: [f64; CPU_KINDS], whole: f64, cells: usize, style: &Style) {
    let sum: f64 = parts.iter().sum();
    let full = if whole > 0.0 && sum > 0.0 { (sum / whole).min(1.0) * cells as f64 } else { 0.0 };
    let filled = full.round() as usize;
    if filled == 0 {
        let largest = (0..CPU_KINDS).max_by(|a, b| parts[*a].total_cmp(&parts[*b])).unwrap_or(0);
        let sliver = if full > 0.0 { style.glyph("\u{258f}", "'") } else { " " };
        style.paint(out, KINDS[largest].role, sliver);
        out.extend(std::iter::repeat_n(' ', cells.saturating_sub(1)));
        return;
    }
    // Each kind ends at the rounded sum of the kinds up to it, so that the cells of all kinds add up to `filled`.
    let mut so_far = 0.0;
    let mut drawn = 0;
    for (part, kind) in parts.into_iter().zip(&KINDS) {
        so_far += part;
        let upto = (so_far / sum * filled as f64).round() as usize;
        let run: String = std::iter::repeat_n(kind.texture(style), upto.saturating_sub(drawn)).collect();
        style.paint(out, kind.role, &run);
        drawn = upto.max(drawn);
    }
    out.extend(std::iter::repeat_n(' ', cells - drawn.min(cells)));
}

/// A series over `elapsed` seconds as one row of `cells` cells, and the cell of its largest value.
pub(crate) fn sparkline(series: &[(f64, u64)], elapsed: f64, cells: usize, style: &Style) -> (String, usize) {
    const UNICODE: [char; 8] =
        ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];
    const ASCII: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];
    let mut largest = vec![None; cells];
    for &(at, value) in series {
        let cell = if elapsed > 0.0 { (at / elapsed * cells as f64) as usize } else { 0 };
        let cell = &mut largest[cell.min(cells - 1)];
        *cell = (*cell).max(Some(value));
    }
    let top = largest.iter().flatten().copied().max().unwrap_or(0);
    let peak = largest.iter().position(|value| *value == Some(top)).unwrap_or(0);
    let levels = style.glyph(UNICODE, ASCII);
    let mut held = None;
    let row = largest.into_iter().map(|value| {
        // A cell without a reading repeats the cell before it.
        held = value.or(held);
        held.map_or(' ', |value| levels[((value as f64 / top.max(1) as f64 * 8.0).ceil() as usize).clamp(1, 8) - 1])
    });
    (row.collect(), peak)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICODE: Style = Style { width: 80, color: false, unicode: true };

    #[test]
    fn a_bar_takes_exactly_its_cells_and_shows_each_kind_by_texture() {
        let bar = |parts, whole, cells| {
            let mut out = String::new();
            stacked(&mut out, parts, whole, cells, &UNICODE);
            out
        };
        assert_eq!(bar([4.0, 3.0, 2.0, 1.0], 10.0, 10), "████▓▓▓▚▚▒");
        assert_eq!(bar([0.5, 0.0, 0.0, 0.0], 1.0, 10), "█████     ");
        assert_eq!(bar([0.01, 0.0, 0.0, 0.0], 1.0, 10), "▏         ");
        assert_eq!(bar([0.0; 4], 1.0, 10), " ".repeat(10));
        for whole in [0.0, 1.0, 1e300] {
            for part in [0.0, 0.3, 1.7, 1e300] {
                assert_eq!(bar([part, part, 0.0, part], whole, 7).chars().count(), 7);
            }
        }
    }

    #[test]
    fn a_sparkline_keeps_the_peak_however_short_it_was() {
        let mut series: Vec<(f64, u64)> = (0..1000).map(|i| (f64::from(i) / 100.0, 1000)).collect();
        series[437].1 = 8000;
        let (row, peak) = sparkline(&series, 10.0, 20, &UNICODE);
        assert_eq!(peak, 8);
        assert_eq!(row, format!("{}█{}", "▁".repeat(8), "▁".repeat(11)));
        assert_eq!(sparkline(&[], 0.0, 4, &UNICODE).0, "    ");
    }
}
