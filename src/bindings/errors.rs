//! Exceptions for files that cannot be read or written, and the style of a table for Python callers.
//!
//! Invariant: an `OSError` has the subclass of its `errno`, and its message has a hint. Callers: `profile` and
//! `difference`.

use std::path::Path;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::report::{self, Style};

/// The style for the arguments of `Result.text` and `Diff.text`. The width is at least `LEAST_WIDTH`.
pub(crate) fn style(unicode: bool, color: bool, width: usize) -> Style {
    Style { width: width.max(report::style::LEAST_WIDTH), color, unicode }
}

pub(crate) fn cannot_read(name: &str, error: &std::io::Error) -> PyErr {
    let (why, hint) = match error.kind() {
        std::io::ErrorKind::NotFound => ("no such file", "`rscalene run -o FILE.json app.py` writes a profile"),
        std::io::ErrorKind::PermissionDenied => ("permission denied", "ask its owner, or record again"),
        std::io::ErrorKind::IsADirectory => ("it is a folder", "name a file in it"),
        _ => return os_error(error, format!("cannot read `{name}`: {error}\nhint: check the path")),
    };
    os_error(error, format!("cannot read `{name}`: {why}\nhint: {hint}"))
}

/// An `OSError` of the subclass that belongs to the error's number.
pub(crate) fn os_error(error: &std::io::Error, message: String) -> PyErr {
    // The `tempfile` crate wraps errors of temporary files, and drops their numbers.
    let by_kind = || match error.kind() {
        std::io::ErrorKind::NotFound => Some(libc::ENOENT),
        std::io::ErrorKind::PermissionDenied => Some(libc::EACCES),
        _ => None,
    };
    match error.raw_os_error().or_else(by_kind) {
        Some(number) => PyOSError::new_err((number, message)),
        None => PyOSError::new_err(message),
    }
}

/// The exception for a file that cannot be written.
pub(crate) fn cannot_write(path: &Path, error: &std::io::Error) -> PyErr {
    os_error(error, format!("cannot write `{}`: {error}\nhint: name a file that can be written", path.display()))
}
