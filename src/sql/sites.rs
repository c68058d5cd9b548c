//! Sites of frame objects: of a greenlet's caller, whose frames this thread's own walk does not meet.
//!
//! Neighbours: `frames` walks without objects, `world` says whose lines are the user's.

use pyo3::prelude::*;

use super::book::Place;
use super::world;

/// The user's lines from a frame object outwards.
pub(super) fn of_frame(frame: &Bound<'_, PyAny>) -> PyResult<Vec<Place>> {
    let mut places = Vec::new();
    let mut next = frame.clone();
    while !next.is_none() && places.len() < 64 {
        let code = next.getattr("f_code")?;
        let (file, function): (String, String) =
            (code.getattr("co_filename")?.extract()?, code.getattr("co_qualname")?.extract()?);
        let first: u32 = code.getattr("co_firstlineno")?.extract()?;
        let line: Option<u32> = next.getattr("f_lineno")?.extract()?;
        if let Some(file) = world::with(|world| world.in_scope(&file, &function, first)) {
            places.push(Place { file, line: line.unwrap_or(first), function: function.into() });
        }
        next = next.getattr("f_back")?;
    }
    Ok(places)
}
