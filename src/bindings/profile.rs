//! The Python class for a profile.
//!
//! Job: read, save and render one profile. Invariant: the profile is complete and all of its indices are valid. The
//! text of code without a file (cells of a notebook) is kept beside the profile. Neighbours: `report` renders,
//! `difference` compares two profiles.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::difference::DiffData;
use super::errors::{cannot_read, cannot_write, style};
use crate::profile::model::Profile;
use crate::profile::model::figures::FIGURES;
use crate::report::export::{Format, Look};
use crate::report::html::{FragmentOptions, HtmlOptions, render_fragment, render_html};
use crate::report::view::{Options, SortKey};
use crate::report::{self, Style, json};
use crate::save::{format_of, write_whole};
use crate::source;

/// A profile. See `rscalene.Result`.
#[pyclass(module = "rscalene._rscalene", frozen)]
pub(crate) struct ProfileData {
    profile: Arc<Profile>,
    /// Text of code without a file, by its name in the profile.
    texts: HashMap<String, String>,
}

impl ProfileData {
    /// Wraps a new profile.
    pub(crate) fn new(profile: Profile) -> Self {
        Self::of(Arc::new(profile))
    }

    /// Wraps a profile that has other owners.
    pub(crate) fn of(profile: Arc<Profile>) -> Self {
        Self { profile, texts: HashMap::new() }
    }

    /// The profile.
    pub(crate) fn profile(&self) -> Arc<Profile> {
        Arc::clone(&self.profile)
    }

    fn source(&self, path: &str) -> Option<String> {
        self.texts.get(path).cloned().or_else(|| source::text(path))
    }
}

#[pymethods]
impl ProfileData {
    /// Names of the orders of lines, files and functions.
    #[classattr]
    #[pyo3(name = "SORT_KEYS")]
    fn sort_keys() -> Vec<&'static str> {
        SortKey::all().map(|key| key.name()).collect()
    }

    /// Keys of a line's memory figures, in the order of the JSON.
    #[classattr]
    #[pyo3(name = "MEMORY_KEYS")]
    fn memory_keys() -> Vec<&'static str> {
        FIGURES.iter().map(|figure| figure.key).collect()
    }

    /// Read a profile's JSON from a file.
    #[staticmethod]
    fn read(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let name = path.display().to_string();
        let file = File::open(&path).map_err(|error| cannot_read(&name, &error))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(cannot_read(&name, &std::io::Error::from_raw_os_error(libc::EISDIR)));
        }
        let profile = py.detach(|| report::read_any(&name, file));
        profile.map(Self::new).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Read a profile's JSON from memory; messages call it `name`.
    #[staticmethod]
    fn parse(py: Python<'_>, name: &str, bytes: &[u8]) -> PyResult<Self> {
        let profile = py.detach(|| json::read_bytes(name, bytes));
        profile.map(Self::new).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Names of the files without text on any line.
    fn unread(&self) -> Vec<String> {
        let bare = |file: &&crate::profile::model::File| file.lines.iter().all(|line| line.source.is_none());
        self.profile.files.iter().filter(bare).map(|file| file.path.clone()).collect()
    }

    /// Return a copy with other names and text for files: `(name, new name, text)`. If `title` is not `None`, it
    /// replaces the command of the profile.
    fn with_texts(&self, files: Vec<(String, String, String)>, title: Option<String>) -> Self {
        let mut profile = (*self.profile).clone();
        let mut texts = self.texts.clone();
        for (path, shown, text) in files {
            rename(&mut profile, &path, &shown);
            for line in profile.files.iter_mut().filter(|file| file.path == shown).flat_map(|file| &mut file.lines) {
                let at = (line.line as usize).checked_sub(1);
                line.source = line.source.take().or_else(|| text.lines().nth(at?).map(str::to_owned));
            }
            texts.insert(shown, text);
        }
        if let Some(title) = title {
            profile.target.command = vec![title];
        }
        Self { profile: Arc::new(profile), texts }
    }

    /// The profile as JSON, format 1.
    fn json(&self, py: Python<'_>, pretty: bool) -> PyResult<String> {
        let layout = if pretty { json::Layout::Pretty } else { json::Layout::Compact };
        let text = py.detach(|| {
            let mut bytes = Vec::new();
            json::write(&self.profile, layout, &mut bytes).map(|()| String::from_utf8_lossy(&bytes).into_owned())
        })?;
        Ok(text)
    }

    /// The profile as a table.
    fn text(&self, unicode: bool, color: bool, width: usize, sort: &str, top: usize) -> PyResult<String> {
        let style = style(unicode, color, width);
        let options = Options { sort: sort_key(sort)?, top, ..Options::default() };
        Ok(report::render_table(&self.profile, &options, &style, &|path| self.source(path)))
    }

    /// A summary of the run in one line.
    fn summary(&self) -> String {
        report::summary_line(&self.profile)
    }

    /// The profile as an HTML page.
    fn html(&self, py: Python<'_>, source: bool) -> String {
        let options = HtmlOptions { source, ..HtmlOptions::default() };
        py.detach(|| render_html(&self.profile, &options, &|path| self.source(path)))
    }

    /// The profile as an HTML fragment for notebooks.
    fn fragment(&self, sort: &str, top: usize) -> PyResult<String> {
        let options = FragmentOptions { top, sort: sort_key(sort)? };
        Ok(render_fragment(&self.profile, &options, &|path| self.source(path)))
    }

    /// The table of the hottest lines as Markdown.
    fn markdown(&self, sort: &str, top: usize) -> PyResult<String> {
        Ok(report::render_markdown(&self.profile, &Options { sort: sort_key(sort)?, top, ..Options::default() }))
    }

    /// The profile in one of the formats of `rscalene view --format`.
    fn encode<'py>(&self, py: Python<'py>, format: &str) -> PyResult<Bound<'py, PyBytes>> {
        let Some(format) = Format::from_name(format) else {
            let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
            return Err(PyValueError::new_err(format!("format must be one of {}, not `{format}`", names.join(", "))));
        };
        let mut bytes = Vec::new();
        // Writing to a `Vec` never fails.
        let _ = self.write(format, &mut bytes);
        Ok(PyBytes::new(py, &bytes))
    }

    /// Write the profile to a file, whole or not at all. The ending picks the format.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let format = format_of(&path)
            .map_err(|error| PyValueError::new_err(format!("{}\nhint: {}", error.message, error.hint)))?;
        py.detach(|| write_whole(&path, &|out| self.write(format, out))).map_err(|error| cannot_write(&path, &error))
    }

    /// Compare this profile with `after`, a later one.
    fn diff(&self, py: Python<'_>, after: &Self) -> DiffData {
        let (before, after) = (Arc::clone(&self.profile), Arc::clone(&after.profile));
        py.detach(|| DiffData::new(&before, &after))
    }
}

impl ProfileData {
    fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        let read = |path: &str| self.source(path);
        let look =
            Look { options: Options::default(), style: Style::PLAIN, source: true, weight: None, read_source: &read };
        format.write(&self.profile, &look, out)
    }
}

/// Renames a file, wherever the profile names it.
fn rename(profile: &mut Profile, path: &str, shown: &str) {
    let files = profile.files.iter_mut().map(|file| &mut file.path);
    for name in files.chain(&mut profile.stacks.other_files).filter(|name| *name == path) {
        shown.clone_into(name);
    }
}

fn sort_key(name: &str) -> PyResult<SortKey> {
    SortKey::from_name(name).ok_or_else(|| {
        PyValueError::new_err(format!("sort must be one of {}, not `{name}`", ProfileData::sort_keys().join(", ")))
    })
}
