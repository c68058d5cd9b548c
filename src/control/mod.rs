//! Control: the command line and the launcher.
//!
//! Job: turn the words typed into an exit code. Invariant: stdout belongs to the profiled program; whatever rscalene says
//! while one runs goes to stderr. Neighbours: `python/rscalene/__main__.py` calls [`main`], every other room is used here.

mod flags;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

/// Exit code: the command line was not understood.
pub const EXIT_USAGE: i32 = 2;

/// Runs one command line and returns its exit code.
///
/// `argv` starts with the name of the program; `_executable` is the interpreter that runs Python programs by default.
#[must_use]
pub fn main(argv: Vec<OsString>, _executable: Option<PathBuf>) -> i32 {
    match flags::Cli::try_parse_from(argv) {
        Ok(_) => 0,
        Err(error) => {
            // A closed stdout or stderr leaves nobody to tell.
            let _ = error.print();
            if error.use_stderr() { EXIT_USAGE } else { 0 }
        }
    }
}
