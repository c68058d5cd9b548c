//! Tables of a session, as text.
//!
//! Job: memory_profiler's table to the character, its older three-column form, line_profiler's table with a column of
//! own time, and all columns together. Invariant: pure functions of an [`Outcome`] and the source lines; one row for
//! each physical line, blank cells where a line never ran. Neighbours: `session` fills the rows, `engine::outcome`
//! brings the source.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::clock;
use super::session::Row;

/// Which table to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// `Line #    Mem usage    Increment  Occurrences   Line Contents`, memory_profiler 0.58 and later.
    Memory,
    /// `Line #    Mem usage    Increment   Line Contents`, memory_profiler before 0.58.
    Classic,
    /// `Line #      Hits         Time  Per Hit   % Time  Line Contents` with `Own` before the contents.
    Time,
    /// line_profiler's table without the column of own time.
    LineProfiler,
    /// Memory, peak, hits and time.
    All,
}

impl Columns {
    /// The names a user may write, in the order of the variants.
    pub const NAMES: [&str; 5] = ["memory", "classic", "time", "line_profiler", "all"];

    /// The columns called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "memory" => Some(Self::Memory),
            "classic" => Some(Self::Classic),
            "time" => Some(Self::Time),
            "line_profiler" => Some(Self::LineProfiler),
            "all" => Some(Self::All),
            _ => None,
        }
    }

    /// Does the table show bytes?
    #[must_use]
    pub fn shows_memory(self) -> bool {
        matches!(self, Self::Memory | Self::Classic | Self::All)
    }

    /// Does the table show seconds?
    #[must_use]
    pub fn shows_time(self) -> bool {
        matches!(self, Self::Time | Self::LineProfiler | Self::All)
    }
}

/// How a call that did not return ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Name of the exception's type.
    pub exception: String,
    /// The line it left the function on.
    pub line: u32,
}

/// All that a table is printed from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// File of the function.
    pub filename: String,
    /// Qualified name of the function, or the name that the user gave.
    pub name: String,
    /// Number of the first row's line.
    pub first_line: u32,
    /// One row a line.
    pub rows: Vec<Row>,
    /// Entries into the function.
    pub calls: u64,
    /// Footprint at the first entry, in bytes.
    pub base_bytes: i64,
    /// Was memory measured?
    pub memory: bool,
    /// CPU nanoseconds of each row by a sampler that ran meanwhile: Python's, native, and the kernel's; `None` where
    /// none did.
    pub split: Option<Vec<[u64; 3]>>,
    /// `Some` when an exception left the function.
    pub failure: Option<Failure>,
}

impl Outcome {
    /// Seconds on all rows.
    #[must_use]
    pub fn total_s(&self) -> f64 {
        clock::seconds(self.total_ticks())
    }

    /// Cells of the samples on a row: Python, native, and system; blank where no sample fell.
    fn split_cells(&self, at: usize, cell: impl Fn(f64) -> String) -> [String; 3] {
        let ns = self.split.as_ref().and_then(|split| split.get(at)).copied().unwrap_or_default();
        ns.map(|ns| if ns == 0 { String::new() } else { cell(ns as f64 / 1e9) })
    }

    fn total_ticks(&self) -> u64 {
        self.rows.iter().map(|row| row.ticks).sum()
    }
}

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Which table.
    pub columns: Columns,
    /// Decimals of MiB.
    pub precision: usize,
    /// Add the `Peak` column to the memory table.
    pub peak: bool,
    /// Seconds of one unit of the time table.
    pub unit_s: f64,
}

/// The table, with the blank lines that end memory_profiler's. `source` holds the lines of the function, without their
/// ends.
#[must_use]
pub fn render(outcome: &Outcome, source: &[String], format: Format) -> String {
    match format.columns {
        Columns::Memory | Columns::Classic | Columns::All => memory_table(outcome, source, format),
        Columns::Time | Columns::LineProfiler => time_table(outcome, source, format),
    }
}

const MIB: f64 = 1_048_576.0;

