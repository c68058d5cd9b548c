//! The figures of a line as cells of fixed width, and the choice of columns for a width.
//!
//! Job: write a figure in the same form and width in every section, so that sections line up and a row is written in
//! one pass. Invariants: a cell is exactly as wide as its column; an unknown figure is blank and a known zero is `0`;
//! a number is never cut, a column that does not fit is left out whole. Neighbours: `hottest` and `annotated` ask for
//! columns, `units` formats numbers.

use crate::profile::model::figures::{self, FIGURES};
use crate::profile::model::{Line, Memory, Profile};
use crate::report::bars::{HELPERS, KINDS, SYSTEM, WAIT, cpu_parts, parts, stacked};
use crate::report::style::{Role, Style};
use crate::report::view::{SortKey, View, cpu_error_share, cpu_s, share, too_few, waiting_s};
use crate::units;

/// A figure of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// Stacked bar of the kinds of CPU time. The line with the most time has the longest bar.
    Bar,
    /// Share of all CPU seconds.
    Share,
    /// CPU seconds.
    Cpu,
    /// A kind of CPU time as a share of all CPU seconds; the number is an index into [`KINDS`].
    Kind(usize),
    /// Seconds off the CPU.
    Wait,
    /// The garbage collector's part of the line's CPU time, as a share of all CPU seconds.
    Collector,
    /// A figure of memory, by its number in [`FIGURES`].
    Memory(usize),
    /// Queries of databases.
    Queries,
    /// Seconds of these queries in the driver.
    SqlTime,
    /// Rows that these queries returned.
    Rows,
    /// Seconds in an ORM on the line, in addition to the driver's seconds.
    Build,
    /// Mark of a line that repeats its queries: N+1 or duplicate.
    Mark,
}

impl Figure {
    pub(super) const MEM_USAGE: Self = Self::memory("mem_usage_bytes");
    pub(super) const INCREMENT: Self = Self::memory("increment_bytes");
    pub(super) const ALLOC: Self = Self::memory("alloc_bytes");
    pub(super) const LIVE: Self = Self::memory("live_bytes");
    pub(super) const PEAK: Self = Self::memory("peak_bytes");
    pub(super) const COPY: Self = Self::memory("copy_bytes");

    const fn memory(key: &str) -> Self {
        Self::Memory(figures::at(key))
    }
}

/// A figure and the width of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// The figure.
    pub(super) figure: Figure,
    /// Width in cells.
    pub(super) width: usize,
    /// The part of `width` for the standard error.
    error: usize,
    /// Shows shares without decimals.
    short: bool,
}

impl Column {
    /// The same column without the standard error.
    fn without_error(&self) -> Self {
        Self { width: self.width - self.error, error: 0, ..*self }
    }
}

/// Writes figures as cells.
pub(super) struct Cells<'v> {
    view: &'v View<'v>,
    style: Style,
    decimals: usize,
    longest_s: f64,
    /// Buffer for one figure, reused.
    text: String,
}

impl<'v> Cells<'v> {
    /// Prepares cells for the lines of `view`.
    pub(super) fn new(view: &'v View<'v>, style: Style) -> Self {
        let lines = || view.profile.files.iter().flat_map(|file| &file.lines);
        let longest_s = lines().filter_map(|line| cpu_s(&line.time)).fold(0.0, f64::max);
        Self { view, style, decimals: units::column_decimals(longest_s), longest_s, text: String::new() }
    }

