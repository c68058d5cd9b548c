//! Guarded loads: a load from a bad address returns `None` instead of ending the process.
//!
//! Job: read structures of the interpreter that the program may free or change meanwhile. Invariant: every instruction
//! that may fault has an entry in the section `rscalene_guarded`, with the address at which execution continues after
//! the fault. For these instructions, and for no others, the SIGSEGV/SIGBUS handler continues at this address. If a
//! thread blocks the two signals, a reader unblocks them for the reader's lifetime. If another handler is installed, a
//! reader asks the kernel to read. Neighbours: `faults`, `signals` (installs the handler and passes other faults to the
//! program), `stack`.

use core::arch::asm;

use rscalene_interp::Memory;

use crate::ground::faults::{self, OpenFaults};
use crate::ground::sys;
use crate::ground::tls::tls;

/// Code that runs after a fault: sets `ok` to 0 and jumps behind the guarded instructions.
#[cfg(target_arch = "x86_64")]
macro_rules! landing {
    () => {
        "4: mov {ok:e}, 0\njmp 3b"
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! landing {
    () => {
        "4: mov {ok:w}, #0\nb 3b"
    };
}

/// Runs instructions, of which the instruction at label 2 may fault; returns false after a fault. The landing and the
/// table entry lie in sections of their own, so a load adds a single instruction to its function. The section flag `R`
/// makes the linker keep entries to which no symbol refers.
macro_rules! guarded {
    ([$($instruction:literal),+], $($operands:tt)+) => {{
        let mut ok = 1u32;
        asm!(
            $($instruction,)+
            "3:",
            ".pushsection .text.rscalene_refused, \"ax\"",
            landing!(),
            ".popsection",
            ".pushsection rscalene_guarded, \"aR\"",
            ".balign 4",
            ".long 2b - .",
            ".long 4b - .",
            ".popsection",
            ok = inout(reg) ok,
            $($operands)+
        );
        ok != 0
    }};
}

/// An instruction that may fault, and the address at which execution continues after a fault. Each number is the
/// distance from the number's own address.
#[repr(C)]
struct Entry {
    instruction: i32,
    landing: i32,
}

unsafe extern "C" {
    // The linker defines both: begin and end of the section.
    static __start_rscalene_guarded: Entry;
    static __stop_rscalene_guarded: Entry;
}

/// The address at which execution continues after a fault at `pc`; `None` if `pc` is no guarded instruction. Callers:
/// the handler of SIGSEGV and SIGBUS.
pub(crate) fn recovery(pc: u64) -> Option<u64> {
    let (first, end) = (&raw const __start_rscalene_guarded, &raw const __stop_rscalene_guarded);
    let count = (end as usize - first as usize) / size_of::<Entry>();
    // SAFETY: the linker gathered the section's entries, and nothing else, between the two.
    let entries = unsafe { core::slice::from_raw_parts(first, count) };
    let target = |distance: &i32| (&raw const *distance as u64).wrapping_add_signed(i64::from(*distance));
    let entry = entries.iter().find(|entry| target(&entry.instruction) == pc)?;
    Some(target(&entry.landing))
}

/// Reader of this process' memory: a bad address gives `None`, not a crash. A thread has two readers at a time only if
/// a signal handler owns the second.
pub(crate) struct Guarded {
    /// The handler of this library would not get a fault: ask the kernel to read instead.
    through_kernel: bool,
    /// Keeps SIGSEGV and SIGBUS unblocked.
    _open: Option<OpenFaults>,
}

impl Guarded {
    /// Reader for ordinary code of this thread.
    pub(crate) fn here() -> Self {
        if faults::lent() {
            return Self { _open: OpenFaults::if_blocked(), through_kernel: !faults::come_here() };
        }
        Self::in_handler(tls().masked.get() & 2 != 0)
    }

    /// Reader for a signal handler that interrupted a thread with or without SIGSEGV or SIGBUS blocked.
    pub(crate) fn in_handler(faults_blocked: bool) -> Self {
        let open = if faults_blocked { OpenFaults::if_blocked() } else { None };
        Self { through_kernel: false, _open: open }
    }

    fn kernel_read(address: u64, into: &mut [u8]) -> bool {
        sys::read_own_memory(address, into)
    }
}

macro_rules! load {
    ($self:ident, $address:ident, $instruction:literal, $loaded:ty, $type:ty) => {{
        if $self.through_kernel {
            let mut bytes = [0u8; size_of::<$type>()];
            return Self::kernel_read($address, &mut bytes).then(|| <$type>::from_ne_bytes(bytes));
        }
        let value: $loaded;
        // SAFETY: the instruction only reads. After a fault, the handler sets `ok` to 0. The handler was installed
        // before the first reader, and this reader keeps the signal unblocked.
        let ok = unsafe {
            guarded!(
                [$instruction],
                value = lateout(reg) value,
                address = in(reg) $address,
                options(readonly, nostack, preserves_flags),
            )
        };
        ok.then_some(value as $type)
    }};
}

#[cfg(target_arch = "x86_64")]
impl Memory for Guarded {
    #[inline]
    fn u64(&self, address: u64) -> Option<u64> {
        load!(self, address, "2: mov {value}, qword ptr [{address}]", u64, u64)
    }

    #[inline]
    fn u32(&self, address: u64) -> Option<u32> {
        load!(self, address, "2: mov {value:e}, dword ptr [{address}]", u32, u32)
    }

    #[inline]
    fn u16(&self, address: u64) -> Option<u16> {
        load!(self, address, "2: movzx {value:e}, word ptr [{address}]", u32, u16)
    }

    #[inline]
    fn u8(&self, address: u64) -> Option<u8> {
        load!(self, address, "2: movzx {value:e}, byte ptr [{address}]", u32, u8)
    }

    fn bytes(&self, address: u64, into: &mut [u8]) -> bool {
        if self.through_kernel {
            return Self::kernel_read(address, into);
        }
        // SAFETY: writes only into `into`; faults on `address` are answered as above.
        unsafe {
            guarded!(
                ["2: rep movsb"],
                inout("rdi") into.as_mut_ptr() => _,
                inout("rsi") address => _,
                inout("rcx") into.len() => _,
                options(nostack, preserves_flags),
            )
        }
    }
}

#[cfg(target_arch = "aarch64")]
impl Memory for Guarded {
    #[inline]
    fn u64(&self, address: u64) -> Option<u64> {
        load!(self, address, "2: ldr {value:x}, [{address}]", u64, u64)
    }

    #[inline]
    fn u32(&self, address: u64) -> Option<u32> {
        load!(self, address, "2: ldr {value:w}, [{address}]", u32, u32)
    }

    #[inline]
    fn u16(&self, address: u64) -> Option<u16> {
        load!(self, address, "2: ldrh {value:w}, [{address}]", u32, u16)
    }

    #[inline]
    fn u8(&self, address: u64) -> Option<u8> {
        load!(self, address, "2: ldrb {value:w}, [{address}]", u32, u8)
    }

    fn bytes(&self, address: u64, into: &mut [u8]) -> bool {
        if self.through_kernel {
            return Self::kernel_read(address, into);
        }
        // SAFETY: writes only into `into`; faults on `address` are answered as above.
        unsafe {
            guarded!(
                [
                    "cbz {left}, 3f",
                    "2: ldrb {byte:w}, [{from}], #1",
                    "strb {byte:w}, [{to}], #1",
                    "subs {left}, {left}, #1",
                    "b.ne 2b"
                ],
                to = inout(reg) into.as_mut_ptr() => _,
                from = inout(reg) address => _,
                left = inout(reg) into.len() => _,
                byte = out(reg) _,
                options(nostack),
            )
        }
    }
}
