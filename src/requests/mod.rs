//! Exact profiles of single requests: web requests, tasks, jobs, any block.
//!
//! Job: count the functions and the lines of one request among many that overlap, to answer: *what did this request
//! cost, call by call and line by line?* Invariant: a request is an object in a context variable, and every event looks
//! it up in the running context; so nothing starts or stops for a single request, and two requests never mix.
//! Neighbours: `rscalene.web` makes requests from the calls of servers; `lines` provides the clock.
//!
//! ```text
//! events (3.12+) / legacy (3.11) -> context: whose? -> book -> tree, ledger -> request, table -> rscalene.web
//!        engines: on and off                                      functions: names, scope
//! ```
//!
//! # For code that counts other things by request (SQL)
//!
//! * In Python: `rscalene._rscalene.current_request()` returns the running context's open request, or None; if it is
//!   None, count nothing. `request.sql` is None until a ledger is attached by `request.sql = ledger`. From then on,
//!   `enter` calls `ledger.enter()`, and `exit` passes its result to `ledger.leave(...)`, so that the ledger counts in
//!   the same contexts. The middlewares attach the result of `rscalene.sql.ledger()` before they call the application,
//!   and read `request.sql.statements()` after the request has ended: a list of dicts with the keys of `sql.statements`
//!   in WEB (`file, line, function, statement, count, time_s, longest_s, rows, errors, mark`).
//! * In Rust: [`current`] returns the same request. For code that cannot call by name: the context variable is called
//!   `rscalene_request`, and a request's label is an `AtomicU32` at the start of its Rust part.

mod api;
mod book;
mod context;
mod counts;
mod engines;
mod events;
mod functions;
pub(crate) mod labels;
mod ledger;
mod legacy;
mod memory;
mod object;
mod request;
mod scope;
mod table;
mod templates;
mod text;
mod tree;

use pyo3::prelude::*;

pub use context::current;
pub use object::Request;

/// Adds the classes and functions of requests to the extension module.
///
/// # Errors
///
/// If the module cannot add a name.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    crate::lines::clock::prepare();
    module.add_class::<Request>()?;
    module.add_class::<request::Stretch>()?;
    module.add_class::<table::CallTable>()?;
    module.add_function(wrap_pyfunction!(labels::labels_followed, module)?)?;
    module.add_function(wrap_pyfunction!(labels::label_number, module)?)?;
    module.add_function(wrap_pyfunction!(labels::label_pairs, module)?)?;
    module.add_function(wrap_pyfunction!(labels::label_ended, module)?)?;
    module.add_function(wrap_pyfunction!(labels::label_enter, module)?)?;
    module.add_function(wrap_pyfunction!(labels::label_exit, module)?)?;
    module.add_function(wrap_pyfunction!(request::current_request, module)?)?;
    module.add_function(wrap_pyfunction!(request::request_scope, module)?)?;
    module.add_function(wrap_pyfunction!(request::page_style, module)?)?;
    module.add_function(wrap_pyfunction!(request::requests_refused, module)?)
}