    /// Chooses columns that have data and fit into `width` cells, with a space after each column. `wish` lists the
    /// figures, the most important first. Returns the columns in reading order.
    pub(super) fn columns(&self, wish: &[Figure], sort: SortKey, width: usize) -> Vec<Column> {
        let short = self.style.width < 100;
        let mut chosen: Vec<Column> = Vec::new();
        let mut left = width;
        let first = sorting_figure(sort);
        let mut wait_follows = first != Some(Figure::Wait) && wish.contains(&Figure::Wait) && self.has(Figure::Wait);
        // Figures that no `wish` names come last.
        let others: Vec<Figure> = (0..FIGURES.len()).map(Figure::Memory).collect();
        for figure in first.iter().chain(wish).chain(&others) {
            // A single kind of CPU time would mislead: show all kinds or none.
            let together: &[Figure] = if matches!(figure, Figure::Kind(0..WAIT)) { &CPU_KINDS } else { &[*figure] };
            let new =
                together.iter().filter(|figure| self.has(**figure) && !chosen.iter().any(|c| c.figure == **figure));
            let new: Vec<Column> = new.map(|figure| self.column(*figure, short)).collect();
            // On a narrow terminal, another figure is more useful than the standard error of the previous figure. The
            // waiting of a line comes before the errors of the other figures on every terminal, because the list also
            // has lines that only waited.
            let total_width = |new: &[Column]| new.iter().map(|column| column.width + 1).sum::<usize>();
            let errors_later = self.style.width < 120 || wait_follows;
            let bare = errors_later && (Some(*figure) != first || total_width(&new) > left);
            let new = if bare { new.iter().map(Column::without_error).collect() } else { new };
            let cells = total_width(&new);
            if cells <= left {
                left -= cells;
                chosen.extend(new);
            }
            if *figure == Figure::Wait {
                wait_follows = false;
                if self.style.width >= 120 {
                    self.add_errors(&mut chosen, &mut left, short);
                }
            }
        }
        self.add_errors(&mut chosen, &mut left, short);
        let last = READING_ORDER.iter().position(|figure| *figure == Figure::COPY);
        chosen.sort_by_key(|column| READING_ORDER.iter().position(|figure| *figure == column.figure).or(last));
        chosen
    }

    /// Widens the columns by their standard errors, from the first column on, as far as `left` cells allow.
    fn add_errors(&self, columns: &mut [Column], left: &mut usize, short: bool) {
        for column in columns {
            let whole = self.column(column.figure, short);
            if whole.width - column.width <= *left {
                *left -= whole.width - column.width;
                *column = whole;
            }
        }
    }

    fn has(&self, figure: Figure) -> bool {
        let present = &self.view.present;
        match figure {
            Figure::Bar | Figure::Share | Figure::Cpu => present.cpu,
            Figure::Kind(0..WAIT) if too_few(self.view.profile) => false,
            Figure::Kind(0 | 1) => present.kinds,
            Figure::Kind(HELPERS) => present.helpers,
            Figure::Kind(_) => present.system,
            Figure::Wait => present.wait,
            Figure::Collector => present.collector,
            Figure::Memory(at) => present.memory[at] && FIGURES[at].row.column.is_some(),
            Figure::Queries | Figure::SqlTime => present.sql,
            Figure::Rows => present.sql_rows,
            Figure::Build => present.sql_build,
            Figure::Mark => present.sql_mark,
        }
    }

    fn column(&self, figure: Figure, short: bool) -> Column {
        let error = self.error_width(figure);
        let width = match figure {
            Figure::Bar => (self.style.width.saturating_sub(20) / 10).clamp(6, 16),
            Figure::Share => 6,
            Figure::Cpu => {
                let cpu = self.view.base.cpu_s.max(self.longest_s);
                units::seconds_in_column(cpu, self.decimals).len().max(5)
            }
            Figure::Wait => units::seconds_in_column(self.longest_s, self.decimals).len().max(6),
            Figure::Kind(_) if short => 4,
            Figure::Kind(_) | Figure::Collector => 6,
            Figure::Memory(at) => FIGURES[at].row.column.map_or(0, |(_, width)| width),
            Figure::Queries | Figure::Rows => 7,
            Figure::SqlTime | Figure::Build => 8,
            Figure::Mark => 9,
        };
        Column { figure, width: width + error, error, short }
    }

