//! Declares the command line.
//!
//! Job: declare every option and environment variable once, with its documentation. The doc comments of fields and
//! variants are the help texts. Invariant: this file decides nothing; `run`, `view` and `doctor` act on the options.
//! Neighbours: `argv` splits off the program's own words, `config` supplies defaults from `pyproject.toml`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::error::{EXIT_USAGE, Error};
pub(crate) use super::running::{Attach, Dump, Report, Top};
use super::shared::picks;
pub(crate) use super::shared::{Color, CpuSource, Rendering, ScopeFlags, Show};
use super::values::{
    Ranks, parse_by, parse_count, parse_duration, parse_format, parse_interval, parse_percent, parse_ranks,
};
use crate::profile::merge::By;
use crate::report::Format;

/// For every line of a Python program: where its time and its memory go
#[derive(Debug, Parser)]
#[command(name = "rscalene", version, infer_long_args = false, infer_subcommands = false, subcommand_required = true)]
#[command(arg_required_else_help = true, after_help = "Try `rscalene run app.py`.")]
pub(crate) struct Cli {
    /// The command
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Profile a program
    Run(Run),
    /// Profile a running process from outside
    Attach(Attach),
    /// Report on a running `rscalene run`: the profile so far
    Report(Report),
    /// Show the load of a running process by line, as it changes
    Top(Top),
    /// Print the present stack of every thread of a running process
    Dump(Dump),
    /// Show a saved profile, or turn it into another format
    View(View),
    /// Compare two saved profiles
    Diff(Diff),
    /// Make one profile from many: from the ranks of a job, from machines, from tasks
    Merge(Merge),
    /// Make a report from the capture of a killed `rscalene run`
    Recover(Recover),
    /// Run a program in which @profile needs no import, and print exact tables of the functions so marked
    #[command(
        disable_help_flag = true,
        override_usage = "rscalene lines [OPTIONS] SCRIPT [ARGS]...\n       rscalene lines [OPTIONS] -m MODULE [ARGS]...",
        after_help = "`rscalene lines --help` describes its options."
    )]
    Lines {
        /// Options, and the program with its own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "SCRIPT")]
        args: Vec<OsString>,
    },
    /// Check whether rscalene works on this machine, with a hint for each problem
    Doctor(Doctor),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Options of `rscalene run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "rscalene run [OPTIONS] SCRIPT [ARGS]...\n       rscalene run [OPTIONS] -m MODULE [ARGS]...\n       \
                      rscalene run [OPTIONS] -c CODE [ARGS]...\n       rscalene run [OPTIONS] COMMAND [ARGS]...",
    after_help = "Options end at the first word that is not one; everything behind it is the program's.\n\
                  The exit code is the program's own (128 + n if signal n ended it); 2 usage, 4 it ran but could not \
                  be profiled, 126 cannot be run, 127 not found."
)]
pub(crate) struct Run {
    /// Interpreter that runs the program
    #[arg(long, value_name = "EXE", env = "RSCALENE_PYTHON")]
    pub(crate) python: Option<PathBuf>,

    #[arg(short, long, value_name = "FILE", env = "RSCALENE_OUTPUT",
        help = picks("Where to save the profile", "; may be repeated; `-` prints the table to standard output; \
                      {host}, {rank} and {pid} are replaced; ranks of a job get `.rankN` before the ending by themselves"))]
    pub(crate) output: Vec<PathBuf>,

    /// Profile these ranks of a job alone, e.g. 0,3 or 0-3; the others run without a profile
    #[arg(long, value_name = "RANKS", value_parser = parse_ranks, env = "RSCALENE_RANKS")]
    pub(crate) ranks: Option<Ranks>,

    #[command(flatten)]
    pub(crate) push: super::push::Push,

    /// Open the page in a browser at the end: the file of -o, or a temporary one
    #[arg(long)]
    pub(crate) open: bool,

    /// Profile CPU time alone; the same as --memory off
    #[arg(long, env = "RSCALENE_CPU_ONLY", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) cpu_only: bool,

    /// How memory is profiled
    #[arg(long, value_name = "HOW", default_value = "sampled", env = "RSCALENE_MEMORY")]
    pub(crate) memory: MemoryMode,

    /// CPU time between two samples of a thread, e.g. 1ms or 250us [default: costs about 1 % of the CPU time]
    #[arg(long, value_name = "TIME", value_parser = parse_interval, allow_hyphen_values = true, env = "RSCALENE_INTERVAL")]
    pub(crate) interval: Option<Duration>,

    /// Source of the CPU samples
    #[arg(long, value_name = "SOURCE", default_value = "auto", env = "RSCALENE_CPU_SOURCE")]
    pub(crate) cpu_source: CpuSource,

    /// Stop profiling after this time, e.g. 30s or 5m; the program runs on
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_hyphen_values = true, env = "RSCALENE_DURATION")]
    pub(crate) duration: Option<Duration>,

    /// Count the queries of databases by line: statements, seconds, rows, N+1s
    #[arg(long, env = "RSCALENE_SQL", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) sql: bool,

    /// Keep no capture while the program runs (at most 256 MiB, removed after the report). After a kill,
    /// `rscalene recover` then has no data
    #[arg(long, env = "RSCALENE_NO_CAPTURE", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) no_capture: bool,

    /// Profile the first process alone
    #[arg(long, env = "RSCALENE_NO_CHILDREN", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) no_children: bool,

    #[command(flatten)]
    pub(crate) scope: ScopeFlags,

    #[command(flatten)]
    pub(crate) show: Show,

    /// Print nothing, and save only the files of -o
    #[arg(short, long, env = "RSCALENE_QUIET", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) quiet: bool,

    /// Print the started command, the number of samples and the cost of profiling
    #[arg(short, long, env = "RSCALENE_VERBOSE", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) verbose: bool,
}

/// Options of `rscalene view`.
#[derive(Debug, Args)]
pub(crate) struct View {
    /// A profile that `rscalene run` saved
    pub(crate) file: PathBuf,

    #[arg(short, long, value_name = "FILE",
        help = picks("Write the report to a file instead", ""))]
    pub(crate) output: Option<PathBuf>,

    #[arg(long, value_name = "FORMAT", value_parser = parse_format,
        help = format!("Format: {}; to stdout unless -o names a file", Format::ALL.map(Format::name).join(", ")))]
    pub(crate) format: Option<Format>,

    /// Write HTML, beside the profile unless -o says where
    #[arg(long, conflicts_with = "format")]
    pub(crate) html: bool,

    /// Write HTML, as --html does, and open the page in a browser
    #[arg(long, conflicts_with = "format")]
    pub(crate) open: bool,

    #[command(flatten)]
    pub(crate) show: Show,
}

/// Options of `rscalene diff`.
#[derive(Debug, Args)]
#[command(after_help = "Lines pair by their text, so lines that moved are compared with what they were.\n\
                        A figure in parentheses is within the noise: sampling alone explains it (two standard errors).\n\
                        Exit codes: 0; 2 usage; 3 a limit of --fail was passed.")]
pub(crate) struct Diff {
    /// The earlier profile
    pub(crate) before: PathBuf,

    /// The later profile
    pub(crate) after: PathBuf,

    /// Write the comparison to a file instead; the ending picks the format (.json, .html, .txt)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Print JSON: all lines and functions of either profile
    #[arg(long, conflicts_with = "output")]
    pub(crate) json: bool,

    /// Format to print: text, md, github (annotations on the lines, and the full text in the step summary) or json
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["output", "json"], default_value = "text")]
    pub(crate) format: DiffPrint,

    /// Exit with 3 if a figure (mem, peak, live, cpu, wait) of the run or of a line grew by more, e.g.
    /// mem:+5%,cpu:+100ms
    #[arg(long, value_name = "RULES")]
    pub(crate) fail: Option<String>,

    /// Changes of lines below these are never judged, e.g. 1MiB,1ms
    #[arg(long, value_name = "AMOUNTS", default_value = "64KiB,1ms")]
    pub(crate) min: String,

    /// Open the page in a browser
    #[arg(long)]
    pub(crate) open: bool,

    /// Length of the lists of lines and functions
    #[arg(long, value_name = "N", default_value = "20", value_parser = parse_count, allow_hyphen_values = true)]
    pub(crate) top: usize,

    /// Differences below this share of every total are left out
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = parse_percent, allow_hyphen_values = true)]
    pub(crate) min_percent: f64,

    /// Show every line of either profile
    #[arg(long)]
    pub(crate) all_lines: bool,

    #[command(flatten)]
    pub(crate) rendering: Rendering,
}

/// Options of `rscalene merge`.
#[derive(Debug, Args)]
#[command(after_help = "The result is the same to the byte in any order of the profiles, and may be merged again.\n\
                        A file that cannot be read is named and left out; exit code 2 where none could be read.")]
pub(crate) struct Merge {
    /// Profiles that `rscalene run` or `rscalene merge` saved, and folders of them
    #[arg(required = true, value_name = "DIR|FILE")]
    pub(crate) profiles: Vec<PathBuf>,

    #[arg(short, long, value_name = "FILE",
        help = picks("Where to save the merged profile", "; without it, the report is printed"))]
    pub(crate) output: Option<PathBuf>,

    /// Groups to compare for each line: host, rank, process or label [default: rank if there are ranks, else host, else
    /// process]
    #[arg(long, value_name = "WHAT", value_parser = parse_by)]
    pub(crate) by: Option<By>,

    #[command(flatten)]
    pub(crate) show: Show,
}

/// The output of `rscalene diff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DiffPrint {
    /// The table
    Text,
    /// Markdown
    Md,
    /// Commands of GitHub's workflows, and a step summary
    Github,
    /// All figures, and the verdict
    Json,
}

