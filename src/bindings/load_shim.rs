//! Finds the shim in this process: preloaded, or loaded here once and never unloaded.
//!
//! Job: look up the functions that the shim exports. Invariant: callers use a function only if the shim has the
//! expected version. Callers: `counters` (exact bytes) and `subscription` (samples) ask for their tables.

use std::ffi::{CStr, CString, c_void};
use std::path::Path;

use pyo3::prelude::*;

use super::symbols;

/// Address of a function that the shim exports. Loads the shim if it is not loaded yet.
///
/// # Errors
/// The inner error is a message: the library beside this module cannot be loaded, or has another version.
pub(crate) fn function(py: Python<'_>, name: &CStr) -> PyResult<Result<*mut c_void, String>> {
    let preloaded = symbols::address(name);
    if !preloaded.is_null() {
        return Ok(Ok(preloaded));
    }
    let path = path(py)?;
    // SAFETY: the path ends with NUL; the library's constructor does nothing without an arena.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if library.is_null() {
        // SAFETY: dlopen has just failed, so there is a message.
        let why = unsafe { CStr::from_ptr(libc::dlerror()) };
        return Ok(Err(format!("cannot load the shim, {}", why.to_string_lossy())));
    }
    // SAFETY: the handle comes from the dlopen above.
    let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
    Ok(if symbol.is_null() {
        Err(format!("cannot use the shim, `{}` is of another version", path.to_string_lossy()))
    } else {
        Ok(symbol)
    })
}

fn path(py: Python<'_>) -> PyResult<CString> {
    let module: String = py.import("rscalene._rscalene")?.getattr("__file__")?.extract()?;
    let path = Path::new(&module).with_file_name("librscalene_shim.so");
    Ok(CString::new(path.into_os_string().into_encoded_bytes())?)
}
