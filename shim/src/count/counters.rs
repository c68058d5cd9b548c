//! The thread's numbers, in initial-exec TLS of their own.
//!
//! Invariant: all zero is the valid first state; only the thread itself writes. Neighbours: `native`, `python`.

use core::arch::{asm, global_asm};

use rscalene_wire::ExactCounters;

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
    // SAFETY: reads the block's offset from the GOT and adds the thread pointer (fs:0 holds its own address by the ABI).
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

/// `bytes` were allocated.
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

/// `bytes` were freed.
///
/// # Safety
/// As [`allocated`].
#[inline(always)]
pub(crate) unsafe fn freed(counters: *mut ExactCounters, bytes: usize) {
    // SAFETY: see `allocated`.
    let counters = unsafe { &mut *counters };
    counters.freed = counters.freed.wrapping_add(bytes as u64);
}
