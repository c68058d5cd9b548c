//! Loads that survive a fault, and the handler that makes them so.
//!
//! Job: read another moment's interpreter structures, which may be gone. Invariant: the only instructions that may
//! fault lie between `rscalene_guarded` and `rscalene_guarded_end`; the SIGSEGV/SIGBUS handler sends those, and no
//! others, to `rscalene_guarded_fail`. A thread that blocks SIGSEGV would be killed by such a fault, so it reads
//! through the kernel instead. Neighbours: `signals` (which installs the handler and chains the rest), `stack`.

use core::arch::global_asm;
use core::sync::atomic::Ordering::Relaxed;

use rscalene_interp::Memory;

use crate::{process, sys, tls::tls};

/// A loaded word, and whether the load went well; returned in two registers.
#[repr(C)]
#[derive(Clone, Copy)]
struct Loaded {
    value: u64,
    ok: u64,
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".text",
    ".p2align 4",
    ".hidden rscalene_guarded",
    ".hidden rscalene_guarded_end",
    ".hidden rscalene_guarded_fail",
    ".hidden rscalene_load64",
    ".hidden rscalene_load32",
    ".hidden rscalene_load16",
    ".hidden rscalene_load8",
    ".hidden rscalene_copy",
    ".globl rscalene_guarded, rscalene_guarded_end, rscalene_guarded_fail",
    ".globl rscalene_load64, rscalene_load32, rscalene_load16, rscalene_load8, rscalene_copy",
    "rscalene_guarded:",
    "rscalene_load64:",
    "mov rax, qword ptr [rdi]",
    "mov edx, 1",
    "ret",
    "rscalene_load32:",
    "mov eax, dword ptr [rdi]",
    "mov edx, 1",
    "ret",
    "rscalene_load16:",
    "movzx eax, word ptr [rdi]",
    "mov edx, 1",
    "ret",
    "rscalene_load8:",
    "movzx eax, byte ptr [rdi]",
    "mov edx, 1",
    "ret",
    // rdi: to, rsi: from, rdx: bytes (in rcx for rep)
    "rscalene_copy:",
    "mov rcx, rdx",
    "rep movsb",
    "mov edx, 1",
    "ret",
    "rscalene_guarded_end:",
    "rscalene_guarded_fail:",
    "xor eax, eax",
    "xor edx, edx",
    "ret",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".text",
    ".p2align 4",
    ".hidden rscalene_guarded",
    ".hidden rscalene_guarded_end",
    ".hidden rscalene_guarded_fail",
    ".hidden rscalene_load64",
    ".hidden rscalene_load32",
    ".hidden rscalene_load16",
    ".hidden rscalene_load8",
    ".hidden rscalene_copy",
    ".globl rscalene_guarded, rscalene_guarded_end, rscalene_guarded_fail",
    ".globl rscalene_load64, rscalene_load32, rscalene_load16, rscalene_load8, rscalene_copy",
    "rscalene_guarded:",
    "rscalene_load64:",
    "ldr x0, [x0]",
    "mov x1, #1",
    "ret",
    "rscalene_load32:",
    "ldr w0, [x0]",
    "mov x1, #1",
    "ret",
    "rscalene_load16:",
    "ldrh w0, [x0]",
    "mov x1, #1",
    "ret",
    "rscalene_load8:",
    "ldrb w0, [x0]",
    "mov x1, #1",
    "ret",
    "rscalene_copy:",
    "cbz x2, 3f",
    "2:",
    "ldrb w3, [x1], #1",
    "strb w3, [x0], #1",
    "subs x2, x2, #1",
    "b.ne 2b",
    "3:",
    "mov x1, #1",
    "ret",
    "rscalene_guarded_end:",
    "rscalene_guarded_fail:",
    "mov x0, #0",
    "mov x1, #0",
    "ret",
);

unsafe extern "C" {
    static rscalene_guarded: u8;
    static rscalene_guarded_end: u8;
    static rscalene_guarded_fail: u8;
    fn rscalene_load64(address: u64) -> Loaded;
    fn rscalene_load32(address: u64) -> Loaded;
    fn rscalene_load16(address: u64) -> Loaded;
    fn rscalene_load8(address: u64) -> Loaded;
    fn rscalene_copy(to: *mut u8, from: u64, bytes: usize) -> Loaded;
}

/// Where a fault at `pc` goes on, if the fault is one of ours.
pub(crate) fn recovery(pc: u64) -> Option<u64> {
    let (from, to) = ((&raw const rscalene_guarded) as u64, (&raw const rscalene_guarded_end) as u64);
    (from..to).contains(&pc).then(|| {
        if let Some(segment) = process::segment() {
            segment.header().faults.fetch_add(1, Relaxed);
        }
        (&raw const rscalene_guarded_fail) as u64
    })
}

/// This process' memory, read so that a bad address is an answer and not a crash.
#[derive(Clone, Copy)]
pub(crate) struct Guarded {
    /// Faults would kill this thread (it blocks SIGSEGV): ask the kernel instead.
    through_kernel: bool,
}

impl Guarded {
    /// Reader for ordinary code of this thread.
    pub(crate) fn here() -> Self {
        Self { through_kernel: tls().masked.get() & 2 != 0 }
    }

    /// Reader for a signal handler that interrupted a thread with or without SIGSEGV or SIGBUS blocked.
    pub(crate) fn in_handler(faults_blocked: bool) -> Self {
        Self { through_kernel: faults_blocked }
    }

    fn kernel_read(address: u64, into: &mut [u8]) -> bool {
        sys::read_own_memory(address, into)
    }
}

macro_rules! load {
    ($self:ident, $address:ident, $stub:ident, $type:ty) => {{
        if $self.through_kernel {
            let mut bytes = [0u8; size_of::<$type>()];
            return Self::kernel_read($address, &mut bytes).then(|| <$type>::from_ne_bytes(bytes));
        }
        // SAFETY: a fault inside the stub is answered with `ok` 0 by the handler that `start` installed before any
        // reader exists, and this thread does not block that signal.
        let loaded = unsafe { $stub($address) };
        (loaded.ok != 0).then_some(loaded.value as $type)
    }};
}

impl Memory for Guarded {
    #[inline]
    fn u64(&self, address: u64) -> Option<u64> {
        load!(self, address, rscalene_load64, u64)
    }

    #[inline]
    fn u32(&self, address: u64) -> Option<u32> {
        load!(self, address, rscalene_load32, u32)
    }

    #[inline]
    fn u16(&self, address: u64) -> Option<u16> {
        load!(self, address, rscalene_load16, u16)
    }

    #[inline]
    fn u8(&self, address: u64) -> Option<u8> {
        load!(self, address, rscalene_load8, u8)
    }

    fn bytes(&self, address: u64, into: &mut [u8]) -> bool {
        if self.through_kernel {
            return Self::kernel_read(address, into);
        }
        // SAFETY: writes only into `into`; faults on `address` are answered as above.
        unsafe { rscalene_copy(into.as_mut_ptr(), address, into.len()) }.ok != 0
    }
}
