//! Annotated source: each file's lines with their figures beside them, runs of cold lines folded.
//!
//! Job: `Line #`, figures, `Line Contents`, as in the tables of other line profilers. Invariants: a row is written in
//! one pass, so that 100,000 rows take about a fifth of a second; if a file changed since the run, its text is not
//! shown beside the figures. Neighbours: `cells` fills the columns, `hottest` lists the same lines by cost.

use super::cells::{Cells, Column, Figure, short_path};
use super::hottest::least_source_width;
use super::list::title;
use crate::profile::model::Line;
use crate::report::style::{Role, Style};
use crate::report::text;
use crate::report::view::{FileView, Options, View, share};
use crate::units;

/// Figures to show of a line, the most important first.
const WISH: [Figure; 19] = [
    Figure::Cpu,
    Figure::Queries,
    Figure::SqlTime,
    Figure::Rows,
    Figure::Mark,
    Figure::Build,
    Figure::Kind(0),
    Figure::Kind(1),
    Figure::Kind(2),
    Figure::Kind(3),
    Figure::Collector,
    Figure::Wait,
    Figure::PEAK,
    Figure::ALLOC,
    Figure::Bar,
    Figure::MEM_USAGE,
    Figure::INCREMENT,
    Figure::LIVE,
    Figure::COPY,
];

/// Number of cold lines to show before and after a hot line.
const CONTEXT: u32 = 2;
/// A fold hides at least this many lines: the row of a fold takes a line itself.
const LEAST_FOLD: u32 = 3;

pub(super) fn render(
    out: &mut String,
    view: &View<'_>,
    options: &Options,
    style: &Style,
    source: &dyn Fn(&str) -> Option<String>,
) {
    let mut cells = Cells::new(view, *style);
    let last = view.files.iter().filter_map(|file| file.lines.last()).map(|(line, _)| line.line).max().unwrap_or(0);
    let number_width = last.to_string().len().max("Line #".len());
    let width_left = style.width.saturating_sub(number_width + 3 + least_source_width(style.width));
    let columns = cells.columns(&WISH, options.sort, width_left);
    let figures: usize = columns.iter().map(|column| column.width + 1).sum();
    let source_width = style.width.saturating_sub(number_width + 1 + figures + 2);
    let mut page = Page { style: *style, number_width, figures, source_width, columns };
    for file in &view.files {
        page.render_file(out, view, file, options, &mut cells, source(&file.file.path).as_deref());
    }
    if view.files_left_out.0 > 0 {
        let (files, seconds) = view.files_left_out;
        let part = share(Some(seconds), view.base.cpu_s).unwrap_or(0.0);
        let text = format!(
            "{} more {} with nothing above {}%, {} of CPU in all",
            units::count(files as u64),
            if files == 1 { "file" } else { "files" },
            options.min_percent,
            units::percent(part),
        );
        out.push('\n');
        text::fit_onto(out, &text, style.width, Role::Faint, style);
        out.push('\n');
    }
}

/// The layout of all files.
struct Page {
    style: Style,
    number_width: usize,
    /// Width of all figures in cells, with a space after each.
    figures: usize,
    source_width: usize,
    columns: Vec<Column>,
}

impl Page {
    fn render_file(
        &mut self,
        out: &mut String,
        view: &View<'_>,
        file: &FileView<'_>,
        options: &Options,
        cells: &mut Cells<'_>,
        text: Option<&str>,
    ) {
        let all: Option<Vec<&str>> = text.map(|text| text.lines().collect());
        let current = all.filter(|all| is_the_same(file, all));
        let part = share(Some(file.cpu_s), view.base.cpu_s).map(units::percent_in_prose).unwrap_or_default();
        let mut remark = vec![format!("{part} of CPU")];
        if current.is_none() && text.is_some() {
            remark.push("the file has changed since; only what was recorded is shown".to_owned());
        }
        let path = text::fit_end(short_path(view.profile, &file.file.path), self.style.width / 2, &self.style);
        title(out, &path, &remark.join(", "), &self.style);
        self.heads(out, cells);
        let all = current.unwrap_or_default();
        let last = file.lines.last().map_or(0, |(line, _)| line.line);
        let end = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let mut next = 1;
        for (shown, number, line) in rows(file, end, last, options.all_lines) {
            if !shown {
                continue;
            }
            self.fold(out, next, number);
            next = number.saturating_add(1).max(next);
            let contents =
                line.and_then(|line| line.source.as_deref()).or_else(|| all.get(number as usize - 1).copied());
            self.row(out, cells, number, line, contents.unwrap_or(""));
        }
        self.fold(out, next, end.max(last).saturating_add(1));
    }

