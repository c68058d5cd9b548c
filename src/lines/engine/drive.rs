//! Generators, coroutines and async generators, one step at a time.
//!
//! Job: stand between the caller and the real generator, and put its session on whichever thread takes the next step.
//! Invariant: what goes in and what comes out is unchanged: values, exceptions, `close`. Interleaved tasks have a
//! session each; between two steps nothing is charged. Neighbour: `threads` holds the session of a step.

use std::sync::Arc;

use pyo3::exceptions::{PyGeneratorExit, PyStopAsyncIteration, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::outcome::exception_name;
use super::table::{LineTable, Table};
use super::threads::{Ended, Running, Thread, with_thread};
use super::tracing;
use crate::bindings::symbols;

/// Wraps a generator or a coroutine of the function that `table` watches; itself an iterator and an awaitable.
#[pyclass(module = "rscalene._rscalene")]
pub(crate) struct Drive {
    inner: Py<PyAny>,
    table: Arc<Table>,
    running: Option<Box<Running>>,
    /// Has its first step been taken?
    begun: bool,
    /// Is the end of `inner` not the end of the session?
    many: bool,
}

#[pymethods]
impl Drive {
    /// With `many` the session goes on after `inner`: the steps of an async generator are awaitables of their own.
    #[new]
    #[pyo3(signature = (table, inner, *, many=false))]
    fn new(table: &Bound<'_, LineTable>, inner: Py<PyAny>, many: bool) -> Self {
        Self { inner, table: Arc::clone(&table.get().table), running: None, begun: false, many }
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::step(slf, intern!(slf.py(), "send"), (slf.py().None(),))
    }

    fn send(slf: &Bound<'_, Self>, value: Py<PyAny>) -> PyResult<Py<PyAny>> {
        Self::step(slf, intern!(slf.py(), "send"), (value,))
    }

    #[pyo3(signature = (*arguments))]
    fn throw(slf: &Bound<'_, Self>, arguments: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        Self::step(slf, intern!(slf.py(), "throw"), arguments.clone())
    }

    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let closed = Self::step(slf, intern!(slf.py(), "close"), ());
        Self::finish(slf, None);
        closed.map(drop)
    }

    /// Go on with another awaitable of the same activation (the next step of an async generator).
    fn carry_on<'py>(slf: &Bound<'py, Self>, inner: Py<PyAny>) -> Bound<'py, Self> {
        slf.borrow_mut().inner = inner;
        slf.clone()
    }

    /// End the session; `exception` left the function, unless it is `None`.
    #[pyo3(signature = (exception=None))]
    fn end(slf: &Bound<'_, Self>, exception: Option<&Bound<'_, PyAny>>) {
        let error = exception.map(|exception| PyErr::from_value(exception.clone()));
        Self::finish(slf, error.as_ref());
    }
}

impl Drop for Drive {
    /// A generator that is dropped in the middle has come to its end as well.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            Python::attach(|py| {
                let pending = PyErr::take(py);
                Ended::of(running).announce(py);
                if let Some(error) = pending {
                    error.restore(py);
                }
            });
        }
    }
}

impl Drive {
    fn step<'py, A>(slf: &Bound<'py, Self>, method: &Bound<'py, PyString>, arguments: A) -> PyResult<Py<PyAny>>
    where
        A: pyo3::call::PyCallArgs<'py>,
    {
        let py = slf.py();
        let (inner, table, entered) = {
            let mut this = slf.borrow_mut();
            let this = &mut *this;
            // From 3.12 on the interpreter tells the start from the steps behind it.
            let starts = !std::mem::replace(&mut this.begun, true) && symbols::minor(py) < 12;
            let step = |thread: &mut Thread| thread.step_in(&this.table, &mut this.running, starts);
            let entered = with_thread(step).unwrap_or(false);
            (this.inner.bind(py).clone(), Arc::clone(&this.table), entered)
        };
        if entered {
            tracing::install(py);
        }
        let answer = inner.call_method1(method, arguments);
        if entered {
            let running = with_thread(|thread| thread.step_out(&table)).flatten();
            slf.borrow_mut().running = running;
            tracing::restore(py);
        }
        if let Err(error) = &answer
            && !slf.borrow().many
        {
            Self::finish(slf, Some(error));
        }
        answer.map(Bound::unbind)
    }

    fn finish(slf: &Bound<'_, Self>, error: Option<&PyErr>) {
        let py = slf.py();
        let Some(mut running) = slf.borrow_mut().running.take() else { return };
        if let Some(error) = error
            && ![
                error.is_instance_of::<PyStopIteration>(py),
                error.is_instance_of::<PyStopAsyncIteration>(py),
                error.is_instance_of::<PyGeneratorExit>(py),
            ]
            .contains(&true)
        {
            running.fail(exception_name(&error.get_type(py)));
        }
        Ended::of(running).announce(py);
    }
}
