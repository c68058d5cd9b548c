//! Options that several commands share: the scope of a report, its look, and its destination.
//!
//! Job: groups of options that clap flattens into commands. Invariant: this file uses no option of a single command.
//! Neighbours: `flags` and `running` declare the commands.

use clap::{Args, ValueEnum};

use super::values::{parse_count, parse_percent, parse_sort, parse_weight};
use crate::report::Format;
use crate::report::export::Weight;
use crate::report::view::SortKey;

/// The files with lines in the report.
#[derive(Debug, Args)]
pub(crate) struct ScopeFlags {
    /// Report files that match this glob too (may be repeated)
    #[arg(long, value_name = "GLOB", env = "RSCALENE_INCLUDE", value_delimiter = ',')]
    pub(crate) include: Vec<String>,

    /// Leave out files that match this glob (may be repeated)
    #[arg(long, value_name = "GLOB", env = "RSCALENE_EXCLUDE", value_delimiter = ',')]
    pub(crate) exclude: Vec<String>,

    /// Report every file: the standard library and installed packages too
    #[arg(long, env = "RSCALENE_ALL", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) all: bool,
}

/// The order, length and content of a report.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Order of lines, files and functions: cpu, python, native, system, wait, alloc, increment, live, peak, copy,
    /// line, name
    #[arg(long, value_name = "KEY", default_value = "cpu", value_parser = parse_sort, env = "RSCALENE_SORT")]
    pub(crate) sort: SortKey,

    /// Length of the list of hottest lines
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse_count, allow_hyphen_values = true, env = "RSCALENE_TOP")]
    pub(crate) top: usize,

    /// Lines below this share of every total are folded
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = parse_percent, allow_hyphen_values = true, env = "RSCALENE_MIN_PERCENT")]
    pub(crate) min_percent: f64,

    /// Show the hottest lines of each process too
    #[arg(long, env = "RSCALENE_PER_PROCESS", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) per_process: bool,

    /// Weight of collapsed stacks, of pstats files and of the single profile in a speedscope file: cpu, wall, alloc, peak
    #[arg(long, value_name = "WHAT", value_parser = parse_weight, env = "RSCALENE_OF")]
    pub(crate) of: Option<Weight>,

    /// Show the tree of calls, with library frames folded
    #[arg(long, env = "RSCALENE_TREE", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) tree: bool,

    /// Show annotated source, functions, modules, threads and processes too, where they do not fit on the screen
    #[arg(long, env = "RSCALENE_FULL", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) full: bool,

    /// Unfold every line
    #[arg(long, env = "RSCALENE_ALL_LINES", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) all_lines: bool,

    /// List the lines with live memory that grows until the end
    #[arg(long, env = "RSCALENE_LEAKS", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) leaks: bool,

    #[command(flatten)]
    pub(crate) rendering: Rendering,
}

/// The look of a report's output.
#[derive(Debug, Args)]
pub(crate) struct Rendering {
    /// Save no source text
    #[arg(long, env = "RSCALENE_NO_SOURCE", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) no_source: bool,

    /// Colours in the table
    #[arg(long, value_name = "WHEN", default_value = "auto", env = "RSCALENE_COLOR")]
    pub(crate) color: Color,

    /// Width of the table in columns
    #[arg(long, value_name = "COLUMNS", value_parser = parse_count, allow_hyphen_values = true, env = "RSCALENE_WIDTH")]
    pub(crate) width: Option<usize>,
}

/// The source of the CPU samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CpuSource {
    /// perf if the kernel allows perf events, else timers
    Auto,
    /// perf only
    Perf,
    /// Timers only
    Timer,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal with colours
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Help text of an option that names a file: its purpose `what`, and the format for each ending.
pub(super) fn picks(what: &str, more: &str) -> String {
    format!("{what}; the ending picks the format ({}){more}", Format::endings())
}
