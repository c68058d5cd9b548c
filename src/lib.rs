//! rscalene: for every line of a Python program, where its time and its memory go.
//!
//! ```text
//! shim (in the profiled process) -> transport -> profile -> report
//!                    capture/remote ----^           control: flags, run, view, doctor
//! ```

pub mod capture;
pub mod control;
pub mod error;
pub mod lines;
pub mod profile;
pub mod report;
#[cfg(feature = "python")]
pub mod result;
pub mod source;
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
        py.detach(|| crate::control::main(argv, Some(executable)))
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::lines::python::register(module)?;
        crate::result::register(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