/// memory_profiler's cell: `{:{p+4}.{p}f} MiB`. A loss too small for the decimals is `0.000`, without a sign.
fn mib(bytes: i64, precision: usize) -> String {
    let cell = |bytes: i64| format!("{:width$.precision$} MiB", bytes as f64 / MIB, width = precision + 4);
    let text = cell(bytes);
    if text.contains(|digit: char| matches!(digit, '1'..='9')) { text } else { cell(0) }
}

fn memory_table(outcome: &Outcome, source: &[String], format: Format) -> String {
    let mut header = format!("{:>6} {:>12} {:>12}", "Line #", "Mem usage", "Increment");
    if format.columns != Columns::Classic {
        // Eleven letters in ten columns: the header is one wider than its rows, and scripts know it so.
        let _ = write!(header, "  {:>10}", "Occurrences");
    }
    let peak = format.peak || format.columns == Columns::All;
    if peak {
        let _ = write!(header, " {:>12}", "Peak");
    }
    if format.columns == Columns::All {
        let _ = write!(header, " {:>12} {:>12} {:>9} {:>8}", "Time", "Own", "Per Hit", "% Time");
        if outcome.split.is_some() {
            header.push_str(SPLIT_HEADER);
        }
    }
    header.push_str("   Line Contents");

    let total = outcome.total_ticks();
    let mut text = format!("Filename: {}\n\n{header}\n{}\n", outcome.filename, "=".repeat(header.len()));
    for (at, contents) in source.iter().enumerate() {
        let number = outcome.first_line as usize + at;
        let row = outcome.rows.get(at).copied().unwrap_or(Row::EMPTY);
        // The first line is the entry: its increment is the footprint that the function found.
        let (row, found) = if at == 0 && outcome.calls > 0 {
            let hits = if row.hits == 0 { outcome.calls } else { row.hits };
            (Row { hits, usage: row.usage.max(0), ..row }, outcome.base_bytes)
        } else {
            (row, 0)
        };
        // Bytes without a hit: what an inner function did before its first line.
        let shown = row.hits > 0 || row.increment != 0;
        let cell = |value: String| if shown { value } else { String::new() };
        let usage = cell(mib(outcome.base_bytes.saturating_add(row.usage), format.precision));
        let increment = cell(mib(found + row.increment, format.precision));
        let _ = write!(text, "{number:>6} {usage:>12} {increment:>12}");
        if format.columns != Columns::Classic {
            let _ = write!(text, "  {:>10}", cell(row.hits.to_string()));
        }
        if peak {
            let _ = write!(text, " {:>12}", cell(mib(row.peak, format.precision)));
        }
        if format.columns == Columns::All {
            let seconds = clock::seconds(row.ticks);
            let own = clock::seconds(row.ticks.saturating_sub(row.callee_ticks));
            let per_hit = if row.hits == 0 { 0.0 } else { seconds / row.hits as f64 };
            let _ = write!(
                text,
                " {:>12} {:>12} {:>9} {:>8}",
                cell(time_cell(seconds)),
                cell(time_cell(own)),
                cell(time_cell(per_hit)),
                cell(format!("{:.1}", percent(row.ticks, total)))
            );
            if outcome.split.is_some() {
                push_split(&mut text, outcome.split_cells(at, time_cell));
            }
        }
        let _ = writeln!(text, "   {contents}");
    }
    failure_line(&mut text, outcome);
    text.push_str("\n\n");
    text
}

/// A time with its unit, three significant digits.
fn time_cell(seconds: f64) -> String {
    // What would round to a thousand has the next unit.
    let (value, unit) = match seconds {
        s if s >= 0.9995 => (s, "s"),
        s if s >= 0.9995e-3 => (s * 1e3, "ms"),
        s if s >= 0.9995e-6 => (s * 1e6, "us"),
        s => (s * 1e9, "ns"),
    };
    let decimals = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.decimals$} {unit}")
}

/// The columns of [`Outcome::split`].
const SPLIT_HEADER: &str = "       Python       Native       System";

