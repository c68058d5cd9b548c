//! Parts of every section of the report: its title, and short lists in columns.
//!
//! Invariant: no line is wider than the style. Neighbours: `comfy-table` does the layout, every section uses this file.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, TableComponent, Width};

use crate::report::style::{Role, Style};
use crate::report::text;

/// Appends a blank line and a section's title, with a rule up to the full width.
pub(in crate::report) fn title(out: &mut String, name: &str, remark: &str, style: &Style) {
    let rule = style.glyph("\u{2500}", "-").repeat(2);
    // A remark of up to two thirds of the row keeps its place; a long name is cut instead.
    let beside = Some(text::width(remark)).filter(|cells| (1..style.width * 2 / 3).contains(cells));
    let beside = beside.map_or(0, |cells| cells + 6);
    let name = text::fit(name, style.width.saturating_sub(6 + beside).max(style.width / 5), style);
    out.push('\n');
    let mut used = 0;
    for (role, text) in [(Role::Title, &name), (Role::Faint, &text::visible(remark, style))] {
        // A remark that does not fit is left out whole: half a remark could mislead.
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

/// A short list without lines between cells: columns of fixed width, a space apart. The last column is as wide as its
/// content.
pub(in crate::report) struct List {
    table: Table,
    widths: Vec<usize>,
    right: Vec<bool>,
}

impl List {
    /// A list with columns of (title, width, whether to align right).
    pub(in crate::report) fn new(columns: &[(&str, usize, bool)], style: &Style) -> Self {
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

    /// Adds a row of painted cells, each at most as wide as its column.
    pub(in crate::report) fn push(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.widths.len(), "a cell for each column");
        self.table.add_row(cells.into_iter().zip(&self.right).map(|(cell, right)| aligned(cell, *right)));
    }

    /// Appends the list to `out`.
    pub(in crate::report) fn render(self, out: &mut String) {
        for line in self.table.lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

fn aligned(content: String, right: bool) -> Cell {
    Cell::new(content).set_alignment(if right { CellAlignment::Right } else { CellAlignment::Left })
}
