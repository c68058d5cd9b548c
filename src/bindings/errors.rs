//! Exceptions for files that cannot be read or written, and the style that Python asks for.
//!
//! Invariant: an `OSError` has the class of its number and a hint. Neighbours: `profile` and `difference` raise them.

use std::path::Path;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::report::{self, Style};

/// A style from what Python gives.
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

/// An `OSError` of the class that belongs to the error's number.
pub(crate) fn os_error(error: &std::io::Error, message: String) -> PyErr {
    // What is said of a temporary file carries no number.
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

/// As above, for a file that cannot be written.
pub(crate) fn cannot_write(path: &Path, error: &std::io::Error) -> PyErr {
    os_error(error, format!("cannot write `{}`: {error}\nhint: name a file that can be written", path.display()))
}
