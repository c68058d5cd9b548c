//! The arena: its header, its segments, and the settings that the launcher leaves for the shim.
//!
//! Invariant: the launcher writes [`ArenaHeader`] before the first target starts; the shim writes
//! [`SegmentHeader`] of the segment that it owns; every shared word that changes later is an atomic.

use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::values::{CpuMode, MemoryMode, Switch};

/// First eight bytes of an arena.
pub const ARENA_MAGIC: u64 = u64::from_le_bytes(*b"rscalene");
/// Raised whenever a byte of the layout changes its meaning; both sides refuse another version.
pub const WIRE_VERSION: u32 = 3;
/// Bytes of [`ArenaHeader`] and of [`SegmentHeader`]: one page each, so that the ring behind is page-aligned.
pub const PAGE: usize = 4096;
/// Environment variable that names the arena to the shim: `LAUNCHER_PID:FD:NONCE` (decimal, decimal, hexadecimal);
/// the file is `/proc/LAUNCHER_PID/fd/FD`.
pub const ARENA_ENV: &str = "RSCALENE_ARENA";
/// Record kinds that are counted apart in [`SegmentHeader::lost`].
pub const LOST_KINDS: usize = 32;

/// What the launcher asks of every shim; fixed before the first target starts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// CPU sampling.
    pub cpu_mode: CpuMode,
    /// Memory.
    pub memory_mode: MemoryMode,
    /// Mean CPU nanoseconds between two CPU samples of a thread; 0: the shim keeps to its budget.
    pub cpu_interval_ns: u64,
    /// Mean bytes between two allocation samples at the start (the shim adapts it when `memory_adaptive` is on).
    pub memory_interval_bytes: u64,
    /// The shim adapts the allocation interval to its budget.
    pub memory_adaptive: Switch,
    /// Bytes moved by memcpy and memmove are sampled.
    pub copy_volume: Switch,
    /// Children of the first process are profiled as well.
    pub follow_children: Switch,
    /// 0.
    pub reserved: u32,
    /// Seed of the sampling random numbers; 0: taken from the clock and the pid.
    pub seed: u64,
}

/// The first page of an arena.
#[repr(C)]
#[derive(Debug)]
pub struct ArenaHeader {
    /// [`ARENA_MAGIC`].
    pub magic: u64,
    /// [`WIRE_VERSION`].
    pub version: u32,
    /// Process id of the launcher.
    pub launcher_pid: u32,
    /// Random number that the environment variable must repeat, so that a stale variable opens nothing.
    pub nonce: u64,
    /// Bytes of a segment, its header page included.
    pub segment_bytes: u64,
    /// Segments in the arena.
    pub segment_count: u32,
    /// Where a claim starts to look: a shim adds one and takes the first free segment from there on.
    pub hint: AtomicU32,
    /// 1 once the launcher wants every shim to disarm (`--duration` ran out, the launcher leaves).
    pub stop: AtomicU32,
    /// Futex word the launcher sleeps on; a shim adds one and wakes it when a ring is half full or a process appears.
    pub wake: AtomicU32,
    /// Processes that found no free segment: reported, since nothing else is known of them.
    pub refused: AtomicU64,
    /// What is asked of every shim.
    pub settings: Settings,
    /// Process id of the first that claimed a segment; 0 before.
    pub first: AtomicU32,
    /// Processes in a PID namespace of their own, which stay unprofiled: their numbers mean other processes here.
    pub elsewhere: AtomicU32,
    /// CPU nanoseconds that a signal of a perf event costs on this machine, handler excluded; 0: not measured.
    pub signal_cost_ns: AtomicU64,
    /// CPU nanoseconds that samples have cost beyond the lasting budget, at the beginning of the run.
    pub burst_ns: AtomicU64,
}

/// Bytes before segment 0: the header page and the owner words behind it (one `AtomicU64` a segment, from byte
/// [`PAGE`] on), rounded up to pages. The launcher looks at the owner words alone: a look into an unclaimed segment
/// would make its page real.
///
/// An owner word is 0 for a free segment; else the claim: process id in the low 32 bits, a stamp that is never 0
/// above. A shim claims by compare-and-swap from 0; the launcher alone stores 0 again, when the owner is dead, the
/// ring is drained, and the segment reads zero again.
#[must_use]
pub const fn first_segment(segment_count: u32) -> u64 {
    let end = PAGE as u64 + segment_count as u64 * 8;
    end.div_ceil(PAGE as u64) * PAGE as u64
}

/// The first page of a segment; belongs to one process at a time.
#[repr(C)]
#[derive(Debug)]
pub struct SegmentHeader {
    /// Slots reserved since the claim; moved by any thread of the owner.
    pub head: AtomicU64,
    /// Keeps `head` and `tail` on cache lines of their own.
    pub pad: [u64; 15],
    /// Slots consumed since the claim; moved by the launcher alone. Pairs with the Acquire load in the reservation.
    pub tail: AtomicU64,
    /// Keeps `tail` alone.
    pub pad2: [u64; 15],
    /// Records dropped because the ring was full, by record kind.
    pub lost: [AtomicU64; LOST_KINDS],
    /// Frames whose guarded reads failed or whose code object failed the type check.
    pub frames_rejected: AtomicU64,
    /// Current mean bytes between two allocation samples.
    pub memory_interval_bytes: AtomicU64,
}

const _: () = assert!(size_of::<ArenaHeader>() <= PAGE);
const _: () = assert!(size_of::<SegmentHeader>() <= PAGE);
const _: () = assert!(size_of::<Settings>() == 48);
