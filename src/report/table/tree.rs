//! The tree of calls on a terminal (`--tree`).
//!
//! Job: show the calls from the program's entry to the work: one row for each function, library frames folded.
//! Invariants: rows are within the style's width; calls below the share of `--min-percent` are counted in one row, not
//! dropped silently. Neighbour: `report::tree` builds the tree.

use super::cells::list_path;
use super::list::title;
use crate::profile::model::Profile;
use crate::report::export::walk::Weight;
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::report::tree::{Call, calls, package};
use crate::report::view::{Options, SortKey, cpu_s};
use crate::units;

/// Levels to draw; deeper calls count for their caller.
const DEEPEST: usize = 60;

pub(super) fn render(out: &mut String, profile: &Profile, options: &Options, style: &Style) {
    let (weight, what) = match options.sort {
        SortKey::Wait => (Weight::Wall, "wall time: CPU and waiting"),
        SortKey::Memory(_) => (Weight::Alloc, "bytes allocated"),
        _ => (Weight::Cpu, "CPU time"),
    };
    let calls = calls(profile, weight);
    let drawn: f64 = calls.iter().map(|call| call.total).sum();
    // Shares are of the CPU time of the run, as in every other table.
    let whole = if weight == Weight::Cpu { cpu_s(&profile.totals.time).unwrap_or(0.0).max(drawn) } else { drawn };
    title(out, "Call tree", &format!("{what} with everything called; library frames folded"), style);
    if drawn <= 0.0 {
        style.paint(out, Role::Faint, "nothing was recorded");
        out.push('\n');
        return;
    }
    let mut page = Page { out, profile, style, weight, whole, least: whole * options.min_percent / 100.0 };
    page.level(&calls, "", true);
}

struct Page<'a> {
    out: &'a mut String,
    profile: &'a Profile,
    style: &'a Style,
    weight: Weight,
    whole: f64,
    least: f64,
}

impl Page<'_> {
    fn level(&mut self, calls: &[Call], indent: &str, outermost: bool) {
        let shown = calls.iter().take_while(|call| call.total >= self.least && call.total > 0.0).count();
        let rest: f64 = calls[shown..].iter().map(|call| call.total).sum();
        let folded = calls.len() - shown;
        let fold = folded > 0 && rest > 0.0;
        for (at, call) in calls[..shown].iter().enumerate() {
            let last = at + 1 == shown && !fold;
            let branch = if outermost {
                ""
            } else if last {
                self.style.glyph("\u{2514} ", "` ")
            } else {
                self.style.glyph("\u{251c} ", "|-")
            };
            self.row(call, &format!("{indent}{branch}"));
            let below = if outermost {
                ""
            } else if last {
                "  "
            } else {
                self.style.glyph("\u{2502} ", "| ")
            };
            if indent.chars().count() / 2 < DEEPEST {
                self.level(&call.calls, &format!("{indent}{below}"), false);
            }
        }
        if fold {
            let branch = if outermost { "" } else { self.style.glyph("\u{2514} ", "` ") };
            let text = format!("{} {folded} smaller calls", self.amount(rest));
            self.line(&format!("{indent}{branch}"), &[(Role::Faint, text)]);
        }
    }

    fn row(&mut self, call: &Call, lead: &str) {
        let share = units::percent_in_prose(call.total / self.whole);
        let role = if call.total >= 0.1 * self.whole { Role::Strong } else { Role::Plain };
        let own = if call.own >= self.least && !call.calls.is_empty() {
            format!(" (own {})", self.amount(call.own))
        } else {
            String::new()
        };
        let figures = (role, format!("{} {share}{own}", self.amount(call.total)));
        let (name, place) = if call.folded > 0 {
            let frames = if call.folded > 1 { format!(", {} library frames", call.folded) } else { String::new() };
            (format!(" {}", call.function), format!(" {}{frames}", package(&call.path)))
        } else {
            let path = list_path(self.profile, &call.path);
            (format!(" {}", call.function), format!(" {path}:{}", call.line))
        };
        let name_role = if call.folded > 0 { Role::Faint } else { role };
        self.line(lead, &[figures, (name_role, name), (Role::Faint, place)]);
    }

    fn amount(&self, weight: f64) -> String {
        match self.weight {
            Weight::Alloc => units::bytes(weight as u64),
            _ => units::seconds(weight),
        }
    }

    /// Appends a row of parts, cut at the terminal's edge.
    fn line(&mut self, lead: &str, parts: &[(Role, String)]) {
        let mut left = self.style.width;
        left -= text::fit_onto(self.out, lead, left, Role::Faint, self.style);
        for (role, part) in parts {
            if left == 0 {
                break;
            }
            left -= text::fit_onto(self.out, part, left, *role, self.style);
        }
        self.out.push('\n');
    }
}