    /// Cells of the column's widest standard error, and of the space before it.
    fn error_width(&self, figure: Figure) -> usize {
        if !matches!(figure, Figure::Cpu) && !matches!(figure, Figure::Memory(at) if FIGURES[at].row.has_error) {
            return 0;
        }
        let lines = self.view.profile.files.iter().flat_map(|file| &file.lines);
        let largest = lines
            .filter_map(|line| error_share(figure, line))
            .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))));
        largest.map_or(0, |share| error_text(share, &self.style).chars().count() + 1)
    }

    /// The column's title.
    pub(super) fn head(&self, column: &Column) -> String {
        let name = match column.figure {
            Figure::Bar => "Time",
            Figure::Share => "CPU %",
            Figure::Cpu => "CPU",
            Figure::Kind(kind) if column.short => KINDS[kind].short,
            Figure::Kind(kind) => KINDS[kind].name,
            Figure::Wait => "Wait",
            Figure::Collector => "GC",
            Figure::Memory(at) => FIGURES[at].row.column.map_or(FIGURES[at].key, |(title, _)| title),
            Figure::Queries => "SQL",
            Figure::SqlTime => "SQL ms",
            Figure::Rows => "Rows",
            Figure::Build => "Build ms",
            Figure::Mark => "Mark",
        };
        let Column { width, error, .. } = *column;
        match column.figure {
            Figure::Bar => format!("{name:<width$}"),
            _ => format!("{name:>0$}{1:2$}", width - error, "", error),
        }
    }

    /// Appends the cell of `line`.
    pub(super) fn push(&mut self, out: &mut String, column: &Column, line: &Line) {
        self.text.clear();
        let (base, memory) = (&self.view.base, &line.memory);
        let cpu = cpu_s(&line.time);
        let cpu_role = heat(share(cpu, base.cpu_s));
        let role = match column.figure {
            Figure::Bar => {
                return stacked(out, cpu_parts(&line.time), self.longest_s, column.width, &self.style);
            }
            Figure::Share => self.push_share(share(cpu, base.cpu_s), false, cpu_role),
            Figure::Cpu => match cpu {
                None => Role::Plain,
                Some(0.0) => self.push_zero(),
                Some(s) => {
                    self.text.push_str(&units::seconds_in_column(s, self.decimals));
                    cpu_role
                }
            },
            Figure::Kind(kind) => {
                self.push_share(share(parts(&line.time)[kind], base.cpu_s), column.short, KINDS[kind].role)
            }
            Figure::Wait => match waiting_s(&line.time) {
                None => Role::Plain,
                Some(0.0) => self.push_zero(),
                Some(s) => {
                    self.text.push_str(&units::seconds_in_column(s, self.decimals));
                    KINDS[WAIT].role
                }
            },
            Figure::Collector => self.push_share(share(line.time.gc_s, base.cpu_s), column.short, Role::Native),
            Figure::Memory(at) => self.push_memory(&FIGURES[at], memory, base.whole(at)),
            Figure::Queries => self.push_count(line.sql_count),
            Figure::Rows => self.push_count(line.sql_rows),
            Figure::SqlTime => self.push_ms(line.sql_s),
            Figure::Build => self.push_ms(line.sql_build_s),
            Figure::Mark => {
                self.text.push_str(line.sql_mark.as_deref().unwrap_or_default());
                Role::Strong
            }
        };
        let text_width = column.width - column.error;
        out.extend(std::iter::repeat_n(' ', text_width.saturating_sub(self.text.len())));
        self.style.paint(out, role, &self.text);
        if column.error > 0 {
            let error = error_share(column.figure, line).map_or(String::new(), |share| error_text(share, &self.style));
            out.extend(std::iter::repeat_n(' ', column.error.saturating_sub(error.chars().count())));
            self.style.paint(out, Role::Faint, &error);
        }
    }

    fn push_count(&mut self, count: Option<u64>) -> Role {
        self.text.extend(count.map(units::count));
        Role::Plain
    }

    fn push_ms(&mut self, seconds: Option<f64>) -> Role {
        self.text.extend(seconds.map(|s| format!("{:.3}", s * 1e3)));
        Role::Plain
    }

    fn push_zero(&mut self) -> Role {
        self.text.push('0');
        Role::Faint
    }

    fn push_share(&mut self, share: Option<f64>, short: bool, role: Role) -> Role {
        match share {
            None => return Role::Plain,
            Some(0.0) => return self.push_zero(),
            Some(share) if short && share < 0.005 => self.text.push_str("<1%"),
            Some(share) if short => self.text.push_str(&format!("{:.0}%", share.min(9.99) * 100.0)),
            Some(share) => self.text.push_str(&units::percent(share)),
        }
        role
    }

    fn push_memory(&mut self, figure: &figures::Figure, memory: &Memory, whole: f64) -> Role {
        let Some(value) = (figure.value)(memory) else { return Role::Plain };
        if value == 0.0 {
            return self.push_zero();
        }
        if figure.signed {
            self.text.push_str(&units::signed_bytes(value as i64));
            return Role::Plain;
        }
        self.text.push_str(&if figure.key.ends_with("_count") {
            units::count(value as u64)
        } else {
            units::bytes(value as u64)
        });
        heat(share(Some(value), whole))
    }
}

