//! What can go wrong, as the user is told: what, why, one thing to do, and the exit code.
//!
//! Invariant: a message is one line in lower case with values in backticks; its hint is one line. Neighbours: `commands`
//! makes them, prints them and exits with their code.

use std::fmt;

/// Exit code: the command line was not understood.
pub const EXIT_USAGE: i32 = 2;
/// Exit code: a limit of `rscalene diff --fail` was passed.
pub const EXIT_LIMIT: i32 = 3;
/// Exit code: the program ran and succeeded, but could not be profiled, or its report could not be written.
pub const EXIT_NO_PROFILE: i32 = 4;
/// Exit code: the program was found but cannot be run.
pub const EXIT_CANNOT_RUN: i32 = 126;
/// Exit code: there is no such program.
pub const EXIT_NOT_FOUND: i32 = 127;

/// Something that ends a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What happened, to what, why.
    pub message: String,
    /// One thing to do about it; empty where there is none.
    pub hint: String,
    /// Exit code.
    pub code: i32,
}

impl Error {
    /// An error with a hint.
    #[must_use]
    pub fn new(code: i32, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), code }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "rscalene: {}", self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(out, "\nhint: {}", self.hint) }
    }
}

impl std::error::Error for Error {}

impl From<crate::report::json::ReadError> for Error {
    fn from(error: crate::report::json::ReadError) -> Self {
        Self::new(EXIT_USAGE, error.message, error.hint)
    }
}
