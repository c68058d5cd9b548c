//! Runs the commands; each has a file or folder.
//!
//! Job: turn a command line into an exit code. Invariant: while a profiled program runs, stdout belongs to the program
//! and rscalene writes to stderr. Neighbours: `python/rscalene/__main__.py` calls [`main`]; the commands use all other
//! modules.

mod attach;
mod browser;
mod diff;
mod doctor;
mod dump;
mod merge;
mod names;
mod output;
mod recover;
mod report;
mod run;
mod top;
mod view;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::cli::argv::Program;
use crate::cli::error::{EXIT_USAGE, Error};
use crate::cli::flags::{Cli, Command};
use crate::cli::{argv, config, flags, messages};

/// Runs one command line and returns its exit code.
///
/// `argv` starts with the name of the program; `executable` is the interpreter that runs Python programs by default.
#[must_use]
pub fn main(mut argv: Vec<OsString>, executable: Option<PathBuf>) -> i32 {
    let mut program = Vec::new();
    if argv.get(1).is_some_and(|word| word == "run") {
        let (ours, rest) = argv::split(&flags::run_command(), argv.get(2..).unwrap_or(&[]));
        argv.truncate(2);
        argv.extend(ours);
        program = rest;
    }
    let folder = std::env::current_dir().unwrap_or_default();
    let parser = match config::apply(Cli::command(), &folder) {
        Ok(parser) => parser,
        Err(error) => {
            messages::tell(&error.to_string());
            return error.code;
        }
    };
    let parsed = parser.try_get_matches_from(argv);
    let parsed = parsed.and_then(|matches| Cli::from_arg_matches(&matches).map(|cli| (cli, matches)));
    let (mut cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error),
    };
    let settled = match (&mut cli.command, matches.subcommand()) {
        (Command::Run(flags), Some((_, said))) => flags.settle_memory(said),
        _ => Ok(()),
    };
    let interpreter = executable.unwrap_or_else(|| PathBuf::from("python3"));
    match settled.and_then(|()| command(&cli.command, program, interpreter)) {
        Ok(code) => code,
        Err(error) => {
            messages::tell(&error.to_string());
            error.code
        }
    }
}

/// The end of clap's errors. rscalene's own errors have a hint instead.
const MORE: &str = "For more information, try '--help'.";

/// Prints clap's error, or the help that the user asked for; returns the exit code.
fn refuse(error: &clap::Error) -> i32 {
    let hint = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // If the stream is closed, there is no other place for the text.
            let _ = error.print();
            return if error.use_stderr() { EXIT_USAGE } else { 0 };
        }
        ErrorKind::InvalidSubcommand => "to profile a program, type `rscalene run PROGRAM`",
        _ => "`rscalene COMMAND --help` describes the options of a command",
    };
    let text = error.render().to_string();
    messages::tell(&format!("{}\nhint: {hint}", text.trim_end().trim_end_matches(MORE).trim_end()));
    EXIT_USAGE
}

fn command(command: &Command, program: Vec<OsString>, interpreter: PathBuf) -> Result<i32, Error> {
    match command {
        Command::Run(flags) => run::run(flags, Program::of(program), &interpreter),
        Command::Attach(flags) => attach::attach(flags),
        Command::Report(flags) => report::report(flags),
        Command::Top(flags) => top::top(flags),
        Command::Dump(flags) => dump::dump(flags),
        Command::View(flags) => view::view(flags),
        Command::Diff(flags) => diff::diff(flags),
        Command::Merge(flags) => merge::merge(flags),
        Command::Recover(flags) => recover::recover(flags),
        Command::Lines { args } => {
            // `rscalene lines` measures the program in the program's own interpreter, so this process becomes this
            // interpreter. From the console script, `__main__.py` runs `rscalene.lines.command` and does not come here.
            let mut lines = std::process::Command::new(&interpreter);
            let error = lines.args(["-m", "rscalene.lines.command"]).args(args).exec();
            let hint = "name another interpreter: `PYTHON -m rscalene lines ...`";
            Err(Error::new(EXIT_USAGE, format!("cannot run `{}`: {error}", interpreter.display()), hint))
        }
        Command::Doctor(flags) => doctor::doctor(flags, &interpreter),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "rscalene", &mut script);
            messages::print(&script)?;
            Ok(0)
        }
    }
}