/// The kinds of CPU time.
const CPU_KINDS: [Figure; 4] = [Figure::Kind(0), Figure::Kind(1), Figure::Kind(HELPERS), Figure::Kind(SYSTEM)];

/// Order of the columns, left to right. A figure of memory that is not listed stands behind the last figure of memory.
const READING_ORDER: [Figure; 20] = [
    Figure::Bar,
    Figure::Share,
    Figure::Cpu,
    Figure::Kind(0),
    Figure::Kind(1),
    Figure::Kind(2),
    Figure::Kind(3),
    Figure::Collector,
    Figure::Wait,
    Figure::MEM_USAGE,
    Figure::INCREMENT,
    Figure::ALLOC,
    Figure::LIVE,
    Figure::PEAK,
    Figure::COPY,
    Figure::Queries,
    Figure::SqlTime,
    Figure::Build,
    Figure::Rows,
    Figure::Mark,
];

/// The figure of the sort key. Its column is always shown.
fn sorting_figure(key: SortKey) -> Option<Figure> {
    match key {
        SortKey::Cpu | SortKey::Line | SortKey::Name => None,
        SortKey::Python => Some(Figure::Kind(0)),
        SortKey::Native => Some(Figure::Kind(1)),
        SortKey::System => Some(Figure::Kind(SYSTEM)),
        SortKey::Wait => Some(Figure::Wait),
        SortKey::Memory(at) => Some(Figure::Memory(at)),
    }
}

/// Emphasises a share of a tenth or more, and dims a share of less than a hundredth.
fn heat(share: Option<f64>) -> Role {
    match share {
        Some(share) if share >= 0.1 => Role::Strong,
        Some(share) if share < 0.01 => Role::Faint,
        _ => Role::Plain,
    }
}

/// The standard error as a share of its figure; `None` up to one per cent.
fn error_share(figure: Figure, line: &Line) -> Option<f64> {
    match figure {
        Figure::Cpu => cpu_error_share(line).filter(|share| *share > 0.01),
        Figure::Memory(at) if FIGURES[at].row.has_error => {
            let error = (FIGURES.get(at + 1)?.value)(&line.memory);
            share(error, (FIGURES[at].value)(&line.memory)?).filter(|share| *share > 0.01)
        }
        _ => None,
    }
}

/// `error` as a share of `bytes`; `None` up to one per cent.
pub(super) fn relative_error(error: Option<f64>, bytes: Option<u64>) -> Option<f64> {
    share(error, bytes? as f64).filter(|share| *share > 0.01)
}

/// e.g. `±4%`.
pub(super) fn error_text(share: f64, style: &Style) -> String {
    format!("{}{:.0}%", style.glyph("\u{b1}", "+-"), (share * 100.0).min(999.0))
}

/// `path` relative to the working directory of the program, if the file is below it.
pub(crate) fn short_path<'p>(profile: &Profile, path: &'p str) -> &'p str {
    let cwd = profile.target.cwd.trim_end_matches('/');
    let inside = path.strip_prefix(cwd).filter(|_| !cwd.is_empty()).and_then(|rest| rest.strip_prefix('/'));
    inside.filter(|rest| !rest.is_empty()).unwrap_or(path)
}

/// The short path for lists with narrow columns. For a file outside the working directory: the file name alone, if no
/// other file of the profile has the same name.
pub(super) fn list_path<'p>(profile: &Profile, path: &'p str) -> &'p str {
    let short = short_path(profile, path);
    let last = |path: &'p str| path.rsplit('/').next().unwrap_or(path);
    let alone = || profile.files.iter().filter(|file| file.path.rsplit('/').next() == Some(last(path))).count() == 1;
    if short.starts_with('/') && alone() { last(path) } else { short }
}
