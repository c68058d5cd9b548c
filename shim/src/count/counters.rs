//! The counters of each thread, in a TLS block (initial-exec) of their own.
//!
//! Job: count a thread's allocated and freed bytes. Invariant: all zero is the valid first state; only the thread
//! itself writes its counters. Neighbours: `memory::tables::libc`, `count::pymem`.

use core::arch::{asm, global_asm};
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rscalene_wire::ExactCounters;

use crate::count::sizes;

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".section .tbss.rscalene_exact,\"awT\",@nobits",
    ".p2align 6",
    ".type rscalene_exact_block, @object",
    "rscalene_exact_block:",
    ".zero 64",
    ".size rscalene_exact_block, 64",
    ".text",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".section .tbss.rscalene_exact,\"awT\",@nobits",
    ".p2align 6",
    ".type rscalene_exact_block, %object",
    "rscalene_exact_block:",
    ".zero 64",
    ".size rscalene_exact_block, 64",
    ".text",
);

const _: () = assert!(size_of::<ExactCounters>() <= 64);

/// This thread's counters.
#[inline(always)]
pub(crate) fn mine() -> *mut ExactCounters {
    let block: *mut ExactCounters;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the block's offset from the GOT and adds the thread pointer (fs:0 holds its own address by the
    // ABI).
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + rscalene_exact_block@GOTTPOFF]",
            "add {0}, qword ptr fs:[0]",
            out(reg) block,
            options(pure, readonly, nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; tpidr_el0 is the thread pointer.
    unsafe {
        asm!(
            "mrs {0}, tpidr_el0",
            "adrp {1}, :gottprel:rscalene_exact_block",
            "ldr {1}, [{1}, :gottprel_lo12:rscalene_exact_block]",
            "add {0}, {0}, {1}",
            out(reg) block,
            out(reg) _,
            options(pure, readonly, nostack),
        );
    }
    block
}

/// Counts `bytes` as allocated.
///
/// # Safety
/// `counters` is [`mine`].
#[inline(always)]
pub(crate) unsafe fn allocated(counters: *mut ExactCounters, bytes: usize) {
    // SAFETY: the block belongs to this thread, and no reference to it lives elsewhere.
    let counters = unsafe { &mut *counters };
    counters.allocated = counters.allocated.wrapping_add(bytes as u64);
    let net = counters.allocated.wrapping_sub(counters.freed) as i64;
    if net > counters.high {
        counters.high = net;
    }
}

/// Counts `bytes` as freed.
///
/// # Safety
/// As [`allocated`].
#[inline(always)]
pub(crate) unsafe fn freed(counters: *mut ExactCounters, bytes: usize) {
    // SAFETY: as in `allocated`.
    let counters = unsafe { &mut *counters };
    counters.freed = counters.freed.wrapping_add(bytes as u64);
}

/// Number of sessions that count now. Every hook reads the number; the GIL is held for writing.
pub(crate) static ACTIVE: AtomicU32 = AtomicU32::new(0);

/// Is counting on?
#[inline(always)]
pub(crate) fn counting() -> bool {
    ACTIVE.load(Relaxed) != 0
}

/// This thread's counters, if this call is the outermost one and counting is on.
#[inline(always)]
pub(crate) fn outermost() -> Option<*mut ExactCounters> {
    if !counting() {
        return None;
    }
    let mine = mine();
    // SAFETY: the thread's own block.
    (unsafe { (*mine).inside } == 0).then_some(mine)
}

/// Runs `call` as an inner call, which is not counted.
#[inline(always)]
pub(crate) fn inside<R>(mine: *mut ExactCounters, call: impl FnOnce() -> R) -> R {
    // SAFETY: the thread's own block; `call` does not unwind.
    unsafe { (*mine).inside += 1 };
    let answer = call();
    // SAFETY: as above.
    unsafe { (*mine).inside -= 1 };
    answer
}

/// Counts `bytes` as allocated at `block` and records the block's size, unless `block` is null.
#[inline(always)]
pub(crate) fn count_new(mine: *mut ExactCounters, block: *mut c_void, bytes: usize) {
    if !block.is_null() {
        sizes::record(block as usize, bytes);
        // SAFETY: the thread's own block.
        unsafe { allocated(mine, bytes) };
    }
}
