//! What the reader must know of a process to watch it.
//!
//! Invariant: plain values. Neighbours: the shim's `ProcessStart` or `locate` give them, `process` reads by them.

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
    /// For a forked process: its parent, and when it was forked. Its interpreter and its mappings are those of the
    /// parent.
    pub forked: Option<Forked>,
}

/// Where a forked process comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forked {
    /// Process id of its parent.
    pub parent: u32,
    /// When it was forked.
    pub time_ns: u64,
}

impl Target {
    /// A process that its shim armed.
    #[must_use]
    pub fn armed(pid: u32, start: &ProcessStart) -> Self {
        let (runtime, code_type, version) = (start.runtime, start.code_type, start.python_version);
        let forked = Forked { parent: start.parent, time_ns: start.time_ns };
        Self { pid, runtime, code_type, version, forked: start.flags.has(ProcessFlags::FORKED).then_some(forked) }
    }
}