    fn heads(&self, out: &mut String, cells: &Cells<'_>) {
        let mut row = format!("{:>1$} ", "Line #", self.number_width);
        for column in &self.columns {
            row.push_str(&cells.head(column));
            row.push(' ');
        }
        row.push_str(&format!("{} {}", self.wall(), text::fit("Line Contents", self.source_width, &self.style)));
        self.style.paint(out, Role::Heading, row.trim_end());
        out.push('\n');
    }

    fn wall(&self) -> &'static str {
        self.style.glyph("\u{2502}", "|")
    }

    /// Writes one row in place of the lines from `next` up to `number`, if there are any.
    fn fold(&self, out: &mut String, next: u32, number: u32) {
        let hidden = number.saturating_sub(next);
        if hidden == 0 {
            return;
        }
        let what = if hidden == 1 { "line" } else { "lines" };
        let mark = format!("{:>1$} ", self.style.glyph("\u{22ee}", ":"), self.number_width);
        let text = format!("{mark}{} {what}", units::count(u64::from(hidden)));
        self.style.paint(out, Role::Faint, &text);
        out.push('\n');
    }

    fn row(&self, out: &mut String, cells: &mut Cells<'_>, number: u32, line: Option<&Line>, contents: &str) {
        let role = if line.is_some() { Role::Plain } else { Role::Faint };
        let mut digits = [b' '; 10];
        self.style.paint(out, role, right_aligned(number, self.number_width, &mut digits));
        out.push(' ');
        match line {
            None => out.extend(std::iter::repeat_n(' ', self.figures)),
            Some(line) => {
                for column in &self.columns {
                    cells.push(out, column, line);
                    out.push(' ');
                }
            }
        }
        self.style.paint(out, Role::Faint, self.wall());
        if !contents.trim_end().is_empty() {
            out.push(' ');
            text::fit_onto(out, contents.trim_end(), self.source_width, role, &self.style);
        }
        out.push('\n');
    }
}

/// `number` aligned to the right of `width` cells, at most ten.
fn right_aligned(number: u32, width: usize, digits: &mut [u8; 10]) -> &str {
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let start = at.min(digits.len() - width.min(digits.len()));
    std::str::from_utf8(&digits[start..]).unwrap_or_default()
}

/// Whether every line with figures still has the source text that the profile recorded.
fn is_the_same(file: &FileView<'_>, all: &[&str]) -> bool {
    file.lines.iter().all(|(line, _)| {
        let now = (line.line as usize).checked_sub(1).and_then(|index| all.get(index));
        match (&line.source, now) {
            (Some(then), Some(now)) => then.trim_end() == now.trim_end(),
            (Some(_), None) => false,
            (None, now) => now.is_some(),
        }
    })
}

/// The lines of a file in order: all up to `end`, the last line of its text, and lines with figures up to `last`.
/// `true`: the line is shown, not folded.
fn rows<'v>(
    file: &'v FileView<'_>,
    end: u32,
    last: u32,
    all_lines: bool,
) -> impl Iterator<Item = (bool, u32, Option<&'v Line>)> {
    let hot: Vec<u32> = file.lines.iter().filter(|(_, hot)| *hot).map(|(line, _)| line.line).collect();
    let is_shown = move |number: u32| {
        let after = hot.partition_point(|hot| *hot < number);
        let before = after.checked_sub(1).map(|index| hot[index]);
        let after = hot.get(after).copied();
        let gap_start = before.map_or(1, |hot| hot.saturating_add(CONTEXT + 1));
        let gap_end = after.map_or(end.max(last).saturating_add(1), |hot| hot.saturating_sub(CONTEXT));
        let in_gap = (gap_start..gap_end).contains(&number);
        !in_gap || gap_end - gap_start < LEAST_FOLD
    };
    let mut figures = file.lines.iter().peekable();
    let mut next = 1;
    std::iter::from_fn(move || {
        let line = figures.next_if(|(line, _)| line.line <= next || next > end);
        let number = line.map_or(next, |(line, _)| line.line.max(1));
        if line.is_none() && next > end {
            return None;
        }
        // A line that belongs to two functions gets two rows.
        let again = figures.peek().is_some_and(|(line, _)| line.line == number);
        next = if again { number } else { next.max(number.saturating_add(1)) };
        Some((all_lines || is_shown(number), number, line.map(|(line, _)| *line)))
    })
}
