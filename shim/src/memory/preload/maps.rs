//! The mmap family: every mapping that the program makes itself is recorded.
//!
//! Job: record mappings, their changes and their ends. Invariant: nothing is counted twice, because mappings that libc
//! makes for its own heap do not pass through here; the arenas of Python's allocator do, and are marked. Address space
//! that cannot be touched is not counted as memory until `mprotect` opens it. Neighbours: `sample`, `pymem` (marks the
//! arenas).

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rscalene_wire as wire;
use wire::{MapChange, MapFlags};

use crate::arena::segment;
use crate::ground::real::{Next, call_next};
use crate::ground::sys;
use crate::ground::tls::{Busy, tls};
use crate::memory::interval;
use crate::memory::sample::running_stack;
use crate::python::labels;

static MMAP: Next = Next::new(c"mmap");
static MUNMAP: Next = Next::new(c"munmap");
static MREMAP: Next = Next::new(c"mremap");
static MPROTECT: Next = Next::new(c"mprotect");

/// Has the program mapped address space that cannot be touched? If not, changes of protection need no record.
static RESERVES: AtomicBool = AtomicBool::new(false);

type Address = *mut c_void;

/// Change of a range of addresses, without its time and its stack.
struct Change {
    change: MapChange,
    address: u64,
    size: u64,
    old_address: u64,
    old_size: u64,
}

impl Change {
    fn of(change: MapChange, address: Address, size: u64) -> Self {
        Self { change, address: address as u64, size, old_address: 0, old_size: 0 }
    }
}

fn record(flags: MapFlags, change: &Change) {
    let Some(_using) = segment::using() else { return };
    // An allocator's mappings hold blocks that are counted one by one.
    if !interval::running() || !interval::wanted() || tls().inside.get() != 0 {
        return;
    }
    let _errno = sys::KeepErrno::new();
    let Some(segment) = segment::segment() else { return };
    // A wrapped allocator maps and unmaps arenas while it is `Busy`. It walks no frames itself, so the walk below is
    // safe, and arenas are recorded all the same.
    let busy = Busy::enter();
    if busy.is_none() && tls().arena.get() == 0 {
        return;
    }
    let (stack, sent) = running_stack(&segment);
    let stack = if sent { stack } else { 0 };
    let &Change { change, address, size, old_address, old_size } = change;
    let label = labels::current();
    let record = wire::Map { time_ns: sys::now_ns(), stack, address, size, old_address, old_size, change, label };
    segment.emit_whole(&record, flags, &[]);
}

fn map(at: Address, bytes: usize, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> Address {
    let answer = call_next!(
        MMAP,
        fn(Address, usize, c_int, c_int, c_int, i64) -> Address,
        (at, bytes, protection, flags, fd, offset),
        ::libc::MAP_FAILED
    );
    mapped(answer, bytes, protection, flags, fd);
    answer
}

/// Records a mapping: `mmap` has returned `answer`.
pub(crate) fn mapped(answer: Address, bytes: usize, protection: c_int, flags: c_int, fd: c_int) {
    if answer == ::libc::MAP_FAILED {
        return;
    }
    let file = fd >= 0 && flags & ::libc::MAP_ANONYMOUS == 0;
    let reserved = protection == ::libc::PROT_NONE;
    if reserved {
        RESERVES.store(true, Relaxed);
    }
    let marks = MapFlags::NONE
        .and_if(file, MapFlags::FILE)
        .and_if(tls().arena.get() != 0, MapFlags::ARENA)
        .and_if(reserved, MapFlags::RESERVED)
        .and_if(flags & ::libc::MAP_NORESERVE != 0 && flags & ::libc::MAP_SHARED == 0 && !file, MapFlags::LAZY);
    record(marks, &Change::of(MapChange::MAPPED, answer, bytes as u64));
}

/// Records that `mprotect` has given the `bytes` at `at` this protection.
pub(crate) fn protected(at: Address, bytes: usize, protection: c_int) {
    if RESERVES.load(Relaxed) && protection != ::libc::PROT_NONE {
        record(MapFlags::NONE, &Change::of(MapChange::OPENED, at, whole_pages(bytes)));
    }
}

/// Unmaps by `real`. The end is recorded before the call, because afterwards another thread may get the address; a
/// refusal takes the record back.
pub(crate) fn unmap(at: Address, bytes: usize, real: impl FnOnce() -> c_int) -> c_int {
    let end = Ending { address: at, size: whole_pages(bytes), flags: MapFlags::NONE };
    let announced = end.announce();
    let answer = real();
    if announced && answer != 0 {
        end.take_back();
    }
    answer
}

/// Moves or resizes by `real`. The end at the old address is recorded before the call, as in [`unmap`].
pub(crate) fn remap(old: Address, old_bytes: usize, bytes: usize, real: impl FnOnce() -> Address) -> Address {
    let old_size = whole_pages(old_bytes);
    let end = Ending { address: old, size: old_size, flags: MapFlags::MOVES };
    let announced = end.announce();
    let answer = real();
    if answer != ::libc::MAP_FAILED {
        // An old size of 0 maps a shared mapping a second time.
        let change = if old_size == 0 { MapChange::MAPPED } else { MapChange::MOVED };
        let old_address = old as u64;
        record(MapFlags::NONE, &Change { old_address, old_size, ..Change::of(change, answer, bytes as u64) });
    } else if announced {
        end.take_back();
    }
    answer
}

/// End of a range of addresses, which the kernel may refuse.
struct Ending {
    address: Address,
    size: u64,
    flags: MapFlags,
}

impl Ending {
    /// Records the end; false if the kernel is sure to refuse the call.
    fn announce(&self) -> bool {
        let possible = self.size != 0 && self.address as usize & (sys::page_size() - 1) == 0;
        if possible {
            record(self.flags, &Change::of(MapChange::UNMAPPED, self.address, self.size));
        }
        possible
    }

    fn take_back(&self) {
        record(self.flags, &Change::of(MapChange::REFUSED, self.address, self.size));
    }
}

/// `mmap`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    at: Address,
    bytes: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> Address {
    map(at, bytes, protection, flags, fd, offset)
}

/// `mmap64`, the same function where `off_t` has 64 bits.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    at: Address,
    bytes: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> Address {
    map(at, bytes, protection, flags, fd, offset)
}

/// Rounds `bytes` up to whole pages, as the kernel does.
fn whole_pages(bytes: usize) -> u64 {
    let within = sys::page_size() - 1;
    (bytes.wrapping_add(within) & !within) as u64
}

/// `munmap`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(at: Address, bytes: usize) -> c_int {
    unmap(at, bytes, || call_next!(MUNMAP, fn(Address, usize) -> c_int, (at, bytes), -1))
}

/// `mremap`; its last argument has a meaning only with `MREMAP_FIXED`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mremap(old: Address, old_bytes: usize, bytes: usize, flags: c_int, new: Address) -> Address {
    remap(old, old_bytes, bytes, || {
        call_next!(
            MREMAP,
            fn(Address, usize, usize, c_int, Address) -> Address,
            (old, old_bytes, bytes, flags, new),
            ::libc::MAP_FAILED
        )
    })
}

/// `mprotect`: records when reserved memory is opened.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mprotect(at: Address, bytes: usize, protection: c_int) -> c_int {
    let answer = call_next!(MPROTECT, fn(Address, usize, c_int) -> c_int, (at, bytes, protection), -1);
    if answer == 0 {
        protected(at, bytes, protection);
    }
    answer
}
