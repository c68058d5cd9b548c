//! The program's view of this library's signals: actions and mask.
//!
//! Job: SIGURG carries samples, and handlers of SIGSEGV and SIGBUS make guarded loads safe; hide all three from the
//! program. Invariant: once armed, this library's actions are the real actions of these three signals. `WANTED` holds
//! the program's own actions, for answers to the program, for calls of its handlers and for restoring. SIGURG stays
//! really open (a thread with blocked SIGURG would not be sampled) until `urgent` blocks it; the thread's block holds
//! the mask set by the program. Neighbours: `handler`, `guard`.

use core::ffi::c_void;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use libc::{c_int, sigaction as Action, siginfo_t, sigset_t};

use crate::cpu::{handler, threads};
use crate::ground::mask::{
    self, BLOCKED, HANDED_OVER, SAMPLE, SIGMASK, bit, blocks_faults, first_word, real_mask, set_first_word,
};
use crate::ground::real::{Next, call_next};
use crate::ground::sys;
use crate::ground::tls::tls;
use crate::ground::{faults, guard};
use crate::signals::urgent;

const OURS: [c_int; 3] = [SAMPLE, libc::SIGSEGV, libc::SIGBUS];

static SIGACTION: Next = Next::new(c"sigaction");
static PROCMASK: Next = Next::new(c"sigprocmask");

/// An action set by the program: handler, flags and mask, each read whole.
struct Wanted {
    handler: AtomicUsize,
    flags: AtomicUsize,
    mask: AtomicU64,
}

impl Wanted {
    const fn new() -> Self {
        Self { handler: AtomicUsize::new(libc::SIG_DFL), flags: AtomicUsize::new(0), mask: AtomicU64::new(0) }
    }

    fn store(&self, action: &Action) {
        self.flags.store(action.sa_flags as usize, Relaxed);
        self.mask.store(first_word(&action.sa_mask), Relaxed);
        self.handler.store(action.sa_sigaction, Release);
    }

    fn load(&self) -> Action {
        // SAFETY: all bytes zero is a valid sigaction.
        let mut action: Action = unsafe { core::mem::zeroed() };
        action.sa_sigaction = self.handler.load(Acquire);
        action.sa_flags = self.flags.load(Relaxed) as c_int;
        set_first_word(&mut action.sa_mask, self.mask.load(Relaxed));
        action
    }
}

static WANTED: [Wanted; 3] = [Wanted::new(), Wanted::new(), Wanted::new()];

fn index(signal: c_int) -> Option<usize> {
    OURS.iter().position(|ours| *ours == signal)
}

fn real_action(signal: c_int, new: *const Action, old: *mut Action) -> c_int {
    call_next!(SIGACTION, fn(c_int, *const Action, *mut Action) -> c_int, (signal, new, old), -1)
}

/// The action really installed for a signal of this library while the program wants `wanted`.
fn our_action(signal: c_int, wanted: &Action) -> Action {
    // SAFETY: all bytes zero is a valid sigaction.
    let mut action: Action = unsafe { core::mem::zeroed() };
    if signal == SAMPLE {
        action.sa_sigaction = on_sample as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    } else {
        action.sa_sigaction = on_fault as *const () as usize;
        let has_handler = wanted.sa_sigaction != libc::SIG_DFL && wanted.sa_sigaction != libc::SIG_IGN;
        action.sa_flags = libc::SA_SIGINFO
            | if has_handler { wanted.sa_flags & !libc::SA_RESETHAND } else { libc::SA_ONSTACK | libc::SA_NODEFER };
        set_first_word(&mut action.sa_mask, first_word(&wanted.sa_mask) & !bit(SAMPLE));
    }
    action
}

/// Which actions of [`OURS`] are installed for sampling by `Profiler`, until `end`.
static ON_LOAN: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

/// Installs the handlers of faults only, for sampling by `Profiler`. Leaves a handler as it is if another handler lies
/// above.
pub(crate) fn borrow_faults() {
    faults::ask_for(on_fault as *const () as usize);
    for (signal, wanted, on_loan) in faults() {
        if !on_loan.swap(true, Relaxed) {
            place(signal, wanted);
        }
    }
}

