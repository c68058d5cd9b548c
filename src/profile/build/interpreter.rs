//! The interpreter of a process, as its shim described it.
//!
//! Job: name an interpreter that cannot be profiled. Invariant: an interpreter of unknown version has version 0.
//! Neighbours: `builder` keeps an interpreter per process, `commands::run::outcome` explains.

use super::notices;

/// The interpreter of a process.
#[derive(Debug)]
pub(crate) struct Python {
    /// `Py_Version`; 0: unknown.
    pub(crate) version: u32,
    /// A build without the GIL.
    pub(crate) free_threaded: bool,
    /// True if its frames cannot be read.
    pub(crate) refused: bool,
}

/// An interpreter whose frames cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its version is not supported; `None`: the version is unknown.
    Version(Option<String>),
    /// Its build is not supported: the version, and the missing feature (the GIL).
    Build(String),
}

impl Python {
    /// The reason why the frames of this interpreter cannot be read; `None`: they can.
    pub(crate) fn refused(&self) -> Option<Refused> {
        let version = notices::version(self.version);
        if !self.refused {
            return None;
        }
        if !notices::is_supported(self.version) {
            return Some(Refused::Version(Some(version).filter(|_| self.version != 0)));
        }
        let without = if self.free_threaded { " without the GIL (free-threaded)" } else { "" };
        Some(Refused::Build(format!("Python {version}{without}")))
    }
}
