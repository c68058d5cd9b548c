//! rscalene: for every line of a Python program, where its time and its memory go.
//!
//! ```text
//! shim (in the profiled process) -> transport -> profile -> report      cli, launch, commands: run, view, doctor
//!                           observe ----^                               lines, inprocess, bindings: inside Python
//! ```

// Commands answer with an exit code; `cli::messages` alone prints (clippy.toml refuses the streams' names elsewhere).
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

#[cfg(feature = "python")]
pub mod bindings;
pub mod cli;
pub mod commands;
#[cfg(feature = "python")]
pub mod inprocess;
pub(crate) mod launch;
pub mod lines;
pub mod observe;
pub mod profile;
pub(crate) mod push;
pub mod report;
#[cfg(feature = "python")]
pub mod requests;
pub(crate) mod save;
pub mod source;
pub mod sql;
pub mod transport;
pub mod units;

/// The extension module `rscalene._rscalene`.
#[cfg(feature = "python")]
#[pyo3::pymodule]
mod _rscalene {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use pyo3::prelude::*;

    /// Run one command line.
    #[pyfunction]
    fn main(py: Python<'_>, argv: Vec<OsString>, executable: PathBuf) -> i32 {
        py.detach(|| crate::commands::main(argv, Some(executable)))
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::lines::clock::prepare();
        module.add_class::<crate::lines::engine::table::LineTable>()?;
        module.add_function(wrap_pyfunction!(crate::lines::engine::watch::instrumented, module)?)?;
        module.add_function(wrap_pyfunction!(crate::lines::engine::watch::watch, module)?)?;
        module.add_class::<crate::lines::engine::outcome::LineOutcome>()?;
        module.add_class::<crate::lines::engine::drive::Drive>()?;
        module.add_class::<crate::bindings::footprint::RssSampler>()?;
        module.add_class::<crate::bindings::footprint::ByteCount>()?;
        module.add_class::<crate::inprocess::sampler::Sampler>()?;
        module.add_class::<crate::inprocess::pushing::Push>()?;
        module.add_class::<crate::bindings::profile::ProfileData>()?;
        module.add_class::<crate::bindings::difference::DiffData>()?;
        module.add_class::<crate::bindings::merge::MergeData>()?;
        crate::requests::register(module)?;
        crate::sql::register(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
