//! Files of other profilers, read as profiles.
//!
//! Job: recognise a file of cProfile or scalene by its content, and make a profile of it. Invariants: pure; a figure
//! that the file does not have is `None`; no file causes a panic. Neighbours: [`super::json`] reads our own files,
//! `commands::view` and `rscalene.load` read any of them.

mod cprofile;
mod marshal;
mod scalene;

use std::io::Read;

use super::json::{self, ReadError};
use crate::profile::model::Profile;

/// Reads `source`, which messages call `name`: our own JSON, or a file of another profiler.
///
/// # Errors
/// The file cannot be read, is none of these, or is damaged.
pub fn read(name: &str, source: impl Read) -> Result<Profile, ReadError> {
    read_bytes(name, &json::all_bytes(name, source)?)
}

fn read_bytes(name: &str, bytes: &[u8]) -> Result<Profile, ReadError> {
    if cprofile::is_one(bytes) {
        return cprofile::read(bytes)
            .ok_or_else(|| json::refuse(name, "it is damaged, or no file of cProfile", "make it again"));
    }
    json::read_bytes(name, bytes).or_else(|error| scalene::read(bytes).ok_or(error))
}
