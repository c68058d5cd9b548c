//! One CPU sample: what the thread was doing when its CPU clock came round.
//!
//! Invariant: bounded work, no locks, no allocation, and no read of the thread's own CPU clock (which would make the
//! kernel reschedule it before the tick and blind the timer). Neighbours: `signals` (calls this), `stack`, `classify`.

use core::ffi::c_void;

use libc::siginfo_t;
use rscalene_interp::Memory;
use rscalene_interp::opcodes::{Op, op_kind};
use rscalene_wire::{CpuFlags, CpuKind, CpuSample, Kind, Source};

use crate::arena::ring::Segment;
use crate::arena::segment;
use crate::cpu::sources;
use crate::ground::guard::Guarded;
use crate::ground::mask;
use crate::ground::slot::Slot;
use crate::ground::sys;
use crate::ground::tls::tls;
use crate::python::classify::{Place, place};
use crate::python::interpreter;
use crate::python::labels;
use crate::python::stack;

/// Bytes from the start of a `ucontext_t` to the interrupted program counter.
#[cfg(target_arch = "x86_64")]
const PC: usize = 40 + 16 * 8;
#[cfg(target_arch = "aarch64")]
const PC: usize = 176 + 8 + 31 * 8 + 8;
/// Bytes from the start of a `ucontext_t` to the interrupted stack pointer, which stands before the counter.
const SP: usize = PC - 8;
/// Bytes from the start of a `ucontext_t` to the first word of the interrupted signal mask.
#[cfg(target_arch = "x86_64")]
const MASK: usize = 40 + 256;
#[cfg(target_arch = "aarch64")]
const MASK: usize = 40;

/// Registers that hold whatever the compiler likes: all but the program counter (x86-64), and the stack pointer (aarch64).
#[cfg(target_arch = "x86_64")]
const REGISTERS: usize = 16;
#[cfg(target_arch = "aarch64")]
const REGISTERS: usize = 31;
/// Bytes from the start of a `ucontext_t` to the first of them.
#[cfg(target_arch = "x86_64")]
const REGISTER: usize = PC - REGISTERS * 8;
#[cfg(target_arch = "aarch64")]
const REGISTER: usize = SP - REGISTERS * 8;

/// What the interrupted code had in its registers.
fn registers(context: *const c_void) -> [u64; REGISTERS] {
    // SAFETY: the kernel passes a ucontext_t, in which they lie from `REGISTER` on.
    unsafe { context.cast::<u8>().add(REGISTER).cast::<[u64; REGISTERS]>().read_unaligned() }
}

/// The interrupted program counter.
pub(crate) fn program_counter(context: *const c_void) -> u64 {
    // SAFETY: the kernel passes a ucontext_t, in which the counter lies at `PC`.
    unsafe { context.cast::<u8>().add(PC).cast::<u64>().read_unaligned() }
}

/// The interrupted stack pointer.
fn stack_pointer(context: *const c_void) -> u64 {
    // SAFETY: the kernel passes a ucontext_t, in which the pointer lies at `SP`.
    unsafe { context.cast::<u8>().add(SP).cast::<u64>().read_unaligned() }
}

/// Has the interrupted code go on elsewhere.
pub(crate) fn set_program_counter(context: *mut c_void, pc: u64) {
    // SAFETY: as above.
    unsafe { context.cast::<u8>().add(PC).cast::<u64>().write_unaligned(pc) };
}

/// The mask that the interrupted code had, and will have again.
pub(crate) fn interrupted_mask(context: *const c_void) -> u64 {
    // SAFETY: the kernel passes a ucontext_t, in which the mask lies at `MASK`.
    unsafe { context.cast::<u8>().add(MASK).cast::<u64>().read_unaligned() }
}

/// Has the interrupted code go on with more signals blocked.
pub(crate) fn block_behind(context: *mut c_void, signals: u64) {
    let mask = interrupted_mask(context) | signals;
    // SAFETY: as above.
    unsafe { context.cast::<u8>().add(MASK).cast::<u64>().write_unaligned(mask) };
}

/// A signal of ours, told from one of the program's own.
#[derive(PartialEq)]
enum Ours {
    Perf,
    /// With the number of expirations that the signal stands for.
    Timer(u64),
}

/// Is the signal one of this thread's sources'?
///
/// `info` must be what the kernel filled.
pub(crate) fn is_ours(info: *const siginfo_t) -> bool {
    whose(info) != Whose::Program
}

/// Who sent a signal.
#[derive(PartialEq)]
enum Whose {
    Program,
    /// A source of ours that is gone.
    Nobody,
    Ours(Ours),
}

fn whose(info: *const siginfo_t) -> Whose {
    let block = tls();
    let slot = block.slot.get();
    // SAFETY: the kernel filled the siginfo.
    let code = unsafe { (*info).si_code };
    let word = |at: usize| {
        // SAFETY: a siginfo is 128 bytes; the union's fields start at byte 16.
        unsafe { info.cast::<u8>().add(at).cast::<u32>().read_unaligned() }
    };
    if slot.is_null() || block.generation.get() != segment::generation() {
        // A last signal of a source that is gone; the program itself is never sent SI_TIMER by a timer of ours.
        return if code == libc::SI_TIMER && slot.is_null() { Whose::Nobody } else { Whose::Program };
    }
    // SAFETY: a non-null slot of this generation is this thread's own, mapped for good.
    let slot = unsafe { &*slot };
    match code {
        libc::SI_TIMER => {
            let value = u64::from(word(24)) | u64::from(word(28)) << 32;
            if value == core::ptr::from_ref(slot) as u64 {
                Whose::Ours(Ours::Timer(1 + u64::from(word(20))))
            } else {
                Whose::Program
            }
        }
        // POLL_IN (1) is what perf reports; the descriptor's number tells ours from a socket's.
        1..=6 if slot.perf_fd.get() >= 0 => match word(24) as i32 {
            fd if fd == slot.perf_fd.get() => Whose::Ours(Ours::Perf),
            fd if fd == slot.former_fd.get() => Whose::Nobody,
            _ => Whose::Program,
        },
        _ => Whose::Program,
    }
}

