//! Prepares a process to count its queries.
//!
//! Job: find the layouts of the interpreter, fix the scope, and hook sqlite. Invariant: a second call changes the scope
//! and nothing else. Neighbours: `rscalene.sql` calls [`sql_arm`] before its first ledger.

use pyo3::prelude::*;

use super::ledger::{learn_shapes, variable};
use super::{context, frames, lock, sqlite};
use crate::lines::clock;
use crate::profile::build::scope::{Scope, ScopeRules};

/// Prepares this process: finds the layouts of the interpreter, sets the scope, and hooks sqlite. Returns whether the
/// hooks see sqlite's statements.
#[pyfunction]
#[pyo3(signature = (*, libraries, script, cwd, include=vec![], sqlite=true))]
pub(super) fn sql_arm(
    py: Python<'_>,
    libraries: Vec<String>,
    script: Option<String>,
    cwd: String,
    include: Vec<String>,
    sqlite: bool,
) -> PyResult<bool> {
    clock::prepare();
    let rules = ScopeRules { cwd, libraries, include, scripts: script.into_iter().collect(), ..ScopeRules::default() };
    let scope = Scope::new(rules).map_err(|bad| pyo3::exceptions::PyValueError::new_err(bad.to_string()))?;
    let readable = frames::prepare(py).is_some() && context::prepare(py, variable(py)?);
    lock::with(|state| state.set_scope(scope));
    learn_shapes(py)?;
    Ok(readable && sqlite && sqlite::arm(py)?)
}

/// Reports every execution of this process to the launcher from now on. Returns false without a launcher.
#[pyfunction]
pub(super) fn sql_follow() -> bool {
    clock::prepare();
    lock::with(lock::State::follow)
}

/// Reports the rows and time so far of executions that have not ended.
#[pyfunction]
pub(super) fn sql_settle() {
    lock::with(lock::State::settle);
}
