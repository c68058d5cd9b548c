//! A comparison as Python holds it.
//!
//! Job: render what changed between two profiles. Invariant: the same figures in every form. Neighbours:
//! `profile::diff` compares, `report::diff` renders.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::errors::{cannot_write, style};
use crate::profile::compare::diff::{Diff, diff};
use crate::profile::model::Profile;
use crate::report::Style;
use crate::report::diff::{self as render, DiffFormat, DiffOptions};
use crate::save::write_whole;

/// What changed. See `rscalene.Diff`.
#[pyclass(module = "rscalene._rscalene", frozen)]
pub(crate) struct DiffData {
    diff: Diff,
}

impl DiffData {
    /// Compares.
    pub(crate) fn new(before: &Profile, after: &Profile) -> Self {
        Self { diff: diff(before, after) }
    }
}

#[pymethods]
impl DiffData {
    /// The JSON.
    fn json(&self) -> String {
        render::render_json(&self.diff)
    }

    /// The table.
    fn text(&self, unicode: bool, color: bool, width: usize, top: usize) -> String {
        let options = DiffOptions { top, ..DiffOptions::default() };
        render::render_table(&self.diff, &options, &style(unicode, color, width))
    }

    /// The page.
    fn html(&self) -> String {
        render::render_page(&self.diff)
    }

    /// The piece of a page that notebooks show.
    fn fragment(&self, top: usize) -> String {
        render::render_fragment(&self.diff, &DiffOptions { top, ..DiffOptions::default() })
    }

    /// The lines that changed, as Markdown.
    fn markdown(&self, top: usize) -> String {
        render::render_markdown(&self.diff, &DiffOptions { top, ..DiffOptions::default() })
    }

    /// Write it to a file, whole or not at all; the ending picks the format.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let format = DiffFormat::of(&path).ok_or_else(|| {
            PyValueError::new_err(format!(
                "cannot tell the format of `{}` by its ending\nhint: end it in `.json`, `.html` or `.txt`",
                path.display()
            ))
        })?;
        let bytes = format.encode(&self.diff, &DiffOptions::default(), &Style::PLAIN);
        py.detach(|| write_whole(&path, &bytes)).map_err(|error| cannot_write(&path, &error))
    }
}