/// Takes a sample if the signal is ours; false leaves it to the program.
///
/// # Safety
/// `info` and `context` must be what the kernel passed to the handler.
pub(crate) unsafe fn sample(info: *const siginfo_t, context: *const c_void) -> bool {
    let ours = match whose(info) {
        Whose::Program => return false,
        Whose::Nobody => return true,
        Whose::Ours(ours) => ours,
    };
    let block = tls();
    // SAFETY: a signal is ours only where this thread has a slot, mapped for good.
    let slot = unsafe { &*block.slot.get() };
    if !segment::stopped() {
        // Our own copies and allocations in here are nobody's.
        let busy = block.busy.replace(1);
        take(slot, &ours, context);
        block.busy.set(busy);
    }
    true
}

/// Did the tick that made the timer fire hit the kernel at work for this thread?
///
/// In a system call it did if the signal came on the way out of one: the program counter then stands behind the call, or
/// on it where it will be made again. A page fault leaves no such trace; there, the thread's kernel time must have grown
/// more than its user time since the last look, and faults must have happened. The times alone would not do: the kernel
/// splits the exact clock by ticks and never takes back, so that they lag behind the truth for many ticks.
fn tick_hit_kernel(slot: &Slot, memory: &Guarded, pc: u64) -> bool {
    let (user, system, faults) = sys::usage(libc::RUSAGE_THREAD);
    let (last_user, last_system, last_faults) = slot.last_usage.replace((user, system, faults));
    is_system_call(memory, pc.wrapping_sub(SYSTEM_CALL_BYTES))
        || is_system_call(memory, pc)
        || (faults != last_faults && system.saturating_sub(last_system) > user.saturating_sub(last_user))
}

/// Length of the instruction that enters the kernel.
#[cfg(target_arch = "x86_64")]
const SYSTEM_CALL_BYTES: u64 = 2;
#[cfg(target_arch = "aarch64")]
const SYSTEM_CALL_BYTES: u64 = 4;

#[cfg(target_arch = "x86_64")]
fn is_system_call(memory: &Guarded, pc: u64) -> bool {
    memory.u16(pc) == Some(0x050f)
}
#[cfg(target_arch = "aarch64")]
fn is_system_call(memory: &Guarded, pc: u64) -> bool {
    memory.u32(pc) == Some(0xd400_0001)
}

fn take(slot: &Slot, ours: &Ours, context: *const c_void) {
    let Some(segment) = segment::segment() else { return };
    let (timer, expirations) = match ours {
        Ours::Perf => (false, 1),
        Ours::Timer(expirations) => (true, *expirations),
    };
    let beside_perf = timer && slot.source.get() == Source::PERF_AND_TIMER;
    let memory = Guarded::in_handler(mask::blocks_faults(interrupted_mask(context)));
    let system = timer && tick_hit_kernel(slot, &memory, program_counter(context));
    let passed_ns = if timer { slot.passed_ns(expirations) } else { slot.gap_ns.get() };
    let weight_ns = match (timer, beside_perf) {
        // Beside perf, which samples user time, the timer only places kernel time.
        (_, true) if !system => 0,
        // Alone it comes at every tick, to tell its kernel time apart; samples are due at the interval.
        (true, false) => slot.due(passed_ns, tls()),
        _ => passed_ns,
    };
    if weight_ns > 0 {
        write(slot, &segment, &memory, context, timer, system, weight_ns);
    }
    if beside_perf {
        slot.pace_timer(system);
    }
    if (!timer || beside_perf)
        && let Some(period_ns) = slot.vary_perf(passed_ns, !timer, tls())
    {
        sources::replace_perf(slot, period_ns);
    }
}

/// Walks the stack and sends a sample that stands for `weight_ns`.
fn write(
    slot: &Slot,
    segment: &Segment,
    memory: &Guarded,
    context: *const c_void,
    timer: bool,
    system: bool,
    weight_ns: u64,
) {
    let pc = program_counter(context);
    let python = interpreter::python();
    let own = python.thread_state();
    let mut record = CpuSample {
        time_ns: sys::now_ns(),
        pc,
        weight_ns,
        tid: slot.tid.get(),
        kind: if system { CpuKind::SYSTEM } else { CpuKind::NATIVE },
        ..CpuSample::default()
    };
    if own != 0
        && let Some(layout) = python.layout()
    {
        let tstate = python.running_state(layout, memory, stack_pointer(context));
        // SAFETY: this is the slot's own thread, and handlers of this signal do not nest.
        let room = unsafe { slot.scratch(true) };
        record.label = labels::of(memory, tstate);
        let walked = stack::capture(segment, layout, memory, tstate, &registers(context), false, room);
        if !walked.sent {
            segment.lose(Kind::CpuSample, 1);
            return;
        }
        record.stack = walked.stack;
        let opcode = stack::opcode(memory, walked.instruction);
        if !system && walked.stack != 0 && place(pc) == Place::Neutral {
            let calls_c = opcode.is_some_and(|opcode| op_kind(layout.minor, opcode) == Op::CallsC);
            record.kind = if calls_c { CpuKind::NATIVE } else { CpuKind::PYTHON };
        }
    }
    segment.emit_whole(&record, CpuFlags::NONE.and_if(timer, CpuFlags::TIMER), &[]);
}
