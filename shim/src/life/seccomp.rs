//! Filters of system calls (seccomp), installed by the program for itself.
//!
//! Job: before the kernel installs such a filter, run the filter's code on every system call of this library. Suppose
//! the filter would end the process, or ask another process, for one of these calls. If samples do not need the call,
//! this library stops making such calls (`ground::quiet`). If samples need the call, this process stops recording. If a
//! filter only allows calls or refuses them with an error, nothing changes. Invariant: the program's own call is passed
//! on unchanged. This file sees only filters that the program installs by libc's `prctl` and `syscall`. Neighbours:
//! `ground::quiet`, `exec` (keeps new programs under the filter out of the profile), `signals::actions`.

use core::ffi::{c_int, c_long};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rscalene_interp::Memory;
use rscalene_wire as wire;
use wire::NoticeCode;

use crate::arena::segment;
use crate::cpu::threads;
use crate::ground::guard::Guarded;
use crate::ground::real::{Next, call_next};
use crate::ground::{quiet, sys};
use crate::signals::actions;

static PRCTL: Next = Next::new(c"prctl");
static SYSCALL: Next = Next::new(c"syscall");

/// System calls that samples and records need: to return from a handler, to find an unknown thread's id, to map tables.
const NEEDED: [c_long; 7] = [
    libc::SYS_rt_sigreturn,
    libc::SYS_gettid,
    libc::SYS_rt_sigprocmask,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_close,
];

/// Other system calls of this library after the start; left out while [`quiet`] is on.
const LEFT_OUT: [c_long; 14] = [
    libc::SYS_getrusage,
    libc::SYS_perf_event_open,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_delete,
    libc::SYS_clock_gettime,
    libc::SYS_getpid,
    libc::SYS_futex,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_fcntl,
    libc::SYS_read,
    libc::SYS_nanosleep,
    libc::SYS_process_vm_readv,
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Harmless answers of a filter, without their data: allow, refuse with an error, allow and log.
const HARMLESS: [u32; 3] = [0x7fff_0000, 0x0005_0000, 0x7ffc_0000];
/// The kernel's limit for the instructions of a filter.
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

/// Effect of a filter on this library. "Ends the process" includes asking another process.
#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    /// The filter ends the process for none of this library's calls.
    Harmless,
    /// The filter ends the process only for calls that samples do not need.
    Quiet,
    /// The filter ends the process for a call that samples need. `true`: also for the return from a signal handler.
    Silent(bool),
}

/// Runs a filter on each call of this library. Reads the filter by guarded loads, without system calls, because an
/// earlier filter may forbid any call. The kernel, too, refuses an unreadable filter.
fn verdict(program: *const Program) -> Verdict {
    let memory = Guarded::here();
    let length = memory.u16(program as u64).map(usize::from);
    let filter = memory.u64((program as u64).wrapping_add(core::mem::offset_of!(Program, filter) as u64));
    let (Some(length @ 1..=LONGEST), Some(first)) = (length, filter) else { return Verdict::Silent(true) };
    let filter = Filter { memory: &memory, first, length };
    let kills =
        |call: &c_long| !filter.answer(*call as u32).is_some_and(|answer| HARMLESS.contains(&(answer & 0xffff_0000)));
    if NEEDED.iter().any(kills) {
        Verdict::Silent(kills(&libc::SYS_rt_sigreturn))
    } else if LEFT_OUT.iter().any(kills) {
        Verdict::Quiet
    } else {
        Verdict::Harmless
    }
}

/// A filter in the program's memory.
struct Filter<'a> {
    memory: &'a Guarded,
    first: u64,
    length: usize,
}

impl Filter<'_> {
    fn instruction(&self, at: usize) -> Option<Instruction> {
        if at >= self.length {
            return None;
        }
        let word = self.memory.u64(self.first.wrapping_add((at * size_of::<u64>()) as u64))?;
        let [code, code_high, yes, no, constant @ ..] = word.to_le_bytes();
        Some(Instruction {
            code: u16::from_le_bytes([code, code_high]),
            yes,
            no,
            constant: u32::from_le_bytes(constant),
        })
    }

    /// The filter's answer to the system call number `call` with zero arguments; `None` if the filter is invalid.
    fn answer(&self, call: u32) -> Option<u32> {
        let (mut a, mut x, mut memory, mut at) = (0u32, 0u32, [0u32; 16], 0usize);
        // The loop ends, because a filter only jumps forward.
        loop {
            let Instruction { code, yes, no, constant } = self.instruction(at)?;
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
}

const STRICT: usize = 1;

/// Time after which every thread has finished its present sample.
const SAMPLE_NS: u64 = 2_000_000;

/// Runs `install`, the program's call that installs a filter, or the strict mode if `program` is `None`. Prepares this
/// library for the filter before the call, and undoes this if the call fails. `everywhere`: the filter also applies to
/// threads already running.
fn filtered(program: Option<*const Program>, everywhere: bool, install: impl FnOnce() -> c_long) -> c_long {
    let verdict = program.map_or(Verdict::Silent(true), verdict);
    let _using = segment::using();
    let (was_quiet, recording) = (quiet::is_on(), segment::segment());
    let silenced = recording.is_some() && matches!(verdict, Verdict::Silent(_));
    if verdict == Verdict::Harmless || (was_quiet && !silenced) {
        return install();
    }
    let notice = wire::Notice { time_ns: sys::now_ns(), code: NoticeCode::FILTERED, detail: u32::from(silenced) };
    let mut ignored = false;
    if silenced {
        segment::fall_silent();
        ignored = verdict == Verdict::Silent(true) && actions::ignore_samples(true);
        silence(everywhere && !was_quiet);
    }
    quiet::begin();
    let answer = install();
    if answer >= 0 {
        // Only now is it true; a full ring makes no system call, because `quiet` is on.
        if let Some(segment) = recording {
            segment.emit(&notice);
        }
        return answer;
    }
    if !was_quiet {
        quiet::end();
    }
    if silenced {
        if ignored {
            actions::ignore_samples(false);
        }
        segment::speak_again();
        if everywhere && !was_quiet { threads::resume_all() } else { threads::resume() }
    }
    answer
}

/// Stops the sources of this thread or, with `everywhere`, of all threads: under the filter, the return from a signal
/// handler may end the process. The process records nothing any more.
fn silence(everywhere: bool) {
    if !everywhere {
        return threads::silence();
    }
    // A thread that samples may be replacing its source, so the sources end after the samples.
    sys::sleep_ns(SAMPLE_NS);
    threads::silence_all();
    // The last signals arrive.
    sys::sleep_ns(SAMPLE_NS);
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
    filtered(program, false, || c_long::from(pass())) as c_int
}

/// `syscall` with a call number that may install a filter.
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
    // SECCOMP_FILTER_FLAG_TSYNC.
    filtered(program, number == libc::SYS_seccomp && b & 1 != 0, pass)
}

/// Address of libc's `syscall`, to which ours jumps; 0 until [`resolve`].
static NEXT_SYSCALL: AtomicUsize = AtomicUsize::new(0);

/// Looks up libc's `prctl` and `syscall`, before the program can install a filter.
pub(crate) fn resolve() {
    PRCTL.get();
    NEXT_SYSCALL.store(SYSCALL.get(), Relaxed);
}

/// `syscall`: jumps to libc's, so that this library leaves no frame on the stack, for all calls but the two that may
/// install a filter.
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

/// `syscall`: jumps to libc's, so that this library leaves no frame on the stack, for all calls but the two that may
/// install a filter.
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
