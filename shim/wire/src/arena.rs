//! The arena: its header, its segments, and the launcher's settings for the shim.
//!
//! Invariant: the launcher writes [`ArenaHeader`] before the first target starts. A shim writes the [`SegmentHeader`]
//! of its own segment. Every shared word that changes later is an atomic.

use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::values::{CpuMode, MemoryMode, Switch};

/// First eight bytes of an arena.
pub const ARENA_MAGIC: u64 = u64::from_le_bytes(*b"rscalene");
/// Version of the layout, increased with every change of a byte's meaning. Launcher and shim refuse another version.
pub const WIRE_VERSION: u32 = 3;
/// Bytes of [`ArenaHeader`] and of [`SegmentHeader`]: a page each, so the ring behind the header is page-aligned.
pub const PAGE: usize = 4096;
/// Environment variable by which the shim finds the arena: `LAUNCHER_PID:FD:NONCE` (decimal, decimal, hexadecimal);
/// the file is `/proc/LAUNCHER_PID/fd/FD`.
pub const ARENA_ENV: &str = "RSCALENE_ARENA";
/// Number of record kinds with a counter of their own in [`SegmentHeader::lost`].
pub const LOST_KINDS: usize = 32;

/// The launcher's settings for every shim; fixed before the first target starts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Mode of CPU sampling.
    pub cpu_mode: CpuMode,
    /// Mode of memory profiling.
    pub memory_mode: MemoryMode,
    /// Mean CPU nanoseconds between two CPU samples of a thread; 0: the shim chooses the interval by its budget.
    pub cpu_interval_ns: u64,
    /// Mean bytes between two allocation samples at the start; the shim adapts this interval if `memory_adaptive` is
    /// on.
    pub memory_interval_bytes: u64,
    /// The shim adapts the allocation interval to its budget.
    pub memory_adaptive: Switch,
    /// The shim samples the bytes moved by memcpy and memmove.
    pub copy_volume: Switch,
    /// The shim also profiles the children of the first process.
    pub follow_children: Switch,
    /// Unused, 0.
    pub reserved: u32,
    /// Number that each thread mixes, with the clock and its thread id, into the seed of its random numbers.
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
    /// Random number. The environment variable must contain the same number, so a stale variable opens no other arena.
    pub nonce: u64,
    /// Bytes of a segment, its header page included.
    pub segment_bytes: u64,
    /// Segments in the arena.
    pub segment_count: u32,
    /// Index at which the next claim begins its search. A shim adds 1 and takes the first free segment from there on.
    pub hint: AtomicU32,
    /// 1 after the launcher has told every shim to stop (`--duration` has passed, or the launcher ends).
    pub stop: AtomicU32,
    /// Futex word on which the launcher sleeps. A shim adds 1 and wakes the launcher when a ring is half full or when a
    /// process begins.
    pub wake: AtomicU32,
    /// Processes without a free segment. The report shows this number, and has no other data of these processes.
    pub refused: AtomicU64,
    /// Settings for every shim.
    pub settings: Settings,
    /// Process id of the first process that claimed a segment; 0 before.
    pub first: AtomicU32,
    /// Processes in another PID namespace, which stay unprofiled: in the launcher's namespace, their process ids mean
    /// other processes.
    pub elsewhere: AtomicU32,
    /// CPU nanoseconds that a signal of a perf event costs on this machine, handler excluded; 0: not measured.
    pub signal_cost_ns: AtomicU64,
    /// CPU nanoseconds that samples have cost during the burst at the beginning of the run.
    pub burst_ns: AtomicU64,
}

/// Bytes before segment 0: the header page and the owner words (an `AtomicU64` for each segment, from byte [`PAGE`]
/// on), rounded up to pages. To find claimed segments, the launcher reads only the owner words: a read of an unclaimed
/// segment would make the kernel allocate its page.
///
/// The owner word of a free segment is 0. The owner word of a claimed segment has the process id in the low 32 bits and
/// a stamp, never 0, in the high 32 bits. A shim claims a segment by a compare-and-swap from 0. Only the launcher
/// stores 0 again, after the owner has ended, the ring is drained, and the segment's pages are zero again.
#[must_use]
pub const fn first_segment(segment_count: u32) -> u64 {
    let end = PAGE as u64 + segment_count as u64 * 8;
    end.div_ceil(PAGE as u64) * PAGE as u64
}

/// The first page of a segment; at any time it belongs to at most a single process.
#[repr(C)]
#[derive(Debug)]
pub struct SegmentHeader {
    /// Slots reserved since the claim. Any thread of the owner moves `head`.
    pub head: AtomicU64,
    /// Keeps `head` and `tail` on cache lines of their own.
    pub pad: [u64; 15],
    /// Slots consumed since the claim. Only the launcher moves `tail`, with a Release store that pairs with the Acquire
    /// load in the reservation.
    pub tail: AtomicU64,
    /// Keeps `tail` on a cache line of its own.
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
