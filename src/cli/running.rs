//! Options of the commands for running processes: `attach`, `report`, `top` and `dump`.
//!
//! Job and invariant as in `flags`, which exports these options. Doc comments of fields are help texts.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::shared::{CpuSource, ScopeFlags, Show, picks};
use super::values::{parse_duration, parse_interval, parse_pid};

/// Options of `rscalene attach`.
#[derive(Debug, Args)]
#[command(
    after_help = "Nothing of the process is touched. Ctrl-C ends the recording and reports; a second one leaves.\n\
                  Exit codes: 0 the report is written, also where the process ended meanwhile; 2 usage; 4 nothing could \
                  be profiled."
)]
pub(crate) struct Attach {
    /// Process id
    #[arg(value_parser = parse_pid)]
    pub(crate) pid: u32,

    /// Record for this time, e.g. 30s or 5m [default: until Ctrl-C]
    #[arg(short, long, value_name = "TIME", value_parser = parse_duration, allow_hyphen_values = true)]
    pub(crate) duration: Option<Duration>,

    #[arg(short, long, value_name = "FILE", env = "RSCALENE_OUTPUT",
        help = picks("Where to save the profile", "; may be repeated"))]
    pub(crate) output: Vec<PathBuf>,

    /// Open the page in a browser at the end: the file of -o, or a temporary one
    #[arg(long)]
    pub(crate) open: bool,

    /// CPU time between two samples of a thread, e.g. 1ms or 250us
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = parse_interval, allow_hyphen_values = true, env = "RSCALENE_INTERVAL")]
    pub(crate) interval: Duration,

    /// Source of the CPU samples
    #[arg(long, value_name = "SOURCE", default_value = "auto", env = "RSCALENE_CPU_SOURCE")]
    pub(crate) cpu_source: CpuSource,

    /// Profile the process' children, too
    #[arg(short, long)]
    pub(crate) subprocesses: bool,

    #[command(flatten)]
    pub(crate) scope: ScopeFlags,

    #[command(flatten)]
    pub(crate) show: Show,

    /// Print nothing, and save only the files of -o
    #[arg(short, long, env = "RSCALENE_QUIET", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) quiet: bool,

    /// Print the number of samples and the cost of profiling
    #[arg(short, long, env = "RSCALENE_VERBOSE", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) verbose: bool,
}

/// Options of `rscalene report`.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Process id of the program, or of `rscalene run`
    #[arg(value_parser = parse_pid)]
    pub(crate) pid: u32,

    /// Where to save the profile; the ending picks the format, as for `rscalene run`
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write the file again at this interval, e.g. 30s, until the program ends
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_hyphen_values = true, requires = "output")]
    pub(crate) every: Option<Duration>,

    #[command(flatten)]
    pub(crate) show: Show,
}

/// Options of `rscalene top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Process id
    #[arg(value_parser = parse_pid)]
    pub(crate) pid: u32,

    /// Time between two updates of the screen
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration, allow_hyphen_values = true)]
    pub(crate) refresh: Duration,

    /// CPU time between two samples of a thread, e.g. 1ms or 250us
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = parse_interval, allow_hyphen_values = true, env = "RSCALENE_INTERVAL")]
    pub(crate) interval: Duration,

    /// Show functions in place of lines
    #[arg(long)]
    pub(crate) functions: bool,

    /// Look at the process' children, too
    #[arg(short, long)]
    pub(crate) subprocesses: bool,

    /// Print one table and exit, as is the default if stdout is no terminal
    #[arg(long)]
    pub(crate) once: bool,

    /// Time to observe before the table of --once
    #[arg(short, long, value_name = "TIME", default_value = "5s", value_parser = parse_duration, allow_hyphen_values = true)]
    pub(crate) duration: Duration,

    /// Print the table of --once as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) scope: ScopeFlags,
}

/// Options of `rscalene dump`.
#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// Process id
    #[arg(value_parser = parse_pid)]
    pub(crate) pid: u32,

    /// Show native frames between the Python frames; stops each thread for about 100 microseconds
    #[arg(short, long)]
    pub(crate) native: bool,

    /// Show the process' children, too
    #[arg(short, long)]
    pub(crate) subprocesses: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
