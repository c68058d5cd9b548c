//! The addresses of recorded live blocks.
//!
//! Job: decide on every free whether the block was recorded; for almost all blocks, by a load of one byte. Invariant:
//! an address lies in the bucket of its hash, and the filter counts the addresses of each bucket; both change by single
//! atomic operations, so threads need no lock. If a bucket is full, a new block is not recorded, and counts as lost.
//! Neighbour: `sample`.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64};

use crate::ground::sys;

const BUCKETS: usize = 1 << 15;
/// Addresses of a bucket: a cache line.
const WAYS: usize = 8;

static FILTER: [AtomicU8; BUCKETS] = [const { AtomicU8::new(0) }; BUCKETS];
static TABLE: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());

#[inline(always)]
fn bucket(address: u64) -> usize {
    // Fibonacci hashing; the low four bits of an address are zero, because blocks are 16-byte aligned.
    ((address >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 49) as usize
}

/// Could this address have been recorded?
#[inline(always)]
pub(crate) fn maybe(address: u64) -> bool {
    // The hash has 15 bits, like the index of the filter, so the check is always in bounds.
    FILTER.get(bucket(address)).is_some_and(|count| count.load(Relaxed) != 0)
}

fn ways(address: u64) -> Option<(&'static [AtomicU64], &'static AtomicU8)> {
    let base = TABLE.load(Acquire);
    if base.is_null() {
        return None;
    }
    // SAFETY: `prepare` mapped `BUCKETS * WAYS` words there for good; zero bytes are valid entries.
    let table = unsafe { core::slice::from_raw_parts(base, BUCKETS * WAYS) };
    let at = bucket(address);
    Some((table.get(at * WAYS..at * WAYS + WAYS)?, FILTER.get(at)?))
}

/// Maps the table; false if there is no memory for it.
pub(crate) fn prepare() -> bool {
    if TABLE.load(Acquire).is_null() {
        let fresh = sys::map_private(BUCKETS * WAYS * size_of::<AtomicU64>()).cast::<AtomicU64>();
        TABLE.store(fresh, core::sync::atomic::Ordering::Release);
        return !fresh.is_null();
    }
    true
}

/// Remembers an address; false if its bucket is full.
pub(crate) fn insert(address: u64) -> bool {
    let Some((ways, count)) = ways(address) else { return false };
    for way in ways {
        if way.load(Relaxed) == 0 && way.compare_exchange(0, address, AcqRel, Relaxed).is_ok() {
            count.fetch_add(1, AcqRel);
            return true;
        }
    }
    false
}

/// Forgets an address; false if it was not remembered.
pub(crate) fn remove(address: u64) -> bool {
    let Some((ways, count)) = ways(address) else { return false };
    for way in ways {
        if way.load(Relaxed) == address && way.compare_exchange(address, 0, AcqRel, Relaxed).is_ok() {
            count.fetch_sub(1, AcqRel);
            return true;
        }
    }
    false
}

/// Makes [`maybe`] return true for every address: exact mode records the end of every block.
pub(crate) fn suspect_all() {
    for count in &FILTER {
        count.store(1, Relaxed);
    }
}

/// Forgets all addresses. Called in a forked child, too.
pub(crate) fn forget_all() {
    for count in &FILTER {
        if count.load(Relaxed) != 0 {
            count.store(0, Relaxed);
        }
    }
    let base = TABLE.load(Acquire);
    if !base.is_null() {
        let bytes = BUCKETS * WAYS * size_of::<AtomicU64>();
        // SAFETY: `prepare` mapped the table; its pages read zero afterwards.
        unsafe { sys::call3(::libc::SYS_madvise, base as usize, bytes, ::libc::MADV_DONTNEED as usize) };
    }
}
