//! Facts that the reader needs about a process to watch.
//!
//! Invariant: plain values. Neighbours: the shim's `ProcessStart` or `locate` give them, `process` reads the memory at
//! these addresses.

use rscalene_wire::{ProcessFlags, ProcessStart};

/// Most frames of a stack that are read.
pub(super) const MAX_DEPTH: u32 = 1_024;

/// A process to watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Process id.
    pub pid: u32,
    /// Address of `_PyRuntime`.
    pub runtime: u64,
    /// Address of `PyCode_Type`.
    pub code_type: u64,
    /// `PY_VERSION_HEX`.
    pub version: u32,
    /// For a forked process: its parent, and the time of the fork. The process has the interpreter and the mappings of
    /// its parent.
    pub forked: Option<Forked>,
}

/// The origin of a forked process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forked {
    /// Process id of its parent.
    pub parent: u32,
    /// Time of the fork.
    pub time_ns: u64,
}

impl Target {
    /// The target for a process whose shim sent a start record.
    #[must_use]
    pub fn armed(pid: u32, start: &ProcessStart) -> Self {
        let (runtime, code_type, version) = (start.runtime, start.code_type, start.python_version);
        let forked = Forked { parent: start.parent, time_ns: start.time_ns };
        Self { pid, runtime, code_type, version, forked: start.flags.has(ProcessFlags::FORKED).then_some(forked) }
    }
}
