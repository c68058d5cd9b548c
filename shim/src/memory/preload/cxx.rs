//! C++'s operators `new` and `delete` of a preloaded allocator that defines its own.
//!
//! Job: count blocks of these operators, as `libc` does for `malloc`. Other allocators' operators call `malloc`, and
//! counting there is enough. In front of an allocator with its own operators, the launcher also preloads a library of
//! jumps that lead here. Invariant: the allocator's operator does the work. While it works, the thread is marked, so
//! that its calls of `malloc` and its mappings are not counted in addition to the block. `new` may throw: it is called
//! from a frame in assembly, never from Rust. The frame has unwind tables and a personality function, which removes the
//! mark as the exception passes. Neighbours: `sample` (decides and records), `real` (looks up), `foreign` (does the
//! same for the allocator's functions).

use core::arch::naked_asm;
use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rscalene_wire::AllocFlags;

use crate::ground::real::{call_next, operator, operators_in_front};
use crate::ground::sys;
use crate::ground::tls::tls;
use crate::memory::preload::hooked::{Block, marked};
use crate::memory::preload::libc::{FREE, MALLOC, MEMALIGN, NULL, count, release};
use crate::memory::sample::{Choice, keep};

/// Type of all operators: three arguments in registers.
type Function = unsafe extern "C" fn(usize, usize, usize) -> Block;

/// Fallback if no library behind this one has the operator.
enum Otherwise {
    /// Another operator, which does the same according to the C++ standard.
    Ask(&'static Operator),
    /// A function of this file.
    Call(Function),
}

/// The operator of the allocator, looked up once.
struct Operator {
    address: AtomicUsize,
    name: &'static CStr,
    otherwise: Otherwise,
}

impl Operator {
    const fn new(name: &'static CStr, otherwise: Otherwise) -> Self {
        Self { address: AtomicUsize::new(0), name, otherwise }
    }

    #[inline(always)]
    fn get(&self) -> usize {
        let known = self.address.load(Relaxed);
        if known != 0 { known } else { self.look_up() }
    }

    #[cold]
    fn look_up(&self) -> usize {
        let _errno = sys::KeepErrno::new();
        let found = operator(self.name);
        let address = match (found, &self.otherwise) {
            (Some(address), _) if address != 0 => address,
            (_, Otherwise::Ask(other)) => other.get(),
            (_, Otherwise::Call(ours)) => *ours as usize,
        };
        // Within another look-up the answer is not known yet: look up again next time.
        if found.is_some() {
            self.address.store(address, Relaxed);
        }
        address
    }

    /// Calls an operator that frees.
    #[inline(always)]
    fn call(&self, block: Block, more: usize, most: usize) {
        // SAFETY: the address is that of the operator which this file's operator hides, or of its fallback.
        let function: unsafe extern "C" fn(Block, usize, usize) = unsafe { core::mem::transmute(self.get()) };
        // SAFETY: this function's caller gave these arguments for the operator.
        unsafe { function(block, more, most) };
    }

