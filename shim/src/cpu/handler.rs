//! A CPU sample: the stack of a thread, and the kind of its work, at the moment when a CPU signal interrupted the
//! thread.
//!
//! Job: check that a CPU signal comes from a source of this thread, walk the stack and write the sample. Invariant:
//! bounded work, no locks, no allocation, and no read of the thread's own CPU clock: such a read would make the kernel
//! reschedule the thread before the tick, and the timer would miss the tick. Neighbours: `signals` (calls this),
//! `stack`, `classify`.

use core::ffi::c_void;

use libc::siginfo_t;
use rscalene_interp::opcodes::{Op, op_kind};
use rscalene_interp::{Memory, collects};
use rscalene_wire::{CpuFlags, CpuKind, CpuSample, Kind, Source};

use crate::arena::ring::Segment;
use crate::arena::segment;
use crate::cpu::{budget, sources};
use crate::ground::guard::Guarded;
use crate::ground::mask;
use crate::ground::slot::Slot;
use crate::ground::sys;
use crate::ground::tls::{FAR, tls};
use crate::python::classify::{Place, place};
use crate::python::evaluation;
use crate::python::interpreter;
use crate::python::labels;
use crate::python::stack;

/// Bytes from the start of a `ucontext_t` to the interrupted program counter.
#[cfg(target_arch = "x86_64")]
const PC: usize = 40 + 16 * 8;
#[cfg(target_arch = "aarch64")]
const PC: usize = 176 + 8 + 31 * 8 + 8;
/// Bytes from the start of a `ucontext_t` to the interrupted stack pointer, which lies just before the program counter.
const SP: usize = PC - 8;
/// Bytes from the start of a `ucontext_t` to the first word of the interrupted signal mask.
#[cfg(target_arch = "x86_64")]
const MASK: usize = 40 + 256;
#[cfg(target_arch = "aarch64")]
const MASK: usize = 40;

/// Number of registers that the compiler uses freely: all but the program counter (x86-64); all but the program counter
/// and the stack pointer (aarch64).
#[cfg(target_arch = "x86_64")]
const REGISTERS: usize = 16;
#[cfg(target_arch = "aarch64")]
const REGISTERS: usize = 31;
/// Bytes from the start of a `ucontext_t` to the first of these registers.
#[cfg(target_arch = "x86_64")]
const REGISTER: usize = PC - REGISTERS * 8;
#[cfg(target_arch = "aarch64")]
const REGISTER: usize = SP - REGISTERS * 8;

/// The registers of the interrupted code.
fn registers(context: *const c_void) -> [u64; REGISTERS] {
    // SAFETY: the kernel passes a ucontext_t, in which the registers lie from `REGISTER` on.
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

/// Makes the interrupted code continue at `pc`.
pub(crate) fn set_program_counter(context: *mut c_void, pc: u64) {
    // SAFETY: as above.
    unsafe { context.cast::<u8>().add(PC).cast::<u64>().write_unaligned(pc) };
}

/// The signal mask of the interrupted code, which the kernel restores when the handler returns.
pub(crate) fn interrupted_mask(context: *const c_void) -> u64 {
    // SAFETY: the kernel passes a ucontext_t, in which the mask lies at `MASK`.
    unsafe { context.cast::<u8>().add(MASK).cast::<u64>().read_unaligned() }
}

/// Makes the interrupted code continue with `signals` blocked in addition.
pub(crate) fn block_behind(context: *mut c_void, signals: u64) {
    let mask = interrupted_mask(context) | signals;
    // SAFETY: as above.
    unsafe { context.cast::<u8>().add(MASK).cast::<u64>().write_unaligned(mask) };
}

/// A signal that a source of this thread sent.
#[derive(PartialEq)]
enum Ours {
    Perf,
    /// The signal reports this number of timer expirations.
    Timer(u64),
}

/// Did a source of this thread, live or ended, send the signal?
///
/// `info` must be the siginfo that the kernel filled.
pub(crate) fn is_ours(info: *const siginfo_t) -> bool {
    whose(info) != Whose::Program
}

/// Who sent a signal.
#[derive(PartialEq)]
enum Whose {
    Program,
    /// A source of this library that has ended.
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
        // Without a slot, SI_TIMER is the last signal of a source that has ended: no timer of this library sends
        // SI_TIMER to the program itself.
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
        // perf reports POLL_IN (1); the descriptor's number distinguishes the perf event from a socket of the program.
        1..=6 if slot.perf_fd.get() >= 0 => match word(24) as i32 {
            fd if fd == slot.perf_fd.get() => Whose::Ours(Ours::Perf),
            fd if fd == slot.former_fd.get() => Whose::Nobody,
            _ => Whose::Program,
        },
        _ => Whose::Program,
    }
}

