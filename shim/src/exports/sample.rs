//! Sampling for the extension module in this process: without a launcher and without preload.
//!
//! Job: begin and end sampling when the module calls, and pass the module's records to a launcher. Between `begin` and
//! `end`, this file changes the tables of the loaded libraries (`memory::tables::got`), the functions of the
//! interpreter's MEM and OBJ domains and of its arenas (`memory::pymem`), and the actions of SIGSEGV and SIGBUS.
//! Invariant: after `end` all of them are as before, unless other code has put functions above this library's; this
//! library's functions then only forward calls. Blocks that were taken from RAW meanwhile are freed like any other,
//! because the interpreter passes them to `free` by itself.
//! Neighbours: `wire::tap` is the contract, `src/inprocess` drains the records.

use rscalene_wire::{
    ArenaHeader, LABEL_BYTES, Label, LabelVariable, NoFlags, Query, QueryMark, Section, SectionMark, Span, TAP_VERSION,
    TapAnswer, TapTable,
};

use crate::arena::segment;
use crate::cpu::threads;
use crate::exports::count as exact;
use crate::ground::quiet;
use crate::ground::sys;
use crate::ground::tls::Busy;
use crate::life::fork_and_exit;
use crate::memory::{pymem_install, sample};
use crate::python::interpreter;
use crate::python::labels;
use crate::python::selftest;
use crate::python::stack;
use crate::signals::actions;

static TABLE: TapTable =
    TapTable { version: TAP_VERSION, begin, end, section, follow, define_label, span, query, keep_thread_out };

/// The table of functions for sampling.
#[unsafe(no_mangle)]
extern "C" fn rscalene_tap() -> *const TapTable {
    &raw const TABLE
}

unsafe extern "C" fn begin(arena: *mut ArenaHeader, keep_out: usize) -> u32 {
    let _errno = sys::KeepErrno::new();
    // SAFETY: passes the caller's promise on.
    (unsafe { try_begin(arena, keep_out) }) as u32
}

unsafe fn try_begin(arena: *mut ArenaHeader, keep_out: usize) -> TapAnswer {
    if segment::segment().is_some() {
        return TapAnswer::Preloaded;
    }
    if !exact::reach() {
        return TapAnswer::NoAllocator;
    }
    if exact::preloaded() {
        return TapAnswer::Preloaded;
    }
    actions::borrow_faults();
    // SAFETY: passes the caller's promise on.
    let answer = unsafe { begin_guarded(arena, keep_out) };
    if answer != TapAnswer::Begun {
        actions::give_faults_back();
    }
    answer
}

/// The rest of [`try_begin`], once the handlers of faults are installed and loads are guarded.
unsafe fn begin_guarded(arena: *mut ArenaHeader, keep_out: usize) -> TapAnswer {
    if !interpreter::adopt() {
        return TapAnswer::NoFrames;
    }
    threads::make_key();
    fork_and_exit::watch_forks();
    stack::forget_all();
    // SAFETY: the GIL is held, there is no segment, and the module keeps the mapping until `end` has returned.
    if !unsafe { segment::lend(arena) } {
        return TapAnswer::NoMemory;
    }
    let answer = if !selftest::passes_now() {
        TapAnswer::NoFrames
    } else if !pymem_install::start_in_process(exact::on_top()) {
        TapAnswer::NoAllocator
    } else {
        exact::patch(keep_out);
        return TapAnswer::Begun;
    };
    segment::take_back();
    answer
}

unsafe extern "C" fn end() {
    let _errno = sys::KeepErrno::new();
    // No arena is lent if a launcher profiles this process, or if sampling was not begun.
    if !segment::lent() {
        return;
    }
    sample::stop();
    pymem_install::settle();
    exact::give_way();
    pymem_install::settle();
    segment::take_back();
    actions::give_faults_back();
    sample::forget_all();
    stack::forget_all();
}

/// Longer names are cut.
const NAME_BYTES: usize = 1024;

unsafe extern "C" fn section(section: u32, mark: SectionMark, own_ns: u64, name: *const u8, bytes: usize) -> u32 {
    let _errno = sys::KeepErrno::new();
    let Some(segment) = segment::segment().filter(|_| !segment::lent() && !quiet::is_on()) else { return 0 };
    let cpu_ns = sys::clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID).saturating_sub(own_ns);
    let record = Section { time_ns: sys::now_ns(), cpu_ns, section, mark };
    // SAFETY: the caller's promise.
    let name = unsafe { core::slice::from_raw_parts(name, bytes.min(NAME_BYTES)) };
    segment.emit_whole(&record, NoFlags, name);
    1
}

extern "C" fn keep_thread_out() {
    Busy::for_good();
}

unsafe extern "C" fn follow(variable: *const LabelVariable) -> u32 {
    if segment::segment().is_none() {
        return 0;
    }
    // SAFETY: the caller's promise: a valid variable, with the GIL held.
    unsafe { labels::follow(*variable) };
    1
}

unsafe extern "C" fn define_label(label: u32, text: *const u8, bytes: usize) -> u32 {
    let _errno = sys::KeepErrno::new();
    let Some(_using) = segment::using().filter(|_| !quiet::is_on()) else { return 0 };
    let Some(segment) = segment::segment().filter(|_| label != 0 && bytes <= LABEL_BYTES) else { return 0 };
    // SAFETY: the caller's promise.
    let text = unsafe { core::slice::from_raw_parts(text, bytes) };
    let record = Label { time_ns: sys::now_ns(), label, text_bytes: bytes as u32 };
    u32::from(segment.emit_whole(&record, NoFlags, text))
}

unsafe extern "C" fn span(label: u32, name: u32, wall_ns: u64, cpu_ns: u64, count: u32) -> u32 {
    let _errno = sys::KeepErrno::new();
    let (Some(_using), Some(_busy)) = (segment::using(), Busy::enter()) else { return 0 };
    let Some(segment) = segment::segment().filter(|_| !quiet::is_on()) else { return 0 };
    let (stack, sent) = sample::running_stack(&segment);
    let record = Span {
        time_ns: sys::now_ns(),
        wall_ns,
        cpu_ns,
        stack: if sent { stack } else { 0 },
        tid: sample::thread(),
        label,
        name,
        count,
    };
    u32::from(segment.emit(&record))
}

unsafe extern "C" fn query(query: *mut Query) -> u32 {
    let _errno = sys::KeepErrno::new();
    let (Some(_using), Some(_busy)) = (segment::using(), Busy::enter()) else { return 0 };
    let Some(segment) = segment::segment().filter(|_| !quiet::is_on()) else { return 0 };
    // SAFETY: the caller's promise: a valid record that is its own.
    let query = unsafe { &mut *query };
    query.time_ns = sys::now_ns();
    if query.mark == QueryMark::BEGIN || query.mark == QueryMark::BUILT {
        let (stack, sent) = sample::running_stack(&segment);
        query.stack = if sent { stack } else { 0 };
        query.label = labels::current();
    }
    u32::from(segment.emit(query))
}
