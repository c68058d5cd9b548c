//! The error of a command: message, hint and exit code.
//!
//! Invariant: a message is one line in lower case with values in backticks, and says the effect and the cause; its hint
//! is one line with one thing to do. Neighbours: `commands` makes these errors, prints them and exits with their code.

use std::fmt;

/// Exit code: the command line is not valid.
pub const EXIT_USAGE: i32 = 2;
/// Exit code: a figure grew beyond a limit of `rscalene diff --fail`.
pub const EXIT_LIMIT: i32 = 3;
/// Exit code: the program ran and succeeded, but rscalene could not profile the program or write the report.
pub const EXIT_NO_PROFILE: i32 = 4;
/// Exit code: the program exists but cannot be run.
pub const EXIT_CANNOT_RUN: i32 = 126;
/// Exit code: there is no such program.
pub const EXIT_NOT_FOUND: i32 = 127;

/// The failure of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The effect, the object and the cause.
    pub message: String,
    /// One thing to do about the error; may be empty.
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
