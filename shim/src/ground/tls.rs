//! The shim's own thread-local block: initial-exec, zero-initialised, two instructions away.
//!
//! Invariant: all bytes zero is the valid first state of every thread; nothing here has a destructor. It is small
//! enough (128 bytes) for the static TLS surplus when the library is loaded late. Neighbours: everything.

use core::arch::{asm, global_asm};
use core::cell::Cell;

use rscalene_wire::AllocFlags;

use crate::ground::slot::Slot;

/// One thread's block.
#[repr(C)]
pub(crate) struct Tls {
    /// Bytes this thread may still allocate before the slow path is entered. Zero at first: every thread enters it.
    pub(crate) countdown: Cell<i64>,
    /// Blocks of at least this many bytes always enter the slow path.
    pub(crate) certain: Cell<usize>,
    /// Bytes that memcpy and memmove may still move before their slow path is entered.
    pub(crate) copy_countdown: Cell<i64>,
    /// Mean bytes between samples that `countdown` was drawn with; 0 before the first draw.
    pub(crate) interval: Cell<u64>,
    /// The thread's slot; null until the thread is known.
    pub(crate) slot: Cell<*mut Slot>,
    /// The fork generation that the slot belongs to.
    pub(crate) generation: Cell<u64>,
    /// State of this thread's random numbers.
    pub(crate) random: Cell<u64>,
    /// `countdown` as it was when C++'s `new` asked the allocator.
    pub(crate) outside: Cell<i64>,
    /// Depth of our own slow paths: hooks pass straight through while it is not 0.
    pub(crate) busy: Cell<u32>,
    /// What the program believes of its signal mask: bit 0 our signal is blocked, bit 1 SIGSEGV or SIGBUS is blocked;
    /// bit 2: our signal is blocked for real.
    pub(crate) masked: Cell<u32>,
    /// Flag of allocation records while a request of Python's object allocators is on its way to `malloc`.
    pub(crate) via_python: Cell<AllocFlags>,
    /// 1 while an allocator other than libc's works.
    pub(crate) inside: Cell<u8>,
    /// 1 while the interpreter maps an arena.
    pub(crate) arena: Cell<u8>,
    /// 1 once `copy_countdown` was drawn.
    pub(crate) copying: Cell<u8>,
    /// 1 while a function behind an interposer is being looked up.
    looking: Cell<u8>,
    /// Not 0 while this thread's SIGSEGV and SIGBUS are open though it blocks them (see `faults`).
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
    // SAFETY: the block lives as long as the thread, is aligned to 64 bytes and holds a valid `Tls` from its first
    // zero bytes on; only this thread (and its signal handlers) uses it, through `Cell`s.
    unsafe { &*block }
}

/// A countdown of copied bytes that no series of copies uses up.
pub(crate) const FAR: i64 = i64::MAX / 2;

/// Keeps the hooks of this thread out while it lives. Copies made meanwhile are this library's own, so the countdown of
/// copied bytes is put aside: otherwise they would use it up, and the program's next copy would stand for their bytes.
pub(crate) struct Busy {
    copies: i64,
}

impl Busy {
    /// Marks this thread busy; `None` where it is already.
    pub(crate) fn enter() -> Option<Self> {
        let tls = tls();
        if tls.busy.get() != 0 {
            return None;
        }
        tls.busy.set(1);
        Some(Self { copies: tls.copy_countdown.replace(FAR) })
    }

    /// Keeps the hooks of this thread out until it ends.
    pub(crate) fn for_good() {
        tls().busy.set(1);
    }

    /// Has the countdown of copied bytes continue with `left`.
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

/// Tells a look-up inside a look-up while it lives.
pub(crate) struct LookUp(());

impl LookUp {
    /// `None` where this thread is looking something up already.
    pub(crate) fn enter() -> Option<Self> {
        (tls().looking.replace(1) == 0).then_some(Self(()))
    }
}

impl Drop for LookUp {
    fn drop(&mut self) {
        tls().looking.set(0);
    }
}
