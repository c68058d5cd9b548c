//! C++'s operators `new` and `delete`, preloaded behind the shim and before an allocator that has such operators.
//!
//! Job: lead the program's calls of the operators to the shim. The operators are in a library of their own, because
//! they are safe only in front of a preloaded allocator that has operators. In another process, the real operators may
//! be in a libstdc++ that was loaded later with local visibility; `dlsym` would not find them. Invariant: this library
//! contains only jumps and a call of `dlsym`. The call must be made here, because `dlsym(RTLD_NEXT)` searches behind
//! its caller. Neighbours: the shim's `memory/preload/cxx.rs` (does the work), `src/launch/preload.rs` (decides whether
//! to preload this library).

#![cfg_attr(panic = "abort", no_std)]

use core::arch::naked_asm;
use core::ffi::{c_char, c_void};

/// Nothing here can panic.
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// A jump to a function of the shim; arguments, return address and frame stay as the caller made them.
#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    ($to:expr) => {
        naked_asm!(".cfi_startproc", concat!("jmp qword ptr [rip + ", $to, "@GOTPCREL]"), ".cfi_endproc")
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    ($to:expr) => {
        naked_asm!(
            ".cfi_startproc",
            concat!("adrp x16, :got:", $to),
            concat!("ldr x16, [x16, :got_lo12:", $to, "]"),
            "br x16",
            ".cfi_endproc",
        )
    };
}

macro_rules! operators {
    ($($name:ident $symbol:literal)*) => {$(
        #[unsafe(naked)]
        #[unsafe(export_name = $symbol)]
        unsafe extern "C" fn $name() {
            jump!(concat!("rscalene", $symbol))
        }
    )*};
}
operators! {
    new "_Znwm"
    new_array "_Znam"
    new_nothrow "_ZnwmRKSt9nothrow_t"
    new_array_nothrow "_ZnamRKSt9nothrow_t"
    new_aligned "_ZnwmSt11align_val_t"
    new_array_aligned "_ZnamSt11align_val_t"
    new_aligned_nothrow "_ZnwmSt11align_val_tRKSt9nothrow_t"
    new_array_aligned_nothrow "_ZnamSt11align_val_tRKSt9nothrow_t"
    delete "_ZdlPv"
    delete_array "_ZdaPv"
    delete_sized "_ZdlPvm"
    delete_array_sized "_ZdaPvm"
    delete_nothrow "_ZdlPvRKSt9nothrow_t"
    delete_array_nothrow "_ZdaPvRKSt9nothrow_t"
    delete_aligned "_ZdlPvSt11align_val_t"
    delete_array_aligned "_ZdaPvSt11align_val_t"
    delete_sized_aligned "_ZdlPvmSt11align_val_t"
    delete_array_sized_aligned "_ZdaPvmSt11align_val_t"
    delete_aligned_nothrow "_ZdlPvSt11align_val_tRKSt9nothrow_t"
    delete_array_aligned_nothrow "_ZdaPvSt11align_val_tRKSt9nothrow_t"
}

/// Calls `dlsym` with a handle and a name, as this library.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn rscalene_cxx_look_up(
    handle: *mut c_void,
    name: *const c_char,
    dlsym: unsafe extern "C" fn(*mut c_void, *const c_char) -> usize,
) -> usize {
    naked_asm!(
        ".cfi_startproc",
        "sub rsp, 8",
        ".cfi_adjust_cfa_offset 8",
        "call rdx",
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".cfi_endproc",
    )
}

/// Calls `dlsym` with a handle and a name, as this library.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn rscalene_cxx_look_up(
    handle: *mut c_void,
    name: *const c_char,
    dlsym: unsafe extern "C" fn(*mut c_void, *const c_char) -> usize,
) -> usize {
    naked_asm!(
        ".cfi_startproc",
        "stp x29, x30, [sp, #-16]!",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset w29, -16",
        ".cfi_offset w30, -8",
        "blr x2",
        "ldp x29, x30, [sp], #16",
        ".cfi_def_cfa_offset 0",
        ".cfi_restore w29",
        ".cfi_restore w30",
        "ret",
        ".cfi_endproc",
    )
}
