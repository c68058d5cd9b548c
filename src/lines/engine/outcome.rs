//! A finished session as Python sees it.
//!
//! Job: hand out the rows in seconds and bytes, merge them, and print them. Invariant: bytes are exact integers;
//! seconds come from the calibrated clock. Neighbours: `threads` makes it, `rscalene.lines` prints it.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyType, PyTypeMethods};

use crate::lines::clock;
use crate::lines::report::{self, Columns, Format, Outcome};

/// The cost of a call of a profiled function (or of several calls, merged), line by line.
#[pyclass(module = "rscalene._rscalene")]
pub(crate) struct LineOutcome {
    outcome: Outcome,
}

impl LineOutcome {
    pub(crate) fn new(outcome: Outcome) -> Self {
        Self { outcome }
    }
}

/// Name of an exception's type. Asked without a lookup of attributes: the interpreter would cache it, and drop some
/// older entry on a line of the program.
pub(crate) fn exception_name(kind: &Bound<'_, PyAny>) -> String {
    let name = kind.cast::<PyType>().map_err(PyErr::from).and_then(PyTypeMethods::name);
    name.map_or_else(|_| "an exception".to_owned(), |name| name.to_string())
}

#[pymethods]
impl LineOutcome {
    /// File of the function.
    #[getter]
    fn filename(&self) -> &str {
        &self.outcome.filename
    }

    /// Name of the function.
    #[getter]
    fn name(&self) -> &str {
        &self.outcome.name
    }

    /// Number of the first row's line.
    #[getter]
    fn first_line(&self) -> u32 {
        self.outcome.first_line
    }

    /// Number of rows.
    #[getter]
    fn lines(&self) -> usize {
        self.outcome.rows.len()
    }

    /// Entries into the function.
    #[getter]
    fn calls(&self) -> u64 {
        self.outcome.calls
    }

    /// Footprint at the first entry, in bytes; 0 when memory was not measured.
    #[getter]
    fn base_bytes(&self) -> i64 {
        self.outcome.base_bytes
    }

    /// Seconds on all rows.
    #[getter]
    fn total_s(&self) -> f64 {
        self.outcome.total_s()
    }

    /// `(name of the exception's type, line)` when an exception left the function.
    #[getter]
    fn failure(&self) -> Option<(&str, u32)> {
        self.outcome.failure.as_ref().map(|failure| (failure.exception.as_str(), failure.line))
    }

    /// `(line, hits, time_s, own_s, increment_bytes, usage_bytes, peak_bytes)` of each line that ran.
    fn rows(&self) -> Vec<(u32, u64, f64, f64, i64, i64, i64)> {
        let numbered = (self.outcome.first_line..).zip(&self.outcome.rows);
        numbered
            .filter(|(_, row)| row.ran())
            .map(|(line, row)| {
                (
                    line,
                    row.hits,
                    clock::seconds(row.ticks),
                    clock::seconds(row.ticks.saturating_sub(row.callee_ticks)),
                    row.increment,
                    self.outcome.base_bytes + row.usage,
                    row.peak,
                )
            })
            .collect()
    }

    /// Add another outcome of the same function.
    fn merge(&mut self, other: &Self) {
        let offset = other.outcome.base_bytes - self.outcome.base_bytes;
        self.outcome.calls += other.outcome.calls;
        for (row, more) in self.outcome.rows.iter_mut().zip(&other.outcome.rows) {
            row.merge(more, offset);
        }
        self.outcome.split = match (self.outcome.split.take(), &other.outcome.split) {
            (Some(mut mine), Some(more)) => {
                for (ns, more) in mine.iter_mut().zip(more) {
                    *ns = [ns[0] + more[0], ns[1] + more[1], ns[2] + more[2]];
                }
                Some(mine)
            }
            _ => None,
        };
        if other.outcome.failure.is_some() {
            self.outcome.failure.clone_from(&other.outcome.failure);
        }
    }

    /// The whole outcome as a single line of text, for another process of this machine.
    fn dump(&self) -> PyResult<String> {
        serde_json::to_string(&self.outcome).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Reads the text that `dump` wrote.
    #[staticmethod]
    fn load(text: &str) -> PyResult<Self> {
        serde_json::from_str(text).map(Self::new).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// The table as text; `source` holds the lines of the function.
    #[pyo3(signature = (source, *, columns, precision=1, peak=false, unit_s=1e-6))]
    fn render(
        &self,
        source: Vec<String>,
        columns: &str,
        precision: usize,
        peak: bool,
        unit_s: f64,
    ) -> PyResult<String> {
        let Some(columns) = Columns::named(columns) else {
            let names = Columns::NAMES.join("`, `");
            return Err(PyValueError::new_err(format!("columns must be one of `{names}`, not `{columns}`")));
        };
        Ok(report::render(&self.outcome, &source, Format { columns, precision, peak, unit_s }))
    }
}