    #[inline(never)]
    fn delete(&self, block: Block, more: usize, most: usize) {
        release(block);
        marked(|| self.call(block, more, most));
    }
}

/// Low bits of a token; above them lie the flags (8 bits) and the interval of a choice.
const MARKED: usize = 1;
const CHOSEN: usize = 2;

/// Result of [`begin`], which runs before an operator `new`.
#[repr(C)]
struct Begun {
    /// The allocator's operator.
    function: usize,
    /// Argument of [`end`]; 0 if the allocator is at work already: then there is nothing to count, and `end` is not
    /// called.
    token: usize,
}

// SAFETY: only the operators of this file call this function, with the arguments of their own callers.
unsafe extern "C" fn begin(bytes: usize, operator: &'static Operator) -> Begun {
    let (function, block) = (operator.get(), tls());
    if block.inside.get() != 0 {
        return Begun { function, token: 0 };
    }
    let choice = count(bytes);
    block.outside.set(block.countdown.get());
    block.inside.set(1);
    let chosen =
        choice.map_or(0, |choice| CHOSEN | usize::from(choice.flags.bits()) << 8 | (choice.interval as usize) << 16);
    Begun { function, token: MARKED | chosen }
}

// SAFETY: only the operators of this file call this function, with the arguments of their own callers.
unsafe extern "C" fn end(block: Block, bytes: usize, token: usize) -> Block {
    unmark();
    if token & CHOSEN != 0 {
        keep(block as u64, bytes, Choice { interval: (token >> 16) as u64, flags: AllocFlags::of((token >> 8) as u8) });
    }
    block
}

fn unmark() {
    let block = tls();
    block.countdown.set(block.outside.get());
    block.inside.set(0);
}

/// `_UA_CLEANUP_PHASE`: the unwinder is leaving frames.
const CLEANUP: c_int = 2;
/// `_URC_CONTINUE_UNWIND`: this frame neither catches nor has code to run.
const CONTINUE: c_int = 8;

/// Called by the unwinder when an exception searches or leaves the frame of an operator. The frame exists only while
/// the thread is marked. (A new-handler that leaves by `longjmp` does not unwind: the thread stays marked.)
// SAFETY: the unwinder calls it, with what it gives every personality, when an exception passes an operator.
unsafe extern "C" fn personality(_: c_int, actions: c_int, _: u64, _: *mut c_void, _: *mut c_void) -> c_int {
    if actions & CLEANUP != 0 {
        unmark();
    }
    CONTINUE
}

/// Saves the arguments, and calls the allocator's operator between `begin` and `end`; without a token, jumps to it.
#[cfg(target_arch = "x86_64")]
macro_rules! between {
    ($operator:ident) => {
        naked_asm!(
            ".cfi_startproc",
            // Relative to the entry, as four bytes.
            ".cfi_personality 0x1b, {personality}",
            "push rdi",
            ".cfi_def_cfa_offset 16",
            "push rsi",
            ".cfi_def_cfa_offset 24",
            "push rdx",
            ".cfi_def_cfa_offset 32",
            "sub rsp, 16",
            ".cfi_def_cfa_offset 48",
            "lea rsi, [rip + {operator}]",
            "call {begin}",
            "mov r11, rdx",
            "mov rdx, qword ptr [rsp + 16]",
            "mov rsi, qword ptr [rsp + 24]",
            "mov rdi, qword ptr [rsp + 32]",
            "test r11, r11",
            "je 2f",
            "mov qword ptr [rsp], r11",
            "call rax",
            "mov rdi, rax",
            "mov rsi, qword ptr [rsp + 32]",
            "mov rdx, qword ptr [rsp]",
            "call {end}",
            ".cfi_remember_state",
            "add rsp, 40",
            ".cfi_def_cfa_offset 8",
            "ret",
            ".cfi_restore_state",
            "2:",
            "add rsp, 40",
            ".cfi_def_cfa_offset 8",
            "jmp rax",
            ".cfi_endproc",
            personality = sym personality,
            operator = sym $operator,
            begin = sym begin,
            end = sym end,
        )
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! between {
    ($operator:ident) => {
        naked_asm!(
            ".cfi_startproc",
            // Relative to the entry, as four bytes.
            ".cfi_personality 0x1b, {personality}",
            "stp x29, x30, [sp, #-48]!",
            ".cfi_def_cfa_offset 48",
            ".cfi_offset w29, -48",
            ".cfi_offset w30, -40",
            "mov x29, sp",
            "stp x0, x1, [sp, #16]",
            "str x2, [sp, #32]",
            "adrp x1, {operator}",
            "add x1, x1, :lo12:{operator}",
            "bl {begin}",
            "mov x16, x0",
            "mov x17, x1",
            "ldp x0, x1, [sp, #16]",
            "ldr x2, [sp, #32]",
            "cbz x17, 2f",
            "str x17, [sp, #40]",
            "blr x16",
            "ldr x1, [sp, #16]",
            "ldr x2, [sp, #40]",
            "bl {end}",
            ".cfi_remember_state",
            "ldp x29, x30, [sp], #48",
            ".cfi_def_cfa_offset 0",
            ".cfi_restore w29",
            ".cfi_restore w30",
            "ret",
            ".cfi_restore_state",
            "2:",
            "ldp x29, x30, [sp], #48",
            ".cfi_def_cfa_offset 0",
            ".cfi_restore w29",
            ".cfi_restore w30",
            "br x16",
            ".cfi_endproc",
            personality = sym personality,
            operator = sym $operator,
            begin = sym begin,
            end = sym end,
        )
    };
}

/// The name of an operator, for `dlsym`.
macro_rules! name {
    ($symbol:literal) => {
        match CStr::from_bytes_with_nul(concat!($symbol, "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => c"",
        }
    };
}

macro_rules! operators_new {
    ($($operator:ident $name:ident $symbol:literal $otherwise:expr;)*) => {$(
        static $operator: Operator = Operator::new(name!($symbol), $otherwise);

        /// An `operator new`.
        ///
        /// # Safety
        /// As C++'s.
        #[unsafe(naked)]
        #[unsafe(export_name = concat!("rscalene", $symbol))]
        unsafe extern "C" fn $name(bytes: usize, more: usize, most: usize) -> Block {
            between!($operator)
        }
    )*};
}
operators_new! {
    NEW new "_Znwm" Otherwise::Call(plain);
    NEW_ARRAY new_array "_Znam" Otherwise::Ask(&NEW);
    NEW_NOTHROW new_nothrow "_ZnwmRKSt9nothrow_t" Otherwise::Call(plain_nothrow);
    NEW_ARRAY_NOTHROW new_array_nothrow "_ZnamRKSt9nothrow_t" Otherwise::Ask(&NEW_NOTHROW);
    NEW_ALIGNED new_aligned "_ZnwmSt11align_val_t" Otherwise::Call(plain_aligned);
    NEW_ARRAY_ALIGNED new_array_aligned "_ZnamSt11align_val_t" Otherwise::Ask(&NEW_ALIGNED);
    NEW_ALIGNED_NOTHROW new_aligned_nothrow "_ZnwmSt11align_val_tRKSt9nothrow_t"
        Otherwise::Call(plain_aligned_nothrow);
    NEW_ARRAY_ALIGNED_NOTHROW new_array_aligned_nothrow "_ZnamSt11align_val_tRKSt9nothrow_t"
        Otherwise::Ask(&NEW_ALIGNED_NOTHROW);
}

macro_rules! operators_delete {
    ($($operator:ident $name:ident $symbol:literal $otherwise:expr;)*) => {$(
        static $operator: Operator = Operator::new(name!($symbol), $otherwise);

        /// An `operator delete`; none of them throws.
        ///
        /// # Safety
        /// As C++'s.
        #[unsafe(export_name = concat!("rscalene", $symbol))]
        unsafe extern "C" fn $name(block: Block, more: usize, most: usize) {
            $operator.delete(block, more, most);
        }
    )*};
}
operators_delete! {
    DELETE delete "_ZdlPv" Otherwise::Call(plain_delete);
    DELETE_ARRAY delete_array "_ZdaPv" Otherwise::Ask(&DELETE);
    DELETE_SIZED delete_sized "_ZdlPvm" Otherwise::Ask(&DELETE);
    DELETE_ARRAY_SIZED delete_array_sized "_ZdaPvm" Otherwise::Ask(&DELETE_ARRAY);
    DELETE_NOTHROW delete_nothrow "_ZdlPvRKSt9nothrow_t" Otherwise::Ask(&DELETE);
    DELETE_ARRAY_NOTHROW delete_array_nothrow "_ZdaPvRKSt9nothrow_t" Otherwise::Ask(&DELETE_ARRAY);
    DELETE_ALIGNED delete_aligned "_ZdlPvSt11align_val_t" Otherwise::Call(plain_delete);
    DELETE_ARRAY_ALIGNED delete_array_aligned "_ZdaPvSt11align_val_t" Otherwise::Ask(&DELETE_ALIGNED);
    DELETE_SIZED_ALIGNED delete_sized_aligned "_ZdlPvmSt11align_val_t" Otherwise::Call(delete_without_size);
    DELETE_ARRAY_SIZED_ALIGNED delete_array_sized_aligned "_ZdaPvmSt11align_val_t"
        Otherwise::Call(delete_array_without_size);
    DELETE_ALIGNED_NOTHROW delete_aligned_nothrow "_ZdlPvSt11align_val_tRKSt9nothrow_t"
        Otherwise::Ask(&DELETE_ALIGNED);
    DELETE_ARRAY_ALIGNED_NOTHROW delete_array_aligned_nothrow "_ZdaPvSt11align_val_tRKSt9nothrow_t"
        Otherwise::Ask(&DELETE_ARRAY_ALIGNED);
}

/// Looks all operators up, in a process in which this file's operators come first.
pub(crate) fn resolve() {
    let all = [
        [&NEW, &NEW_ARRAY, &NEW_NOTHROW, &NEW_ARRAY_NOTHROW],
        [&NEW_ALIGNED, &NEW_ARRAY_ALIGNED, &NEW_ALIGNED_NOTHROW, &NEW_ARRAY_ALIGNED_NOTHROW],
        [&DELETE, &DELETE_ARRAY, &DELETE_SIZED, &DELETE_ARRAY_SIZED],
        [&DELETE_NOTHROW, &DELETE_ARRAY_NOTHROW, &DELETE_ALIGNED, &DELETE_ARRAY_ALIGNED],
        [&DELETE_SIZED_ALIGNED, &DELETE_ARRAY_SIZED_ALIGNED, &DELETE_ALIGNED_NOTHROW, &DELETE_ARRAY_ALIGNED_NOTHROW],
    ];
    if operators_in_front() {
        for operator in all.iter().flatten() {
            operator.get();
        }
    }
}

// SAFETY: only the operators of this file call this function, with the arguments of their own callers.
unsafe extern "C" fn delete_without_size(block: usize, _: usize, alignment: usize) -> Block {
    DELETE_ALIGNED.call(block as Block, alignment, 0);
    NULL
}

// SAFETY: only the operators of this file call this function, with the arguments of their own callers.
unsafe extern "C" fn delete_array_without_size(block: usize, _: usize, alignment: usize) -> Block {
    DELETE_ARRAY_ALIGNED.call(block as Block, alignment, 0);
    NULL
}

// The functions below serve a process that inherits this library without the allocator, whose path does not exist
// there. They do the work of the standard library's operators. The standard library may not be loaded yet, so they
// cannot throw: without memory the process ends, as it does after an exception that no code catches.

// SAFETY: only the operators of this file call this function, with the arguments of their own callers.
unsafe extern "C" fn plain_nothrow(bytes: usize, _: usize, _: usize) -> Block {
    call_next!(MALLOC, fn(usize) -> Block, (bytes.max(1)), NULL)
}

// SAFETY: only the operators of this file call this function, with the arguments of their own callers.
unsafe extern "C" fn plain_aligned_nothrow(bytes: usize, alignment: usize, _: usize) -> Block {
    call_next!(MEMALIGN, fn(usize, usize) -> Block, (alignment, bytes.max(1)), NULL)
}

// SAFETY: only the operators of this file call this function, with the arguments of their own callers.
unsafe extern "C" fn plain(bytes: usize, more: usize, most: usize) -> Block {
    // SAFETY: passed on.
    or_abort(unsafe { plain_nothrow(bytes, more, most) })
}

// SAFETY: only the operators of this file call this function, with the arguments of their own callers.
unsafe extern "C" fn plain_aligned(bytes: usize, alignment: usize, most: usize) -> Block {
    // SAFETY: passed on.
    or_abort(unsafe { plain_aligned_nothrow(bytes, alignment, most) })
}

/// The block; ends the program if there is none, because `new` without a C++ runtime cannot throw.
fn or_abort(block: Block) -> Block {
    if block.is_null() {
        // SAFETY: may be called at any time.
        unsafe { ::libc::abort() };
    }
    block
}

// SAFETY: only the operators of this file call this function, with the arguments of their own callers.
unsafe extern "C" fn plain_delete(block: usize, _: usize, _: usize) -> Block {
    call_next!(FREE, fn(Block) -> (), (block as Block), ());
    NULL
}