fn push_split(text: &mut String, cells: [String; 3]) {
    for cell in cells {
        let _ = write!(text, " {cell:>12}");
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

fn time_table(outcome: &Outcome, source: &[String], format: Format) -> String {
    let own_column = format.columns == Columns::Time;
    let mut header = format!("{:>6} {:>9} {:>12} {:>8} {:>8}", "Line #", "Hits", "Time", "Per Hit", "% Time");
    if own_column {
        let _ = write!(header, " {:>12}", "Own");
        if outcome.split.is_some() {
            header.push_str(SPLIT_HEADER);
        }
    }
    header.push_str("  Line Contents");
    // What passed on no line (the way into the function) has no row here, so it is in no sum.
    let total = outcome.rows.iter().filter(|row| row.hits > 0).map(|row| row.ticks).sum();
    let mut text = String::new();
    if format.columns == Columns::Time {
        let _ = writeln!(text, "Timer unit: {} s\n", unit_name(format.unit_s));
    }
    let _ = write!(
        text,
        "Total time: {} s\nFile: {}\nFunction: {} at line {}\n\n{header}\n{}\n",
        significant(clock::seconds(total)),
        outcome.filename,
        outcome.name,
        outcome.first_line,
        "=".repeat(header.len())
    );
    for (at, contents) in source.iter().enumerate() {
        let number = outcome.first_line as usize + at;
        let row = outcome.rows.get(at).copied().unwrap_or(Row::EMPTY);
        let line = if row.hits > 0 {
            let time = clock::seconds(row.ticks) / format.unit_s;
            let per_hit = time / row.hits as f64;
            let mut line = format!(
                "{number:>6} {:>9} {:>12} {:>8} {:>8}",
                fitting(row.hits as f64, 0, 9),
                fitting(time, 1, 12),
                fitting(per_hit, 1, 8),
                format!("{:.1}", percent(row.ticks, total)),
            );
            if own_column {
                let own = clock::seconds(row.ticks.saturating_sub(row.callee_ticks)) / format.unit_s;
                let _ = write!(line, " {:>12}", fitting(own, 1, 12));
                if outcome.split.is_some() {
                    push_split(&mut line, outcome.split_cells(at, |s| fitting(s / format.unit_s, 1, 12)));
                }
            }
            format!("{line}  {contents}")
        } else {
            let split = if own_column && outcome.split.is_some() { SPLIT_HEADER.len() } else { 0 };
            let blank = 47 + if own_column { 13 + split } else { 0 } - 6;
            format!("{number:>6}{:blank$}  {contents}", "")
        };
        let _ = writeln!(text, "{}", line.trim_end());
    }
    failure_line(&mut text, outcome);
    text.push('\n');
    text
}

/// `value` with `decimals`, in the form of C's `%g` with five digits where that is too wide, as line_profiler does.
fn fitting(value: f64, decimals: usize, width: usize) -> String {
    let plain = format!("{value:.decimals$}");
    if plain.len() <= width { plain } else { scientific(value) }
}

fn scientific(value: f64) -> String {
    let text = format!("{value:.4e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            format!("{}e{sign}{exponent:0>2}", digits.trim_end_matches('0').trim_end_matches('.'))
        }
        None => text,
    }
}

/// C's `%g`: six significant digits.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponent = value.abs().log10().floor() as i32;
    if !(-4..6).contains(&exponent) {
        let text = format!("{value:.5e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        let power: i32 = power.parse().unwrap_or(0);
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        return format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs());
    }
    let decimals = usize::try_from(5 - exponent).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The unit as line_profiler writes it: `1e-06`.
fn unit_name(unit_s: f64) -> String {
    significant(unit_s)
}

fn failure_line(text: &mut String, outcome: &Outcome) {
    if let Some(failure) = &outcome.failure {
        let _ = writeln!(text, "(left by {} on line {})", failure.exception, failure.line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let mut rows = vec![Row::EMPTY; 4];
        rows[0].usage = 0;
        rows[2] = Row { hits: 1, ticks: 0, callee_ticks: 0, increment: 8_003_584, usage: 8_003_584, peak: 0 };
        rows[3] = Row { hits: 1_000_003, ticks: 0, callee_ticks: 0, increment: -8_003_584, usage: 0, peak: 0 };
        Outcome {
            filename: "prog_list.py".to_owned(),
            name: "build".to_owned(),
            first_line: 7,
            rows,
            calls: 1,
            base_bytes: 29_032_972,
            memory: true,
            split: None,
            failure: None,
        }
    }

    fn source() -> Vec<String> {
        ["@profile", "def build():", "    a = [None] * N", "    del a"].map(str::to_owned).to_vec()
    }

    fn format(columns: Columns, precision: usize) -> Format {
        Format { columns, precision, peak: false, unit_s: 1e-6 }
    }

    #[test]
    fn the_memory_table_is_memory_profilers_to_the_character() {
        let expected = "\
Filename: prog_list.py

Line #    Mem usage    Increment  Occurrences   Line Contents
=============================================================
     7   27.688 MiB   27.688 MiB           1   @profile
     8                                         def build():
     9   35.321 MiB    7.633 MiB           1       a = [None] * N
    10   27.688 MiB   -7.633 MiB     1000003       del a


";
        assert_eq!(render(&outcome(), &source(), format(Columns::Memory, 3)), expected);
    }

    #[test]
    fn a_loss_too_small_for_the_decimals_has_no_sign() {
        assert_eq!(mib(-40, 3), "  0.000 MiB");
        assert_eq!(mib(-600, 3), " -0.001 MiB");
        assert_eq!(mib(-40, 4), "  0.0000 MiB");
    }

    #[test]
    fn the_classic_table_has_three_columns_and_a_rule_of_48() {
        let text = render(&outcome(), &source(), format(Columns::Classic, 1));
        let rule = text.lines().nth(3).unwrap();
        assert_eq!(rule, "=".repeat(48));
        assert_eq!(text.lines().nth(4).unwrap(), "     7     27.7 MiB     27.7 MiB   @profile");
    }

    #[test]
    fn an_exception_is_marked_after_the_rows() {
        let mut outcome = outcome();
        outcome.failure = Some(Failure { exception: "ValueError".to_owned(), line: 9 });
        assert!(
            render(&outcome, &source(), format(Columns::Memory, 1)).ends_with("(left by ValueError on line 9)\n\n\n")
        );
    }

    #[test]
    fn the_time_table_has_line_profilers_header() {
        let text = render(&outcome(), &source(), format(Columns::LineProfiler, 1));
        assert!(text.contains("Line #      Hits         Time  Per Hit   % Time  Line Contents\n"));
        assert!(text.contains(&format!("\n{}\n", "=".repeat(62))));
    }

    #[test]
    fn sampled_time_stands_beside_own_time_and_is_blank_where_nothing_was_sampled() {
        let mut outcome = outcome();
        outcome.split = Some(vec![[0; 3], [0; 3], [1_500_000, 2_000_000, 0], [0, 0, 250_000]]);
        let text = render(&outcome, &source(), format(Columns::Time, 1));
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with("    ")).collect();
        assert!(text.contains("          Own       Python       Native       System  Line Contents\n"));
        assert!(rows[2].contains("       1500.0       2000.0               "), "{text}");
        let ends: Vec<_> = rows.iter().map(|row| row.find("a = [None]").or(row.find("del a"))).collect();
        assert_eq!(ends[2], ends[3]);
        assert!(rows[3].contains("        250.0  "), "{text}");
        assert!(!render(&outcome, &source(), format(Columns::LineProfiler, 1)).contains("Python"));
    }

    #[test]
    fn numbers_print_as_c_prints_them() {
        assert_eq!(significant(1e-6), "1e-06");
        assert_eq!(significant(0.012_345_67), "0.0123457");
        assert_eq!(significant(12.5), "12.5");
        assert_eq!(scientific(1_234_567_890_123.0), "1.2346e+12");
        assert_eq!(time_cell(0.000_123_4), "123 us");
        assert_eq!(time_cell(9.999e-3), "10.0 ms");
        assert_eq!(time_cell(0.9996), "1.00 s");
        assert_eq!(time_cell(0.9994), "999 ms");
        assert_eq!(time_cell(0.000_999_6), "1.00 ms");
        assert_eq!(time_cell(999.6e-9), "1.00 us");
    }
}
