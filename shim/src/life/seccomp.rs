//! Filters of system calls (seccomp) that the program puts above itself.
//!
//! Job: before such a filter is in force, ask it about every call that this library makes. One that ends the process for
//! any of them, or has another process decide, turns those calls off (`ground::quiet`); one that allows or refuses them
//! changes nothing. Invariant: the program's own call is passed on as it is. Filters that come past libc's `prctl` and
//! `syscall` are not seen. Neighbours: `ground::quiet`, `exec` (programs under the filter are left alone).

use core::ffi::{c_int, c_long};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rscalene_wire::NoticeCode;

use crate::arena::segment;
use crate::ground::real::{Next, call_next};
use crate::ground::{quiet, sys};

static PRCTL: Next = Next::new(c"prctl");
static SYSCALL: Next = Next::new(c"syscall");

/// What this library may ask of the kernel after the start.
const CALLS: [c_long; 17] = [
    libc::SYS_getrusage,
    libc::SYS_perf_event_open,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_delete,
    libc::SYS_clock_gettime,
    libc::SYS_rt_sigprocmask,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_futex,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_fcntl,
    libc::SYS_mmap,
    libc::SYS_madvise,
    libc::SYS_nanosleep,
    libc::SYS_process_vm_readv,
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// What a filter answers, without its data: allowed, refused with an error, allowed and logged.
const HARMLESS: [u32; 3] = [0x7fff_0000, 0x0005_0000, 0x7ffc_0000];
/// The kernel takes no longer filter.
const LONGEST: usize = 4096;

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    filter: *const Instruction,
}

/// `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    constant: u32,
}

/// Would a filter end the process for a call of ours?
fn deadly(program: *const Program) -> bool {
    let mut head = [0u8; size_of::<Program>()];
    if !sys::read_own_memory(program as u64, &mut head) {
        // The kernel refuses it, too; or this process is denied a look at itself.
        return true;
    }
    // SAFETY: the program's struct was just seen to be readable.
    let (length, filter) = unsafe { (usize::from((*program).length), (*program).filter) };
    let bytes = length * size_of::<Instruction>();
    let mut part = [0u8; 512];
    let readable = (0..bytes).step_by(part.len()).all(|at| {
        let now = part.len().min(bytes - at);
        part.get_mut(..now).is_some_and(|room| sys::read_own_memory(filter as u64 + at as u64, room))
    });
    if !readable || length > LONGEST {
        return true;
    }
    // SAFETY: all of it was just seen to be readable.
    let filter = unsafe { core::slice::from_raw_parts(filter, length) };
    CALLS
        .iter()
        .any(|call| !answer(filter, *call as u32).is_some_and(|answer| HARMLESS.contains(&(answer & 0xffff_0000))))
}

/// What the filter says to a call whose arguments are zero; `None` where it is no filter.
fn answer(filter: &[Instruction], call: u32) -> Option<u32> {
    let (mut a, mut x, mut memory, mut at) = (0u32, 0u32, [0u32; 16], 0usize);
    // It only ever jumps ahead.
    loop {
        let Instruction { code, yes, no, constant } = *filter.get(at)?;
        at += 1;
        let operand = if code & 8 != 0 { x } else { constant };
        let jump = |holds: bool| usize::from(if holds { yes } else { no });
        match code {
            0x20 => {
                a = match constant {
                    0 => call,
                    4 => ARCHITECTURE,
                    _ => 0,
                }
            }
            0x00 => a = constant,
            0x01 => x = constant,
            0x60 => a = *memory.get(constant as usize)?,
            0x61 => x = *memory.get(constant as usize)?,
            0x02 => *memory.get_mut(constant as usize)? = a,
            0x03 => *memory.get_mut(constant as usize)? = x,
            0x80 => a = 64,
            0x81 => x = 64,
            0x04 | 0x0c => a = a.wrapping_add(operand),
            0x14 | 0x1c => a = a.wrapping_sub(operand),
            0x24 | 0x2c => a = a.wrapping_mul(operand),
            0x34 | 0x3c => a = a.checked_div(operand)?,
            0x44 | 0x4c => a |= operand,
            0x54 | 0x5c => a &= operand,
            0x64 | 0x6c => a = a.checked_shl(operand)?,
            0x74 | 0x7c => a = a.checked_shr(operand)?,
            0xa4 | 0xac => a ^= operand,
            0x84 => a = a.wrapping_neg(),
            0x05 => at = at.checked_add(constant as usize)?,
            0x15 | 0x1d => at += jump(a == operand),
            0x25 | 0x2d => at += jump(a > operand),
            0x35 | 0x3d => at += jump(a >= operand),
            0x45 | 0x4d => at += jump(a & operand != 0),
            0x07 => x = a,
            0x87 => a = x,
            0x06 => return Some(constant),
            0x16 => return Some(a),
            _ => return None,
        }
    }
}

