//! The start: decides whether this process is to be profiled.
//!
//! Job: run before `main`, look for the arena in the environment and for CPython's symbols in the process, and arm
//! sampling if both are there. In every other process that inherits the preload, the library stays off after a few
//! string compares. Neighbours: `interpreter` (examines the interpreter), `fork_and_exit`, `threads`, `signals`.

use core::ffi::{c_char, c_int};

use crate::arena::segment;
use crate::cpu::threads;
use crate::ground::real::{clear_error, global_symbol};
use crate::ground::sys;
use crate::life::exec;
use crate::life::fork_and_exit;
use crate::life::seccomp;
use crate::life::shell;
use crate::memory::preload::{self, foreign};
use crate::memory::{pymem_install, sample};
use crate::python::interpreter;
use crate::python::{classify, evaluation};
use crate::signals::actions as signals;

extern "C" fn constructor(_: c_int, _: *const *const c_char, environment: *const *const c_char) {
    let _errno = sys::KeepErrno::new();
    let Some((launcher, fd, nonce)) = arena_variable(environment) else { return };
    exec::remember(environment);
    shell::resolve();
    preload::resolve();
    seccomp::resolve();
    let initialized = global_symbol(c"Py_IsInitialized");
    if initialized != 0 && segment::open_arena(launcher, fd, nonce) && !segment::stopped() {
        arm(environment as u64);
    }
    clear_error();
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = constructor;

/// The oldest interpreter for which totals are recorded, as `PY_VERSION_HEX`.
const OLDEST: u32 = 0x030b_0000;

fn arm(first_stack_end: u64) {
    if !segment::claim() {
        return;
    }
    signals::install();
    sample::when_python_is_up(pymem_install::install);
    let (mut python, refused) = interpreter::inspect();
    // The kernel puts a program's environment above the program's stack.
    python.first_stack_end = first_stack_end;
    classify::note_objects(python.calls.initialized as u64);
    evaluation::find();
    // SAFETY: the constructor runs before `main`, once.
    unsafe { interpreter::publish(python) };
    fork_and_exit::announce(false);
    foreign::announce();
    if let Some(reason) = refused {
        segment::notice(reason.0, reason.1);
        if python.version < OLDEST {
            return;
        }
    }
    fork_and_exit::watch_forks();
    fork_and_exit::watch_exit();
    threads::start();
}

/// The arena's variable in the environment: launcher's pid, descriptor, nonce.
fn arena_variable(environment: *const *const c_char) -> Option<(u32, u32, u64)> {
    let mut parts = exec::variable(environment, rscalene_wire::ARENA_ENV)?.split(|byte| *byte == b':');
    let launcher = number(parts.next()?, 10)?;
    let fd = number(parts.next()?, 10)?;
    let nonce = number(parts.next()?, 16)?;
    Some((u32::try_from(launcher).ok()?, u32::try_from(fd).ok()?, nonce))
}

fn number(text: &[u8], base: u32) -> Option<u64> {
    let mut value = 0u64;
    for byte in text {
        let digit = char::from(*byte).to_digit(base)?;
        value = value.checked_mul(u64::from(base))?.checked_add(u64::from(digit))?;
    }
    (!text.is_empty()).then_some(value)
}
