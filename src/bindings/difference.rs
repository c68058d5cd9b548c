//! The Python class for a comparison of two profiles.
//!
//! Job: render the differences between two profiles. Invariant: every format shows the same figures. Neighbours:
//! `profile::diff` compares, `report::diff` renders, `rscalene.Diff` (Python) calls this class.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::errors::{cannot_write, style};
use crate::profile::compare::diff::{Diff, diff};
use crate::profile::model::Profile;
use crate::report::Style;
use crate::report::diff::{self as render, DiffFormat, DiffOptions};
use crate::save::write_whole;

/// The differences between two profiles. See `rscalene.Diff`.
#[pyclass(module = "rscalene._rscalene", frozen)]
pub(crate) struct DiffData {
    diff: Diff,
}

impl DiffData {
    /// Compares two profiles.
    pub(crate) fn new(before: &Profile, after: &Profile) -> Self {
        Self { diff: diff(before, after) }
    }
}

#[pymethods]
impl DiffData {
    /// The comparison as JSON.
    fn json(&self) -> String {
        render::render_json(&self.diff)
    }

    /// The comparison as a table.
    fn text(&self, unicode: bool, color: bool, width: usize, top: usize) -> String {
        let options = DiffOptions { top, ..DiffOptions::default() };
        render::render_table(&self.diff, &options, &style(unicode, color, width))
    }

    /// The comparison as an HTML page.
    fn html(&self) -> String {
        render::render_page(&self.diff)
    }

    /// The comparison as an HTML fragment for notebooks.
    fn fragment(&self, top: usize) -> String {
        render::render_fragment(&self.diff, &DiffOptions { top, ..DiffOptions::default() })
    }

    /// The changed lines as Markdown.
    fn markdown(&self, top: usize) -> String {
        render::render_markdown(&self.diff, &DiffOptions { top, ..DiffOptions::default() })
    }

    /// Write the comparison to a file, whole or not at all. The ending picks the format.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let format = DiffFormat::of(&path).ok_or_else(|| {
            PyValueError::new_err(format!(
                "cannot tell the format of `{}` by its ending\nhint: end it in `.json`, `.html` or `.txt`",
                path.display()
            ))
        })?;
        let bytes = format.encode(&self.diff, &DiffOptions::default(), &Style::PLAIN);
        py.detach(|| write_whole(&path, &|out| out.write_all(&bytes))).map_err(|error| cannot_write(&path, &error))
    }
}
