//! The Python class for a merge of profiles.
//!
//! Job: take files, JSON and results one by one, and return the merged profile. Invariant: the answer and the profile's
//! notices name each input that cannot be merged, with the reason. Neighbours: `profile::merge` adds, `profile` holds
//! the result.

use std::fs::File;
use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::profile::ProfileData;
use crate::profile::merge::{By, Merging, NotAdded};
use crate::profile::model::Profile;
use crate::report::json;

/// A merge in progress. See `rscalene.merge`.
#[pyclass(module = "rscalene._rscalene")]
#[derive(Default)]
pub(crate) struct MergeData {
    merging: Merging,
}

impl MergeData {
    /// Adds a profile. Returns the reason if the profile was not merged.
    fn take(&mut self, name: &str, read: Result<Profile, String>) -> Option<String> {
        let why = match read.map(|profile| self.merging.add(profile)) {
            Ok(Ok(())) => return None,
            Ok(Err(twice @ NotAdded::Twice)) => return Some(twice.why(name)),
            Ok(Err(overlaps)) => overlaps.why(name),
            Err(why) => why,
        };
        self.merging.skip(why.clone());
        Some(why)
    }
}

#[pymethods]
impl MergeData {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Add a file that holds a profile's JSON. Return the reason if the file was not merged.
    fn add_file(&mut self, py: Python<'_>, path: PathBuf) -> Option<String> {
        let name = path.display().to_string();
        py.detach(|| {
            let file = File::open(&path).map_err(|error| format!("cannot read `{name}`: {error}"));
            let read = file.and_then(|file| json::read(&name, file).map_err(|error| error.message));
            self.take(&name, read)
        })
    }

    /// Add a profile's JSON, called `name` in messages.
    fn add_json(&mut self, py: Python<'_>, name: &str, bytes: &[u8]) -> Option<String> {
        py.detach(|| self.take(name, json::read_bytes(name, bytes).map_err(|error| error.message)))
    }

    /// Add a result, called `name` in messages.
    fn add(&mut self, py: Python<'_>, name: &str, data: &ProfileData) -> Option<String> {
        let profile = data.profile();
        py.detach(|| self.take(name, Ok((*profile).clone())))
    }

    /// Return the merged profile. Afterwards this object is empty.
    fn finish(&mut self, py: Python<'_>, by: Option<&str>) -> PyResult<ProfileData> {
        let by = by.map(|word| By::from_name(word).ok_or_else(|| unknown(word))).transpose()?;
        let merging = std::mem::take(&mut self.merging);
        Ok(ProfileData::new(py.detach(|| merging.finish(by))))
    }

    /// Number of runs added.
    fn runs(&self) -> usize {
        self.merging.runs()
    }
}

fn unknown(word: &str) -> PyErr {
    let names = By::ALL.map(By::name).join(", ");
    PyValueError::new_err(format!("by must be one of {names}, not `{word}`"))
}
