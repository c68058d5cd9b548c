//! Profiles as Python objects: what `rscalene.Result` and `rscalene.Diff` stand on.
//!
//! Job: hold a profile (or a comparison) and hand out every report of it. Invariant: nothing is computed here that a
//! report computes already. Neighbours: `report` renders, `lines::python::sampler` makes profiles of this process,
//! `rscalene.result` (Python) is the face.

mod difference;
mod profile;

use pyo3::prelude::*;

pub(crate) use profile::ProfileData;

/// Adds the classes to the extension module.
///
/// # Errors
///
/// When the module cannot take a name.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ProfileData>()?;
    module.add_class::<difference::DiffData>()?;
    Ok(())
}
