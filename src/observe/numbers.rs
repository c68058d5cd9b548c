//! Numbers of threads in the PID namespace that their process lives in.
//!
//! Job: translate between the kernel's thread ids as this process sees them and as the interpreter of a process in a
//! container knows them. Invariant: in a process that shares our namespace both are the same and nothing is read for it.
//! Neighbours: `remote::states` pairs thread states with threads by these numbers, `remote::process` thread names.

use std::collections::HashMap;
use std::fs;

/// The numbers of one process' threads.
#[derive(Debug, Default)]
pub struct Numbers {
    pid: u32,
    /// The process lives in a namespace below ours.
    apart: bool,
    inner: HashMap<u32, u32>,
}

impl Numbers {
    /// Those of the threads of process `pid`.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid, apart: innermost(pid, pid).is_some_and(|(levels, _)| levels > 1), inner: HashMap::new() }
    }

    /// The number that thread `tid` has for its own process.
    pub fn inner(&mut self, tid: u32) -> u32 {
        if !self.apart {
            return tid;
        }
        let pid = self.pid;
        *self.inner.entry(tid).or_insert_with(|| innermost(pid, tid).map_or(tid, |(_, number)| number))
    }

    /// The thread whose own process calls it `number`, among those that were asked about.
    #[must_use]
    pub fn outer(&self, number: u32) -> Option<u32> {
        if !self.apart {
            return Some(number);
        }
        self.inner.iter().find(|(_, inner)| **inner == number).map(|(&tid, _)| tid)
    }

    /// The thread has ended.
    pub fn forget(&mut self, tid: u32) {
        self.inner.remove(&tid);
    }
}

/// How many namespaces from ours downwards know the thread, and its number in the last one.
fn innermost(pid: u32, tid: u32) -> Option<(usize, u32)> {
    // Bytes: a process names itself as it likes.
    let status = fs::read(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    parse(&String::from_utf8_lossy(&status))
}

fn parse(status: &str) -> Option<(usize, u32)> {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_ascii_whitespace();
    Some((numbers.clone().count(), numbers.last()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_that_of_the_innermost_namespace() {
        assert_eq!(parse("Name:\tNSpid:\nTgid:\t9\nNSpid:\t4711\t812\t7\n"), Some((3, 7)));
        assert_eq!(parse("NSpid:\t4711\n"), Some((1, 4711)));
        assert_eq!(parse("Name:\tx\n"), None);
    }

    #[test]
    fn threads_of_our_own_namespace_keep_their_numbers() {
        let mut numbers = Numbers::new(std::process::id());
        assert_eq!((numbers.inner(77), numbers.outer(77)), (77, Some(77)));
    }
}
