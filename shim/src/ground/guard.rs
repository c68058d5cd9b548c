//! Loads that survive a fault, and the table that says where they go on.
//!
//! Job: read another moment's interpreter structures, which may be gone. Invariant: every instruction that may fault has
//! an entry in the section `rscalene_guarded` with the place where it goes on as refused; the SIGSEGV/SIGBUS handler
//! sends those, and no others, there. A reader opens the two signals in a thread that blocks them, for as long as it
//! lives, and reads through the kernel where their handler is not ours. Neighbours: `faults`, `signals` (which installs
//! the handler and chains the rest), `stack`.

use core::arch::asm;

use rscalene_interp::Memory;

use crate::ground::faults::{self, OpenFaults};
use crate::ground::sys;
use crate::ground::tls::tls;

/// What a refused instruction goes on with: 0 in `ok`, and what stands behind it.
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

/// Runs instructions of which the one at label 2 may fault; answers whether it did not. Landing and entry lie in sections
/// of their own, so that a load is one instruction where it stands; `R` has the linker keep entries that nothing names.
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

/// An instruction that may fault, and where it goes on then: each as its distance from the number itself.
#[repr(C)]
struct Entry {
    instruction: i32,
    landing: i32,
}

unsafe extern "C" {
    // Made by the linker: where the section begins and ends.
    static __start_rscalene_guarded: Entry;
    static __stop_rscalene_guarded: Entry;
}

/// Where a fault at `pc` goes on, if the fault is one of ours.
pub(crate) fn recovery(pc: u64) -> Option<u64> {
    let (first, end) = (&raw const __start_rscalene_guarded, &raw const __stop_rscalene_guarded);
    let count = (end as usize - first as usize) / size_of::<Entry>();
    // SAFETY: the linker gathered the section's entries, and nothing else, between the two.
    let entries = unsafe { core::slice::from_raw_parts(first, count) };
    let target = |distance: &i32| (&raw const *distance as u64).wrapping_add_signed(i64::from(*distance));
    let entry = entries.iter().find(|entry| target(&entry.instruction) == pc)?;
    Some(target(&entry.landing))
}

/// This process' memory, read so that a bad address is an answer and not a crash. Two readers of a thread live at a time
/// only where one is a signal handler's.
pub(crate) struct Guarded {
    /// A fault would not come to our handler: ask the kernel instead.
    through_kernel: bool,
    /// Keeps SIGSEGV and SIGBUS open.
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
        // SAFETY: only reads; a fault is answered with `ok` 0 by the handler, which was installed before any reader
        // existed, and this reader keeps the signal open.
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