/// Removes the handlers of faults that no other handler has replaced.
pub(crate) fn give_faults_back() {
    for (signal, wanted, on_loan) in faults() {
        if on_loan.load(Relaxed) && sys::action_of(signal) == on_fault as *const () as usize {
            let before = wanted.load();
            real_action(signal, &raw const before, core::ptr::null_mut());
            on_loan.store(false, Relaxed);
        }
    }
}

fn faults() -> impl Iterator<Item = (c_int, &'static Wanted, &'static AtomicBool)> {
    OURS.iter().zip(&WANTED).zip(&ON_LOAN).skip(1).map(|((signal, wanted), on_loan)| (*signal, wanted, on_loan))
}

/// Installs this library's action, and stores the program's action in `wanted`.
fn place(signal: c_int, wanted: &Wanted) {
    // SAFETY: all bytes zero is a valid sigaction.
    let mut old: Action = unsafe { core::mem::zeroed() };
    real_action(signal, core::ptr::null(), &raw mut old);
    wanted.store(&old);
    let ours = our_action(signal, &old);
    real_action(signal, &raw const ours, core::ptr::null_mut());
}

/// Installs this library's actions, and stores the program's own in [`WANTED`].
pub(crate) fn install() {
    if !mask::begin_install() {
        return;
    }
    for (signal, wanted) in OURS.iter().zip(&WANTED) {
        place(*signal, wanted);
    }
}

/// Makes the kernel drop SIGURG, or deliver it to this library again. Returns false if the program has a handler of its
/// own for SIGURG.
pub(crate) fn ignore_samples(ignore: bool) -> bool {
    let Some(wanted) = WANTED.first().filter(|_| mask::installed()) else { return false };
    let mut action = wanted.load();
    if ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction) {
        return false;
    }
    if ignore {
        action.sa_sigaction = libc::SIG_IGN;
    } else {
        action = our_action(SAMPLE, &action);
    }
    real_action(SAMPLE, &raw const action, core::ptr::null_mut()) == 0
}

/// Handler of SIGURG: takes a sample, or handles the program's own signal.
unsafe extern "C" fn on_sample(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let _errno = sys::KeepErrno::new();
    // SAFETY: the kernel passes a valid siginfo and context to an SA_SIGINFO handler.
    if unsafe { handler::sample(info, context) } {
        urgent::yield_to_descriptor(context);
    } else if !urgent::hold(info, context) {
        urgent::restore(info);
        chain(0, signal, info, context);
    }
}

/// Handler of SIGSEGV and SIGBUS: a guarded load has faulted, or the program.
unsafe extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gave a valid siginfo.
    let code = unsafe { (*info).si_code };
    // A signal that a process sent may come at a guarded load, too, and is none of its faults.
    if code > 0
        && let Some(recovery) = guard::recovery(handler::program_counter(context))
    {
        handler::set_program_counter(context, recovery);
        return;
    }
    match faults::keep(signal, code) {
        Some(true) => return,
        // The thread blocks the signal: do as the kernel would, and set the default action, which applies when the
        // instruction runs again.
        Some(false) => return default_action(signal),
        None => {}
    }
    if let Some(at) = index(signal) {
        chain(at, signal, info, context);
    }
}

/// Sets the kernel's default action.
fn default_action(signal: c_int) {
    // SAFETY: all bytes zero is a valid sigaction (SIG_DFL).
    let default: Action = unsafe { core::mem::zeroed() };
    real_action(signal, &raw const default, core::ptr::null_mut());
}

/// Does what the program's own action would do.
fn chain(at: usize, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(wanted) = WANTED.get(at) else { return };
    let action = wanted.load();
    match action.sa_sigaction {
        libc::SIG_IGN if signal == SAMPLE => {}
        libc::SIG_DFL if signal == SAMPLE => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // A fault with no handler: set the default action; the kernel applies it when the instruction runs again,
            // or when the signal comes again that a process sent. An ignored fault is deadly as well.
            // SAFETY: the kernel gave a valid siginfo.
            let sent = unsafe { (*info).si_code } <= 0;
            if sent && action.sa_sigaction == libc::SIG_IGN {
                return;
            }
            default_action(signal);
            if sent {
                sys::signal_thread(signal as usize);
            }
        }
        function => {
            if action.sa_flags & libc::SA_RESETHAND != 0 {
                wanted.handler.store(libc::SIG_DFL, Release);
            }
            if action.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: the program registered a three-argument handler for this signal.
                let function: unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                    unsafe { core::mem::transmute(function) };
                // SAFETY: called as the kernel would have called it.
                unsafe { function(signal, info, context) };
            } else {
                // SAFETY: the program registered a one-argument handler for this signal.
                let function: unsafe extern "C" fn(c_int) = unsafe { core::mem::transmute(function) };
                // SAFETY: called as the kernel would have called it.
                unsafe { function(signal) };
            }
        }
    }
}

