//! The mmap family: mappings that the program makes itself, all of them recorded.
//!
//! Invariant: what libc maps for its own heap does not come this way, so nothing is counted twice; the arenas of
//! Python's allocator do, and are marked. Address space that cannot be touched is nobody's memory until `mprotect`
//! opens it. Neighbours: `hooks`, `python` (marks the arenas).

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rscalene_wire as wire;
use wire::Kind;

use crate::arena::segment;
use crate::ground::real::{Next, call_next};
use crate::ground::sys;
use crate::ground::tls::{Busy, tls};
use crate::memory::interval;
use crate::memory::sample::running_stack;

static MMAP: Next = Next::new(c"mmap");
static MUNMAP: Next = Next::new(c"munmap");
static MREMAP: Next = Next::new(c"mremap");
static MPROTECT: Next = Next::new(c"mprotect");

/// Was address space mapped that cannot be touched? Without it no change of protection is of interest.
static RESERVES: AtomicBool = AtomicBool::new(false);

type Address = *mut c_void;

const FILE: u8 = 1;
const SHARED: u8 = 2;
/// An arena of Python's object allocator: its contents are counted block by block.
const ARENA: u8 = 4;
/// Address space only: nothing in it can be touched.
const RESERVED: u8 = 8;

fn record(flags: u8, address: u64, size: u64, old_address: u64, old_size: u64) {
    let Some(_using) = segment::using() else { return };
    // What an allocator maps holds blocks that are counted one by one.
    if !interval::running() || !interval::wanted() || tls().inside.get() != 0 {
        return;
    }
    let _errno = sys::KeepErrno::new();
    let Some(segment) = segment::segment() else { return };
    // An arena is made and freed while a wrapped allocator works, which keeps the hooks out but walks no frames.
    let busy = Busy::enter();
    if busy.is_none() && tls().arena.get() == 0 {
        return;
    }
    let (stack, sent) = running_stack(&segment);
    let stack = if sent { stack } else { 0 };
    let record = wire::Map { time_ns: sys::now_ns(), stack, address, size, old_address, old_size };
    segment.emit(Kind::Map, flags, &record, &[]);
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

/// `mmap` answered this.
pub(crate) fn mapped(answer: Address, bytes: usize, protection: c_int, flags: c_int, fd: c_int) {
    if answer == ::libc::MAP_FAILED {
        return;
    }
    let file = fd >= 0 && flags & ::libc::MAP_ANONYMOUS == 0;
    let mark = |set: bool, mark: u8| if set { mark } else { 0 };
    let marks = mark(file, FILE)
        | mark(flags & ::libc::MAP_SHARED != 0, SHARED)
        | mark(tls().arena.get() != 0, ARENA)
        | mark(protection == ::libc::PROT_NONE, RESERVED);
    if marks & RESERVED != 0 {
        RESERVES.store(true, Relaxed);
    }
    record(marks, answer as u64, bytes as u64, 0, 0);
}

/// `mprotect` has let `bytes` at `at` be used so.
pub(crate) fn protected(at: Address, bytes: usize, protection: c_int) {
    if RESERVES.load(Relaxed) && protection != ::libc::PROT_NONE {
        record(0, at as u64, whole_pages(bytes), 0, wire::OPENED);
    }
}

/// `munmap` is about to be called: recorded before the address can be given to somebody else.
pub(crate) fn unmapping(at: Address, bytes: usize) {
    // A call that the kernel is sure to refuse unmaps nothing.
    if bytes != 0 && at as usize & (sys::page_size() - 1) == 0 {
        record(0, at as u64, whole_pages(bytes), 0, wire::UNMAPPED);
    }
}

/// `mremap` answered this.
pub(crate) fn moved(old: Address, old_bytes: usize, answer: Address, bytes: usize) {
    if answer != ::libc::MAP_FAILED {
        record(0, answer as u64, bytes as u64, old as u64, whole_pages(old_bytes));
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

/// `bytes` as the kernel takes them: whole pages.
fn whole_pages(bytes: usize) -> u64 {
    let within = sys::page_size() - 1;
    (bytes.wrapping_add(within) & !within) as u64
}

/// `munmap`: recorded before the address can be given to somebody else, unless the kernel is sure to refuse.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(at: Address, bytes: usize) -> c_int {
    unmapping(at, bytes);
    call_next!(MUNMAP, fn(Address, usize) -> c_int, (at, bytes), -1)
}

/// `mremap`; its last argument only counts with `MREMAP_FIXED`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn mremap(old: Address, old_bytes: usize, bytes: usize, flags: c_int, new: Address) -> Address {
    let answer = call_next!(
        MREMAP,
        fn(Address, usize, usize, c_int, Address) -> Address,
        (old, old_bytes, bytes, flags, new),
        ::libc::MAP_FAILED
    );
    moved(old, old_bytes, answer, bytes);
    answer
}

/// `mprotect`: what was reserved may be touched from now on.
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