/// Options of `rscalene recover`.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// A capture; by default the newest capture of a killed `rscalene run`
    pub(crate) capture: Option<PathBuf>,

    /// List the captures
    #[arg(long)]
    pub(crate) list: bool,

    #[arg(short, long, value_name = "FILE",
        help = picks("Write the report to a file instead", ""))]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) show: Show,
}

/// Options of `rscalene doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Interpreter to look at
    #[arg(long, value_name = "EXE", env = "RSCALENE_PYTHON")]
    pub(crate) python: Option<PathBuf>,
}

/// How memory is profiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MemoryMode {
    /// A sample of the allocations, at about 1 % of the CPU
    Sampled,
    /// Every allocation, to the byte; slow
    Exact,
    /// Not at all
    Off,
}

impl Run {
    /// Combines `--cpu-only` and `--memory` in `self.memory`. The command line overrides the environment, and the
    /// environment overrides the configuration.
    ///
    /// # Errors
    /// Both options come from the same source and contradict each other.
    pub(crate) fn settle_memory(&mut self, said: &ArgMatches) -> Result<(), Error> {
        if !self.cpu_only || self.memory == MemoryMode::Off {
            return Ok(());
        }
        let rank = |id: &str| match said.value_source(id) {
            Some(ValueSource::CommandLine) => 2,
            Some(ValueSource::EnvVariable) => 1,
            // From the configuration, or not set at all.
            _ => 0,
        };
        let (without, with) = (rank("cpu_only"), rank("memory"));
        if without < with {
            self.cpu_only = false;
            return Ok(());
        }
        // In the configuration, `sampled` looks the same as the built-in default.
        if without == with && (without > 0 || self.memory == MemoryMode::Exact) {
            let how = self.memory.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            return Err(Error::new(
                EXIT_USAGE,
                format!("cannot use `--cpu-only` with `--memory {how}`: it leaves memory out"),
                "give one of the two",
            ));
        }
        self.memory = MemoryMode::Off;
        Ok(())
    }
}

/// The `run` command as clap sees it.
pub(crate) fn run_command() -> clap::Command {
    Cli::command().find_subcommand("run").cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declarations_hold_together() {
        Cli::command().debug_assert();
    }
}
