//! Sites from frame objects, for the caller of a greenlet: its frames are not on this thread's stack.
//!
//! Neighbours: `frames` walks a stack without frame objects, `lock` knows the scope.

use pyo3::prelude::*;

use super::book::Place;
use super::lock;

/// The user's lines from `frame` outwards.
pub(super) fn of_frame(frame: &Bound<'_, PyAny>) -> PyResult<Vec<Place>> {
    let mut places = Vec::new();
    let mut next = frame.clone();
    while !next.is_none() && places.len() < 64 {
        let code = next.getattr("f_code")?;
        let (file, function): (String, String) =
            (code.getattr("co_filename")?.extract()?, code.getattr("co_qualname")?.extract()?);
        let first: u32 = code.getattr("co_firstlineno")?.extract()?;
        let line: Option<u32> = next.getattr("f_lineno")?.extract()?;
        if let Some(file) = lock::with(|state| state.in_scope(&file, &function, first)) {
            places.push(Place { file, line: line.unwrap_or(first), function: function.into() });
        }
        next = next.getattr("f_back")?;
    }
    Ok(places)
}
