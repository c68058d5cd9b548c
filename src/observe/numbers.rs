//! Thread ids in the PID namespace of a process.
//!
//! Job: translate between the kernel's thread ids in this process' namespace and the ids that the interpreter of a
//! process in a container uses. Invariant: for a process in the same namespace both are the same, and no file is read.
//! Neighbours: `remote::states` pairs thread states with threads by these ids, `remote::process` pairs thread names.

use std::collections::HashMap;
use std::fs;

/// The thread ids of a process.
#[derive(Debug, Default)]
pub struct Numbers {
    pid: u32,
    /// True if the process runs in a namespace below this process' namespace.
    apart: bool,
    inner: HashMap<u32, u32>,
}

impl Numbers {
    /// The ids of the threads of process `pid`.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid, apart: innermost(pid, pid).is_some_and(|(levels, _)| levels > 1), inner: HashMap::new() }
    }

    /// The id of thread `tid` in the thread's own namespace.
    pub fn inner(&mut self, tid: u32) -> u32 {
        if !self.apart {
            return tid;
        }
        let pid = self.pid;
        *self.inner.entry(tid).or_insert_with(|| innermost(pid, tid).map_or(tid, |(_, number)| number))
    }

    /// The thread with the id `number` in its own namespace, among the threads passed to [`Numbers::inner`] before.
    #[must_use]
    pub fn outer(&self, number: u32) -> Option<u32> {
        if !self.apart {
            return Some(number);
        }
        self.inner.iter().find(|(_, inner)| **inner == number).map(|(&tid, _)| tid)
    }

    /// The thread has ended: forgets its ids.
    pub fn forget(&mut self, tid: u32) {
        self.inner.remove(&tid);
    }
}

/// The number of namespaces, from this process' one downwards, in which the thread has an id; and its id in the
/// innermost.
fn innermost(pid: u32, tid: u32) -> Option<(usize, u32)> {
    // Reads bytes, because the name of a process need not be UTF-8.
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
