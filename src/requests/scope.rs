//! The code whose lines a request reports.
//!
//! Job: hold one scope for each process, fixed before the first event, because code once found out of scope is never
//! checked again. Invariant: `rscalene`'s own files are never in scope. Neighbours: `functions` asks, `engines` fixes
//! it.

use std::sync::{Mutex, OnceLock};

use pyo3::prelude::*;

use crate::profile::build::scope::{Scope, ScopeRules};

static SCOPE: OnceLock<Scope> = OnceLock::new();
/// Folder of the package, with a slash at its end.
static OURS: OnceLock<String> = OnceLock::new();
/// Globs to add, until the scope is fixed.
static INCLUDE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Adds globs of files to the usual scope. `false` if the scope is fixed already.
///
/// # Errors
/// A glob that cannot be parsed.
pub(super) fn include(globs: Vec<String>) -> Result<bool, String> {
    let rules = ScopeRules { include: globs.clone(), ..ScopeRules::default() };
    Scope::new(rules).map_err(|bad| bad.to_string())?;
    let Ok(mut kept) = INCLUDE.lock() else { return Ok(false) };
    let new: Vec<String> = globs.into_iter().filter(|glob| !kept.contains(glob)).collect();
    if new.is_empty() {
        return Ok(true);
    }
    kept.extend(new);
    Ok(SCOPE.get().is_none())
}

/// Fixes the scope; every call after the first does nothing.
pub(super) fn fix(py: Python<'_>) -> PyResult<()> {
    if SCOPE.get().is_some() {
        return Ok(());
    }
    let package: String = py.import("rscalene")?.getattr("__path__")?.get_item(0)?.extract()?;
    let _ = OURS.set(format!("{package}/"));
    let paths = py.import("sysconfig")?.call_method0("get_paths")?;
    let mut libraries = vec![package];
    for name in ["stdlib", "platstdlib", "purelib", "platlib"] {
        libraries.push(paths.get_item(name)?.extract()?);
    }
    let cwd = std::env::current_dir().map(|folder| folder.display().to_string()).unwrap_or_default();
    let include = INCLUDE.lock().map(|globs| globs.clone()).unwrap_or_default();
    let rules = ScopeRules { cwd, include, libraries, ..ScopeRules::default() };
    if let Ok(scope) = Scope::new(rules) {
        let _ = SCOPE.set(scope);
    }
    Ok(())
}

/// Whether the file belongs to rscalene.
pub(super) fn is_ours(file: &str) -> bool {
    OURS.get().is_some_and(|folder| file.starts_with(folder.as_str()))
}

/// Whether the lines of this function are reported.
pub(super) fn holds(file: &str, qualname: &str, line: u32) -> bool {
    SCOPE.get().is_some_and(|scope| scope.holds(&scope.absolute(file), qualname, line))
}
