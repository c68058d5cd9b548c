//! The shim's thread-local block: initial-exec TLS, zero-initialised, reached by two instructions.
//!
//! Invariant: a block of zero bytes is the valid first state of every thread, and no field has a destructor. The block
//! has 128 bytes, so it fits into libc's static TLS surplus if the library is loaded late. Callers: all modules.

use core::arch::{asm, global_asm};
use core::cell::Cell;

use rscalene_wire::AllocFlags;

use crate::ground::slot::Slot;

/// One thread's block.
#[repr(C)]
pub(crate) struct Tls {
    /// Bytes that this thread may still allocate before a hook enters the slow path. Zero at first, so the first
    /// allocation of every thread enters the slow path.
    pub(crate) countdown: Cell<i64>,
    /// An allocation of at least this many bytes always enters the slow path.
    pub(crate) certain: Cell<usize>,
    /// Bytes that memcpy and memmove may still move before their slow path is entered.
    pub(crate) copy_countdown: Cell<i64>,
    /// Mean bytes between samples at the time of the last draw of `countdown`; 0 before the first draw.
    pub(crate) interval: Cell<u64>,
    /// The thread's slot; null until the thread is known.
    pub(crate) slot: Cell<*mut Slot>,
    /// The fork generation of the slot: after a fork, the slot of the parent's generation is not valid.
    pub(crate) generation: Cell<u64>,
    /// State of this thread's random numbers.
    pub(crate) random: Cell<u64>,
    /// Value of `countdown` at the time when C++'s `new` called the allocator.
    pub(crate) outside: Cell<i64>,
    /// Not 0 while this library's own code runs: the hooks then record nothing.
    pub(crate) busy: Cell<u32>,
    /// Signal mask. Bit 0: the program has blocked SIGURG, as far as the program can see. Bit 1: the program has
    /// blocked SIGSEGV or SIGBUS. Bit 2: SIGURG is really blocked.
    pub(crate) masked: Cell<u32>,
    /// Flag for allocation records while one of Python's object allocators calls `malloc`.
    pub(crate) via_python: Cell<AllocFlags>,
    /// 1 while an allocator other than libc's works.
    pub(crate) inside: Cell<u8>,
    /// 1 while the interpreter maps an arena.
    pub(crate) arena: Cell<u8>,
    /// 1 once `copy_countdown` was drawn.
    pub(crate) copying: Cell<u8>,
    /// 1 while this thread looks up the function behind an interposer.
    looking: Cell<u8>,
    /// Not 0 while SIGSEGV and SIGBUS are unblocked in this thread although the program blocks them (see `faults`).
    pub(crate) kept_fault: Cell<u8>,
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".section .tbss.rscalene_tls,\"awT\",@nobits",
    ".p2align 6",
    ".type rscalene_tls_block, @object",
    "rscalene_tls_block:",
    ".zero 128",
    ".size rscalene_tls_block, 128",
    ".text",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".section .tbss.rscalene_tls,\"awT\",@nobits",
    ".p2align 6",
    ".type rscalene_tls_block, %object",
    "rscalene_tls_block:",
    ".zero 128",
    ".size rscalene_tls_block, 128",
    ".text",
);

const _: () = assert!(size_of::<Tls>() <= 128);

/// This thread's block.
#[inline(always)]
pub(crate) fn tls() -> &'static Tls {
    let block: *const Tls;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the block's offset from the GOT and adds the thread pointer (fs:0 holds its own address by the
    // ABI); touches no memory that another thread writes.
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + rscalene_tls_block@GOTTPOFF]",
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
            "adrp {1}, :gottprel:rscalene_tls_block",
            "ldr {1}, [{1}, :gottprel_lo12:rscalene_tls_block]",
            "add {0}, {0}, {1}",
            out(reg) block,
            out(reg) _,
            options(pure, readonly, nostack),
        );
    }
    // SAFETY: the block lives as long as the thread, is aligned to 64 bytes, and its initial zero bytes are a valid
    // `Tls`. Only this thread and its signal handlers use the block, through `Cell`s.
    unsafe { &*block }
}

/// A countdown of copied bytes so large that copies never use it up.
pub(crate) const FAR: i64 = i64::MAX / 2;

/// While this value lives, the hooks record nothing in this thread. The value also replaces the countdown of copied
/// bytes by [`FAR`], because this library's own copies would use up the countdown, and the program's next copy would
/// then be sampled with the weight of those copies.
pub(crate) struct Busy {
    copies: i64,
}

impl Busy {
    /// Marks this thread as busy; `None` if the thread is busy already.
    pub(crate) fn enter() -> Option<Self> {
        let tls = tls();
        if tls.busy.get() != 0 {
            return None;
        }
        tls.busy.set(1);
        Some(Self { copies: tls.copy_countdown.replace(FAR) })
    }

    /// Stops recording in this thread until the thread ends.
    pub(crate) fn for_good() {
        tls().busy.set(1);
    }

    /// Makes the countdown of copied bytes continue with `left` at the end of this value.
    pub(crate) fn set_copies(&mut self, left: i64) {
        self.copies = left;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let tls = tls();
        tls.copy_countdown.set(self.copies);
        tls.busy.set(0);
    }
}

/// Lives while this thread looks up a function, so that a look-up within the look-up can be detected.
pub(crate) struct LookUp(());

impl LookUp {
    /// Begins a look-up; `None` if this thread is within a look-up already.
    pub(crate) fn enter() -> Option<Self> {
        (tls().looking.replace(1) == 0).then_some(Self(()))
    }
}

impl Drop for LookUp {
    fn drop(&mut self) {
        tls().looking.set(0);
    }
}
