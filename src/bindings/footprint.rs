//! Resident memory over time, and bytes allocated between two points of a thread.
//!
//! Job: sample `/proc/PID/statm` for `memory_usage` from a thread that needs no GIL; read the exact counters for
//! `rscalene.memory()`. Invariant: the end of a sampled process ends its series of samples and raises no error.
//! Neighbours: `rscalene.footprint` (Python) makes the lists, `counters` has the exact numbers.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::counters::{self, Mine};

/// One sample: seconds since the epoch, and (pid, bytes) of the process and its descendants.
type Look = (f64, Vec<(u32, u64)>);

/// Samples the resident bytes of a process until `stop` is called, the process ends, or `limit` samples were taken.
#[pyclass(module = "rscalene._rscalene")]
pub(crate) struct RssSampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Look>>>,
}

#[pymethods]
impl RssSampler {
    /// Take a sample every `interval_s` seconds, of all descendants too if `children`, and at most `limit` samples.
    #[new]
    #[pyo3(signature = (pid, interval_s, *, children=false, limit=None))]
    fn new(pid: u32, interval_s: f64, children: bool, limit: Option<usize>) -> PyResult<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let interval = Duration::try_from_secs_f64(interval_s)
            .map_err(|error| pyo3::exceptions::PyValueError::new_err(format!("interval: {error}")))?;
        // Take the first sample before the constructor returns.
        let mut looks: Vec<Look> = look(pid, children).into_iter().collect();
        let sample = move || {
            let started = Instant::now();
            while !looks.is_empty() && limit.is_none_or(|limit| looks.len() < limit) {
                // Wait in steps that `unpark` can end, so that `stop` need not wait for a long interval.
                let next = interval.saturating_mul(u32::try_from(looks.len()).unwrap_or(u32::MAX));
                while !stopped.load(Relaxed) && started.elapsed() < next {
                    let left = next.saturating_sub(started.elapsed());
                    thread::park_timeout(left);
                }
                if stopped.load(Relaxed) {
                    looks.extend(look(pid, children));
                    break;
                }
                let Some(look) = look(pid, children) else { break };
                looks.push(look);
            }
            looks
        };
        let thread = thread::Builder::new()
            .name("rscalene-rss".to_owned())
            .spawn(sample)
            .map_err(|error| PyRuntimeError::new_err(format!("cannot start the sampling thread: {error}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stop, take one more sample, and return all samples: `(seconds since the epoch, [(pid, bytes), ...])`.
    fn stop(&mut self, py: Python<'_>) -> Vec<Look> {
        self.stop.store(true, Relaxed);
        self.finish(py)
    }

    /// Wait for the last sample and return all samples.
    fn wait(&mut self, py: Python<'_>) -> Vec<Look> {
        self.finish(py)
    }
}

impl RssSampler {
    fn finish(&mut self, py: Python<'_>) -> Vec<Look> {
        let Some(thread) = self.thread.take() else { return Vec::new() };
        thread.thread().unpark();
        py.detach(|| thread.join().unwrap_or_default())
    }
}

fn look(pid: u32, children: bool) -> Option<Look> {
    let mut bytes = vec![(pid, resident(pid)?)];
    if children {
        let mut at = 0;
        while let Some((parent, _)) = bytes.get(at).copied() {
            for child in children_of(parent) {
                if let Some(resident) = resident(child) {
                    bytes.push((child, resident));
                }
            }
            at += 1;
        }
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    Some((now, bytes))
}

fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    // A zombie has no pages.
    (pages > 0).then(|| pages * counters::page_bytes() as u64)
}

fn children_of(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>()).collect()
}

/// Bytes that this thread allocates and frees between construction and `stop`.
#[pyclass(module = "rscalene._rscalene", unsendable)]
pub(crate) struct ByteCount {
    mine: Mine,
    from: i64,
    allocated_from: u64,
    /// The highest net bytes of an enclosing session before this count began; `end` restores it.
    high_before: Option<i64>,
}

#[pymethods]
impl ByteCount {
    /// Start counting on this thread. Raise RuntimeError if allocators cannot be hooked.
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        counters::prepare(py)?;
        let mut mine = Mine::new();
        mine.attach();
        let (from, allocated_from, high_before) = (mine.net(), mine.allocated(), mine.high());
        mine.set_high(from);
        Ok(Self { mine, from, allocated_from, high_before })
    }

    /// Bytes allocated so far, bytes allocated minus bytes freed, and the largest such difference so far.
    fn peek(&self) -> (u64, i64, i64) {
        let (allocated, net) = (self.mine.allocated() - self.allocated_from, self.mine.net() - self.from);
        let high = self.mine.high().unwrap_or(self.from).max(self.from);
        (allocated, net, high - self.from)
    }

    /// Stop, and return the bytes allocated minus the bytes freed.
    fn stop(&mut self) -> i64 {
        let net = self.mine.net() - self.from;
        self.end(net)
    }
}

impl ByteCount {
    fn end(&mut self, net: i64) -> i64 {
        if let (Some(before), Some(high)) = (self.high_before.take(), self.mine.high()) {
            self.mine.set_high(before.max(high));
        }
        self.mine.detach();
        net
    }
}
