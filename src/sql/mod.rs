//! SQL by Python line.
//!
//! Job: count the SQL statements of a program, by the executing line. Invariants: an execution counts once, at the
//! outermost layer that has a hook; neither literals nor parameters are kept. Neighbours: `rscalene.sql` (Python) puts
//! hooks into the drivers, `profile::scope` decides which lines are the user's.
//!
//! ```text
//! hooks in Python -> ledger --+          +-> book (entries by call site and statement)
//!                             +-> lock --+
//! sqlite (own functions) -----+          +-> to_launcher (records for `rscalene run --sql`)
//! ```

#[cfg(feature = "python")]
mod arm;
pub mod book;
#[cfg(feature = "python")]
mod build;
#[cfg(feature = "python")]
mod codes;
#[cfg(feature = "python")]
mod context;
#[cfg(feature = "python")]
mod frames;
#[cfg(feature = "python")]
mod ledger;
#[cfg(feature = "python")]
mod lock;
#[cfg(feature = "python")]
mod nodes;
pub mod normal;
#[cfg(feature = "python")]
mod sites;
#[cfg(feature = "python")]
mod slots;
#[cfg(feature = "python")]
mod sqlite;
#[cfg(feature = "python")]
mod to_launcher;
mod tokens;
#[cfg(feature = "python")]
mod variables;

/// Adds ledgers to the extension module.
///
/// # Errors
///
/// If the module cannot add a name.
#[cfg(feature = "python")]
pub fn register(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
    use pyo3::prelude::*;

    module.add_class::<ledger::Ledger>()?;
    module.add_class::<ledger::Call>()?;
    module.add_class::<build::Build>()?;
    module.add_function(pyo3::wrap_pyfunction!(arm::sql_arm, module)?)?;
    module.add_function(pyo3::wrap_pyfunction!(arm::sql_follow, module)?)?;
    module.add_function(pyo3::wrap_pyfunction!(arm::sql_settle, module)?)?;
    module.add_function(pyo3::wrap_pyfunction!(ledger::sql_variable, module)?)?;
    module.add_function(pyo3::wrap_pyfunction!(ledger::sql_begin, module)?)?;
    module.add_function(pyo3::wrap_pyfunction!(ledger::sql_counts, module)?)?;
    module.add_function(pyo3::wrap_pyfunction!(ledger::sql_build_begin, module)?)?;
    Ok(())
}
