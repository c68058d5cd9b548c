//! Exact profiles of single requests: web requests, tasks, jobs, any block.
//!
//! Job: count the functions and the lines of one request among many that overlap. The reader's question: *what did this
//! request cost, call by call and line by line?* Invariant: a request is an object in a context variable; every event asks
//! whose context runs, so nothing is started or stopped for a request, and two requests never mix. Neighbours:
//! `rscalene.web` makes requests of what servers call; `lines` lends the clock.
//!
//! ```text
//! events (3.12+) / legacy (3.11) -> context: whose? -> book -> tree, ledger -> request, table -> rscalene.web
//!        gears: on and off                                      functions: names, scope
//! ```
//!
//! # For what counts something else by request (SQL)
//!
//! * In Python: `rscalene._rscalene.current_request()` is the running context's open request, or None; where there is
//!   none, count nothing. `request.sql` is a slot: None until a ledger is attached by `request.sql = ledger`; `enter`
//!   then calls `ledger.enter()`, and `exit` calls `ledger.leave(answer)`, so that it counts in the same contexts. The
//!   middlewares attach what `rscalene.sql.ledger()` makes before they call the application, and read
//!   `request.sql.statements()` after the request has ended: a list of dicts with the keys of WEB's `sql.statements`
//!   (`file, line, function, statement, count, time_s, longest_s, rows, errors, mark`).
//! * In Rust: [`current`] gives the same request. Where nothing runs by name, the context variable is called
//!   `rscalene_request`, and a request's label is an `AtomicU32` at the start of its Rust part.

mod api;
mod book;
mod context;
mod counts;
mod events;
mod functions;
mod gears;
pub(crate) mod labels;
mod ledger;
mod legacy;
mod object;
mod request;
mod scope;
mod table;
mod text;
mod tree;

use pyo3::prelude::*;

pub use context::current;
pub use object::Request;

/// Adds the requests to the extension module.
///
/// # Errors
///
/// When the module cannot take a name.
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