/// `sigaction`: answers for this library's three signals from [`WANTED`], passes the rest through.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(signal: c_int, new: *const Action, old: *mut Action) -> c_int {
    let at = if mask::installed() { index(signal) } else { None };
    let Some(wanted) = at.and_then(|at| WANTED.get(at)) else { return real_action(signal, new, old) };
    let before = wanted.load();
    if !new.is_null() && threads::is_vfork_child() {
        // The kernel's table is the child's own, but `WANTED` is the parent's. CPython's `subprocess` resets the
        // handlers in its vfork children.
        real_action(signal, new, core::ptr::null_mut());
    } else if !new.is_null() {
        // SAFETY: the caller passes a valid action or null.
        let new = unsafe { *new };
        wanted.store(&new);
        if signal != SAMPLE {
            let ours = our_action(signal, &new);
            real_action(signal, &raw const ours, core::ptr::null_mut());
        }
    }
    if !old.is_null() {
        // SAFETY: the caller passes room for an action or null.
        unsafe { old.write(before) };
    }
    0
}

/// `signal`: BSD semantics, as glibc's.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn signal(number: c_int, function: usize) -> usize {
    // SAFETY: all bytes zero is a valid sigaction.
    let (mut new, mut old): (Action, Action) = unsafe { (core::mem::zeroed(), core::mem::zeroed()) };
    new.sa_sigaction = function;
    new.sa_flags = libc::SA_RESTART;
    if (1..=64).contains(&number) {
        set_first_word(&mut new.sa_mask, bit(number));
    }
    // SAFETY: both pointers are to local variables.
    if unsafe { sigaction(number, &raw const new, &raw mut old) } == 0 { old.sa_sigaction } else { libc::SIG_ERR }
}

/// Blocks, unblocks or sets signals, but leaves SIGURG open; `old` gets the mask set by the program.
fn change_mask(next: &Next, how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int {
    if !mask::installed() {
        return real_mask(next, how, new, old);
    }
    let tls = tls();
    let before = tls.masked.get();
    let answer = if new.is_null() {
        real_mask(next, how, new, old)
    } else {
        // SAFETY: the caller passes a valid set or null.
        let mut set = unsafe { *new };
        let word = first_word(&set);
        let asked = u32::from(word & bit(SAMPLE) != 0) | (u32::from(blocks_faults(word)) << 1);
        let after = match how {
            libc::SIG_BLOCK => before | asked,
            libc::SIG_UNBLOCK => before & !asked,
            libc::SIG_SETMASK => asked | before & HANDED_OVER,
            _ => before,
        };
        let stays = after & HANDED_OVER != 0 && after & BLOCKED != 0;
        let opens = how == libc::SIG_UNBLOCK || (how == libc::SIG_SETMASK && stays);
        set_first_word(&mut set, if opens { word } else { word & !bit(SAMPLE) });
        // The kernel delivers pending signals before the call returns, so the program's mask is stored first.
        tls.masked.set(after);
        if after & BLOCKED == 0 {
            urgent::take_back(tls, false);
        }
        let answer = real_mask(next, how, &raw const set, old);
        if answer != 0 {
            tls.masked.set(before);
        }
        answer
    };
    if answer == 0 && !old.is_null() && before & BLOCKED != 0 {
        // SAFETY: the real call has just filled `old`.
        let set = unsafe { &mut *old };
        let word = first_word(set);
        set_first_word(set, word | bit(SAMPLE));
    }
    answer
}

/// `pthread_sigmask`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int {
    change_mask(&SIGMASK, how, new, old)
}

/// `sigprocmask`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigprocmask(how: c_int, new: *const sigset_t, old: *mut sigset_t) -> c_int {
    change_mask(&PROCMASK, how, new, old)
}
