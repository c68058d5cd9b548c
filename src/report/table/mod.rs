//! The report for a terminal: summary, hottest lines, annotated source, functions, threads and processes.
//!
//! Job: what a reader needs first stands last, where the eye is when the report has scrolled by. Invariants: no line is wider than the style's width; nothing
//! from the profile reaches the terminal unchecked; what is unknown is blank. Neighbours: `view` chooses, `cells`
//! spells, `comfy-table` lays out the short lists; annotated source is written row by row, because laying out 100,000
//! rows of eleven cells by comfy-table took 1.0 to 1.5 s.

mod annotated;
mod cells;
mod closing;
mod functions;
mod hottest;
mod leaks;
mod modules;
mod per_process;
mod summary;
mod tasks;
mod tree;

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, TableComponent, Width};

use super::style::{Role, Style};
use super::text;
use super::view::{Detail, Options, View};
use crate::profile::model::Profile;

pub(crate) use cells::short_path;
pub use leaks::render_leaks;
pub use summary::summary_line;
pub(super) use summary::{command, elapsed_text, resident as peak_made_of, too_few};

/// Hottest lines that the short report keeps on the smallest screen.
const LEAST_LINES: usize = 3;

/// Renders the profile for a terminal of this style. `source` gives the text of a file, where it can be read: it is
/// shown around the lines that have figures.
#[must_use]
pub fn render_table(
    profile: &Profile,
    options: &Options,
    style: &Style,
    source: &dyn Fn(&str) -> Option<String>,
) -> String {
    let mut view = View::new(profile, options);
    match options.detail {
        Detail::Short => short(&mut view, options, style, usize::MAX),
        Detail::Full => full(&view, options, style, source),
        Detail::Fitting { rows } => {
            let whole = full(&view, options, style, source);
            if whole.lines().count() < rows { whole } else { short(&mut view, options, style, rows) }
        }
    }
}

/// The run at a glance, the hottest lines and the answer, in fewer than `rows` rows if that leaves [`LEAST_LINES`].
fn short(view: &mut View<'_>, options: &Options, style: &Style, rows: usize) -> String {
    let mut head = String::new();
    summary::render_short(&mut head, view, style);
    on_request(&mut head, view, options, style);
    loop {
        let mut out = head.clone();
        hottest::render(&mut out, view, options, style);
        closing::render(&mut out, view.profile, style);
        if out.lines().count() < rows || view.lines.len() <= LEAST_LINES {
            return out;
        }
        view.lines.pop();
    }
}

/// Everything, the answer last.
fn full(view: &View<'_>, options: &Options, style: &Style, source: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    summary::render(&mut out, view, style);
    annotated::render(&mut out, view, options, style, source);
    functions::render(&mut out, view, style);
    modules::render(&mut out, view, options, style);
    tasks::render(&mut out, view.profile, style);
    on_request(&mut out, view, options, style);
    hottest::render(&mut out, view, options, style);
    closing::render(&mut out, view.profile, style);
    out
}

/// The sections that an option asks for by name.
fn on_request(out: &mut String, view: &View<'_>, options: &Options, style: &Style) {
    if options.tree {
        tree::render(out, view.profile, options, style);
    }
    if options.per_process {
        per_process::render(out, view.profile, options, style);
    }
}

/// A blank line and a section's title, drawn out to the full width.
pub(super) fn title(out: &mut String, name: &str, remark: &str, style: &Style) {
    let rule = style.glyph("\u{2500}", "-").repeat(2);
    let name = text::fit(name, style.width.saturating_sub(6), style);
    out.push('\n');
    let mut used = 0;
    for (role, text) in [(Role::Title, &name), (Role::Faint, &text::visible(remark, style))] {
        // A remark that does not fit is left out: half of it would say something else.
        if !text.is_empty() && (used == 0 || used + text::width(text) + 6 <= style.width) {
            style.paint(out, Role::Faint, &rule);
            out.push(' ');
            style.paint(out, role, text);
            out.push(' ');
            used += text::width(text) + 4;
        }
    }
    let rest = style.width.saturating_sub(used);
    style.paint(out, Role::Faint, &style.glyph("\u{2500}", "-").repeat(rest));
    out.push('\n');
}

/// A short list: columns of fixed width, a space apart, without lines; the last takes what it needs.
pub(super) struct List {
    table: Table,
    widths: Vec<usize>,
    right: Vec<bool>,
}

impl List {
    /// With these column titles, widths, and whether to align right.
    pub(super) fn new(columns: &[(&str, usize, bool)], style: &Style) -> Self {
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.remove_style(TableComponent::HeaderLines);
        let right: Vec<bool> = columns.iter().map(|(_, _, right)| *right).collect();
        table.set_header(columns.iter().map(|(name, _, right)| aligned(style.painted(Role::Heading, name), *right)));
        for (column, (_, width, _)) in table.column_iter_mut().zip(columns) {
            column.set_padding((0, 1));
            column
                .set_constraint(ColumnConstraint::Absolute(Width::Fixed(u16::try_from(width + 1).unwrap_or(u16::MAX))));
        }
        Self { table, widths: columns.iter().map(|(_, width, _)| *width).collect(), right }
    }

    /// Adds a row of painted cells, each of at most its column's width.
    pub(super) fn push(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.widths.len(), "a cell for each column");
        self.table.add_row(cells.into_iter().zip(&self.right).map(|(cell, right)| aligned(cell, *right)));
    }

    /// Appends the list.
    pub(super) fn render(self, out: &mut String) {
        for line in self.table.lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

fn aligned(content: String, right: bool) -> Cell {
    Cell::new(content).set_alignment(if right { CellAlignment::Right } else { CellAlignment::Left })
}