const STRICT: usize = 1;

/// Makes the program's call that puts a filter (or the strict mode, without one) in force.
fn filtered(program: Option<*const Program>, install: impl FnOnce() -> c_long) -> c_long {
    let before = quiet::is_on();
    if !before && program.is_none_or(deadly) {
        segment::notice(NoticeCode::FILTERED, 0);
        quiet::begin();
    }
    let answer = install();
    if answer < 0 && !before {
        quiet::end();
    }
    answer
}

/// `prctl`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn prctl(option: c_int, a: usize, b: usize, c: usize, d: usize) -> c_int {
    let pass = || call_next!(PRCTL, fn(c_int, usize, usize, usize, usize) -> c_int, (option, a, b, c, d), -1);
    if option != libc::PR_SET_SECCOMP {
        return pass();
    }
    let program = if a == STRICT { None } else { Some(b as *const Program) };
    filtered(program, || c_long::from(pass())) as c_int
}

/// `syscall` of a call that may put a filter in force.
unsafe extern "C" fn filtering(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    let pass = || {
        call_next!(
            SYSCALL,
            fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long,
            (number, a, b, c, d, e, f),
            -1
        )
    };
    let program = match number {
        // SECCOMP_SET_MODE_STRICT, SECCOMP_SET_MODE_FILTER.
        libc::SYS_seccomp if a == 0 => None,
        libc::SYS_seccomp if a == 1 => Some(c as *const Program),
        libc::SYS_prctl if a as c_int == libc::PR_SET_SECCOMP && b == STRICT => None,
        libc::SYS_prctl if a as c_int == libc::PR_SET_SECCOMP => Some(c as *const Program),
        _ => return pass(),
    };
    filtered(program, pass)
}

/// What `syscall` jumps to; 0 until [`resolve`].
static NEXT_SYSCALL: AtomicUsize = AtomicUsize::new(0);

/// Looks both up before a filter can be in force.
pub(crate) fn resolve() {
    PRCTL.get();
    NEXT_SYSCALL.store(SYSCALL.get(), Relaxed);
}

/// `syscall`: a jump for all but the two that may put a filter in force, so that no frame of ours lies between.
///
/// # Safety
/// As libc's.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall() {
    core::arch::naked_asm!(
        "cmp edi, {seccomp}",
        "je {filtering}",
        "cmp edi, {prctl}",
        "je {filtering}",
        "mov rax, qword ptr [rip + {next}]",
        "test rax, rax",
        "je {filtering}",
        "jmp rax",
        seccomp = const libc::SYS_seccomp,
        prctl = const libc::SYS_prctl,
        next = sym NEXT_SYSCALL,
        filtering = sym filtering,
    )
}

/// `syscall`: a jump for all but the two that may put a filter in force, so that no frame of ours lies between.
///
/// # Safety
/// As libc's.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall() {
    core::arch::naked_asm!(
        "cmp w0, #{seccomp}",
        "b.eq {filtering}",
        "cmp w0, #{prctl}",
        "b.eq {filtering}",
        "adrp x16, {next}",
        "ldr x16, [x16, :lo12:{next}]",
        "cbz x16, 2f",
        "br x16",
        "2: b {filtering}",
        seccomp = const libc::SYS_seccomp,
        prctl = const libc::SYS_prctl,
        next = sym NEXT_SYSCALL,
        filtering = sym filtering,
    )
}