/// Takes a sample if a source of this library sent the signal. Returns false if the signal is the program's.
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
    // SAFETY: `whose` returns `Ours` only if this thread has a slot, which stays mapped for good.
    let slot = unsafe { &*block.slot.get() };
    if !segment::stopped() {
        // While `busy` is set, the hooks do not record the allocations that this function makes. Its copies do not use
        // up the program's countdown.
        let busy = block.busy.replace(1);
        let copies = block.copy_countdown.replace(FAR);
        take(slot, &ours, context);
        block.copy_countdown.set(copies);
        block.busy.set(busy);
    }
    true
}

/// Was the kernel working for this thread at the tick that made the timer fire?
///
/// For a system call the answer is yes if the signal came on the way out of the call: the program counter then lies
/// behind the call instruction, or on it if the kernel will repeat the call. A page fault leaves no such trace. For a
/// page fault, the answer is yes if the thread has had faults since the last check, and its kernel time has grown more
/// than its user time. The times alone are not enough: the kernel splits the exact clock by ticks and never lowers
/// either part, so the parts are wrong for many ticks.
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
    let trials = slot.trials.get();
    if trials > 0 {
        slot.trials.set(trials.saturating_add(1));
        return;
    }
    let Some(segment) = segment::segment() else { return };
    let begun_ns = sys::now_ns();
    let (timer, expirations) = match ours {
        Ours::Perf => (false, 1),
        Ours::Timer(expirations) => (true, *expirations),
    };
    let beside_perf = timer && slot.source.get() == Source::PERF_AND_TIMER;
    let memory = Guarded::in_handler(mask::blocks_faults(interrupted_mask(context)));
    let system = timer && tick_hit_kernel(slot, &memory, program_counter(context));
    let passed_ns = if timer { slot.passed_ns(expirations) } else { slot.gap_ns.get() };
    let weight_ns = match (timer, beside_perf) {
        // Next to perf, which samples user time, the timer only finds kernel time.
        (_, true) if !system => 0,
        // Without perf, the timer fires at every tick, to find kernel time; samples are due at the interval.
        (true, false) => slot.due(passed_ns, tls()),
        _ => passed_ns,
    };
    if weight_ns > 0 {
        write(slot, &segment, &memory, context, timer, system, weight_ns);
    }
    if !timer && budget::decides() {
        budget::spent(&segment, begun_ns);
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

/// Walks the stack and writes a sample with the weight `weight_ns`.
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
    let mut collecting = false;
    let mut outside = false;
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
        let scratch = unsafe { slot.scratch(true) };
        record.label = labels::of(memory, tstate);
        let walked = stack::capture(segment, layout, memory, tstate, &registers(context), false, scratch);
        if !walked.sent {
            segment.lose(Kind::CpuSample, 1);
            return;
        }
        record.stack = walked.stack;
        collecting = collects(memory, layout, tstate);
        let opcode = stack::opcode(memory, walked.instruction);
        let place = if system || walked.stack == 0 { Place::Library } else { place(pc) };
        if place != Place::Library {
            let calls_c = opcode.is_some_and(|opcode| op_kind(layout.minor, opcode) == Op::CallsC);
            record.kind = if calls_c { CpuKind::NATIVE } else { CpuKind::PYTHON };
            outside = !calls_c && place == Place::Neutral && evaluation::is_outside(pc);
        }
    }
    let flags = CpuFlags::NONE.and_if(timer, CpuFlags::TIMER).and_if(collecting, CpuFlags::COLLECTING);
    let flags = flags.and_if(outside, CpuFlags::OUTSIDE);
    segment.emit_whole(&record, flags, &[]);
}
