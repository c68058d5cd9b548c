//! From the address of a block to its requested size.
//!
//! Job: record a size at an address and find it again, in constant time, without locks. Invariant: a recorded size is
//! valid only if it was recorded since counting last began (its epoch). So allocations and frees while counting was off
//! cannot leave a wrong size. Neighbours: `memory::tables::libc` and `count::pymem` record at allocation and take at
//! free.
//!
//! ```text
//!  address   | region 21 bits | granule 22 bits | 4 |      regions of 64 MiB, granules of 16 bytes
//!  slot      | epoch 8 | size 24 |                         all ones in the size: the next two slots hold it
//! ```
//!
//! The slots of a region are one sparse mapping of 16 MiB, made at the first block in the region and kept: 4 bytes of
//! slots for 16 bytes of heap.

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::ground::sys;

const REGION_BITS: usize = 26;
const GRANULE_BITS: usize = 4;
const REGIONS: usize = 1 << (47 - REGION_BITS);
const SLOTS: usize = 1 << (REGION_BITS - GRANULE_BITS);
const REGION_BYTES: usize = SLOTS * 4;
const SIZE_BITS: u32 = 24;
const LONG: u32 = (1 << SIZE_BITS) - 1;

/// Slots of each region; null until the region is used. 16 MiB of zero pages, touched only for used regions.
static TABLE: [AtomicPtr<AtomicU32>; REGIONS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; REGIONS];
/// Lowest and highest region ever used, for [`forget`].
static LOWEST: AtomicU64 = AtomicU64::new(u64::MAX);
static HIGHEST: AtomicU64 = AtomicU64::new(0);
/// The present epoch, 1 to 255; 0 marks an empty slot.
static EPOCH: AtomicU32 = AtomicU32::new(1);
/// Number of sizes recorded since the slots were last cleared. Not exact: threads may overwrite each other's
/// increments.
static RECORDED: AtomicU64 = AtomicU64::new(0);

/// If more sizes than this were recorded, the slots' memory is returned to the system when counting ends (at least 256
/// KiB of slots).
const KEEP: u64 = 65_536;

/// Records that the block at `address` was requested with `bytes`.
#[inline(always)]
pub(crate) fn record(address: usize, bytes: usize) {
    let Some((slots, at)) = place(address, true) else { return };
    let epoch = EPOCH.load(Relaxed) << SIZE_BITS;
    // SAFETY: `at` is below SLOTS, and the region's mapping is never unmapped.
    let slot = unsafe { &*slots.add(at) };
    if bytes < LONG as usize {
        slot.store(epoch | bytes as u32, Relaxed);
    } else {
        record_long(slots, at, bytes, epoch);
    }
    RECORDED.store(RECORDED.load(Relaxed) + 1, Relaxed);
}

/// Records a long size. A block this long covers the next two granules, unless the region ends: then its size stays
/// unknown.
#[cold]
fn record_long(slots: *const AtomicU32, at: usize, bytes: usize, epoch: u32) {
    if at + 2 >= SLOTS {
        return;
    }
    // SAFETY: as in `record`; the three slots lie in the region.
    unsafe {
        (*slots.add(at + 1)).store(bytes as u32, Relaxed);
        (*slots.add(at + 2)).store((bytes >> 32) as u32, Relaxed);
        (*slots.add(at)).store(epoch | LONG, Relaxed);
    }
}

/// Returns the size recorded at `address`, and forgets it.
#[inline(always)]
pub(crate) fn take(address: usize) -> Option<usize> {
    let (slots, at) = place(address, false)?;
    // SAFETY: as in `record`.
    let slot = unsafe { &*slots.add(at) };
    let value = slot.load(Relaxed);
    if value >> SIZE_BITS != EPOCH.load(Relaxed) {
        return None;
    }
    slot.store(0, Relaxed);
    if value & LONG != LONG {
        return Some((value & LONG) as usize);
    }
    // SAFETY: `record_long` wrote three slots of this region.
    unsafe {
        let low = (*slots.add(at + 1)).swap(0, Relaxed) as usize;
        let high = (*slots.add(at + 2)).swap(0, Relaxed) as usize;
        Some(low | high << 32)
    }
}

/// Makes all recorded sizes invalid: counting has ended.
pub(crate) fn forget() {
    let epoch = EPOCH.load(Relaxed);
    if epoch == 255 || RECORDED.load(Relaxed) > KEEP {
        clear();
        RECORDED.store(0, Relaxed);
    }
    EPOCH.store(if epoch == 255 { 1 } else { epoch + 1 }, Relaxed);
}

fn clear() {
    let (low, high) = (LOWEST.load(Relaxed), HIGHEST.load(Relaxed));
    let mut region = low;
    while region <= high {
        if let Some(entry) = TABLE.get(region as usize) {
            let slots = entry.load(Acquire);
            if !slots.is_null() {
                // SAFETY: `map` made this private anonymous mapping, which reads as zero afterwards.
                unsafe { sys::call3(libc::SYS_madvise, slots as usize, REGION_BYTES, libc::MADV_DONTNEED as usize) };
            }
        }
        region += 1;
    }
}

#[inline(always)]
fn place(address: usize, make: bool) -> Option<(*const AtomicU32, usize)> {
    let entry = TABLE.get(address >> REGION_BITS)?;
    if address & ((1 << GRANULE_BITS) - 1) != 0 {
        return None;
    }
    let mut slots = entry.load(Acquire);
    if slots.is_null() {
        if !make {
            return None;
        }
        slots = map(entry, address >> REGION_BITS)?;
    }
    Some((slots, (address >> GRANULE_BITS) & (SLOTS - 1)))
}

#[cold]
fn map(entry: &AtomicPtr<AtomicU32>, region: usize) -> Option<*mut AtomicU32> {
    let fresh = sys::map_private(REGION_BYTES).cast::<AtomicU32>();
    if fresh.is_null() {
        return None;
    }
    // SAFETY: acts on the mapping that was made just now. Huge pages would make the sparse table dense.
    unsafe { sys::call3(libc::SYS_madvise, fresh as usize, REGION_BYTES, libc::MADV_NOHUGEPAGE as usize) };
    // Release pairs with Acquire in `place`.
    match entry.compare_exchange(core::ptr::null_mut(), fresh, Release, Acquire) {
        Ok(_) => {
            LOWEST.fetch_min(region as u64, Relaxed);
            HIGHEST.fetch_max(region as u64, Relaxed);
            Some(fresh)
        }
        Err(theirs) => {
            // SAFETY: no other thread has seen this mapping.
            unsafe { sys::unmap(fresh.cast(), REGION_BYTES) };
            Some(theirs)
        }
    }
}
