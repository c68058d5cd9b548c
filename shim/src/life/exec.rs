//! Programs that this process starts or becomes: exec and posix_spawn.
//!
//! Job: record the clocks of this process before an exec, give the new program the signal mask that this program set,
//! and keep programs in the profiled tree if their parent has cleaned their environment. This file adds `LD_PRELOAD`
//! and `RSCALENE_ARENA` to such an environment and marks both. The library removes marked variables before the new
//! program's `main`, so the new program finds the environment that its parent passed.
//! Invariant: no allocation and no write to shared state in a vfork child, because the child runs in its parent's
//! memory; an environment too long for the stack is passed on unchanged. Callers: programs, through the exported
//! functions. Neighbours: `fork_and_exit` (records the clocks), `start` (reads the variables), `urgent` (mask).

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};

use rscalene_wire::{ARENA_ENV, EndedBy};

use crate::arena::segment;
use crate::ground::real::{Next, call_next};
use crate::ground::shell_text::ShellText;
use crate::ground::{quiet, sys};
use crate::life::fork_and_exit;
use crate::signals::urgent;

static EXECVE: Next = Next::new(c"execve");
static EXECVPE: Next = Next::new(c"execvpe");
static FEXECVE: Next = Next::new(c"fexecve");
static POSIX_SPAWN: Next = Next::new(c"posix_spawn");
static POSIX_SPAWNP: Next = Next::new(c"posix_spawnp");

const PRELOAD_ENV: &str = "LD_PRELOAD";
/// Bytes of the longest `LD_PRELOAD` entry kept: this library's path (`PATH_MAX`) with the variable's name.
pub(crate) const PRELOAD_BYTES: usize = 4224;
/// Bytes of the arena's entry: three numbers, the variable's name and the marks.
const ADDRESS_BYTES: usize = 96;
/// Entries of the longest environment that this file extends. Its pointers take two pages of stack, which every thread
/// has.
const MOST: usize = 1024;
/// Mark: the program passed an `LD_PRELOAD` without this library, and this file put the library in front.
const IN_FRONT: u8 = b'f';
/// Bytes of the longest `LD_PRELOAD` entry made in this way.
const LONGER_BYTES: usize = PRELOAD_BYTES;
/// Names of libraries that must be loaded first: each of them ends a process that loads another library before it.
const SANITIZERS: [&[u8]; 5] = [b"libasan", b"libtsan", b"liblsan", b"libhwasan", b"libclang_rt."];
/// Marks behind the arena's address: which variables this file added, so that the new program does not see them.
const MARKS: [(u8, &str); 2] = [(b'a', ARENA_ENV), (b'p', PRELOAD_ENV)];

/// The two entries as this process received them; each ends with NUL.
struct Kept {
    preload: UnsafeCell<[u8; PRELOAD_BYTES]>,
    address: UnsafeCell<[u8; ADDRESS_BYTES]>,
}

// SAFETY: `remember` writes them in the constructor, before `READY` is raised; they are only read afterwards.
unsafe impl Sync for Kept {}

static KEPT: Kept = Kept { preload: UnsafeCell::new([0; PRELOAD_BYTES]), address: UnsafeCell::new([0; ADDRESS_BYTES]) };
static READY: AtomicBool = AtomicBool::new(false);

/// An array of C strings that ends with null: arguments, or an environment.
type Strings = *const *const c_char;

/// The entries of an environment, to the null at its end.
fn entries(environment: Strings) -> impl Iterator<Item = *const c_char> {
    (0..).map_while(move |at| {
        if environment.is_null() {
            return None;
        }
        // SAFETY: an environment is an array of strings that ends with null, and no null stands before `at`.
        let entry = unsafe { *environment.add(at) };
        (!entry.is_null()).then_some(entry)
    })
}

/// The value of an entry, if the entry is the variable `name`.
fn value<'a>(entry: *const c_char, name: &str) -> Option<&'a [u8]> {
    // SAFETY: each entry ends with NUL.
    let text = unsafe { CStr::from_ptr(entry) }.to_bytes();
    text.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// The value of a variable.
pub(crate) fn variable<'a>(environment: Strings, name: &str) -> Option<&'a [u8]> {
    entries(environment).find_map(|entry| value(entry, name))
}

/// Writes `NAME=value` and NUL; false if `into` is too short.
fn put(into: &mut [u8], name: &str, value: &[u8]) -> bool {
    let bytes = name.bytes().chain(*b"=").chain(value.iter().copied()).chain([0]);
    name.len() + value.len() + 2 <= into.len() && into.iter_mut().zip(bytes).map(|(to, from)| *to = from).count() > 0
}

/// Copies the entries that a new program needs to join this profile, and removes marked entries from the environment.
/// Copies, because the program may overwrite the strings later (`setproctitle` does). Called once, before `main`.
pub(crate) fn remember(environment: Strings) {
    let Some(address) = variable(environment, ARENA_ENV) else { return };
    let preload = variable(environment, PRELOAD_ENV).unwrap_or(b"");
    // The library comes first, before the libraries that the user preloads.
    let library = preload.split(|byte| b": ".contains(byte)).next().unwrap_or(b"");
    let end = address.iter().enumerate().filter(|(_, byte)| **byte == b':').nth(2).map_or(address.len(), |(at, _)| at);
    let (plain, marks) = address.split_at_checked(end).unwrap_or((address, b""));
    // SAFETY: no thread reads them before `READY` is raised, and this function runs once.
    let (to_preload, to_address) = unsafe { (&mut *KEPT.preload.get(), &mut *KEPT.address.get()) };
    let whole = !library.is_empty()
        && put(to_preload, PRELOAD_ENV, library)
        // Leave space for the marks.
        && plain.len() + ARENA_ENV.len() + 8 < ADDRESS_BYTES
        && put(to_address, ARENA_ENV, plain);
    READY.store(whole, Release);
    // A look-up takes locks, which a vfork child must not take: the look-ups happen here.
    for next in [&EXECVE, &EXECVPE, &FEXECVE, &POSIX_SPAWN, &POSIX_SPAWNP] {
        next.get();
    }
    for (mark, name) in MARKS {
        if marks.contains(&mark) {
            remove(environment, name);
        }
    }
    if marks.contains(&IN_FRONT) {
        cut_first(environment, library.len() + 1);
    }
}

/// Removes the first `bytes` bytes of the value of `LD_PRELOAD`.
fn cut_first(environment: Strings, bytes: usize) {
    let Some(entry) = entries(environment).find(|entry| value(*entry, PRELOAD_ENV).is_some()) else { return };
    let to = entry.cast_mut().wrapping_add(PRELOAD_ENV.len() + 1);
    // SAFETY: the entry is the process' own string, which ends with NUL; the bytes cut off lie in the string.
    unsafe {
        let rest = CStr::from_ptr(to).to_bytes_with_nul().len().saturating_sub(bytes);
        core::ptr::copy(to.wrapping_add(bytes), to, rest);
    }
}

fn remove(environment: Strings, name: &str) {
    let mut to = environment.cast_mut();
    for entry in entries(environment) {
        if value(entry, name).is_none() {
            // SAFETY: `to` never runs ahead of the entries read; the array is the process' own and can be written.
            unsafe { to.write(entry) };
            to = to.wrapping_add(1);
        }
    }
    // SAFETY: as above: at the latest, the null stood here.
    unsafe { to.write(core::ptr::null()) };
}

/// Would this file run with the rights of its owner (setuid, setgid)? Its environment then stays unchanged.
fn changes_rights(path: *const c_char) -> bool {
    // SAFETY: all bytes zero is a valid stat.
    let mut facts: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the path is the program's own, checked by the kernel; `facts` is the kernel's struct.
    let failed = unsafe {
        sys::call6(libc::SYS_newfstatat, libc::AT_FDCWD as usize, path as usize, (&raw mut facts) as usize, 0, 0, 0)
    };
    failed == 0 && facts.st_mode & (libc::S_ISUID | libc::S_ISGID) != 0
}

/// Calls `start` with the environment for a new program. Extends the environment if the program belongs in the profiled
/// tree but would leave it.
fn followed(path: *const c_char, environment: Strings, start: impl FnOnce(Strings) -> c_int) -> c_int {
    if quiet::is_on() {
        return left_alone(environment, start);
    }
    let address = variable(environment, ARENA_ENV).is_none();
    let preload = variable(environment, PRELOAD_ENV);
    let replaced = preload.filter(|value| READY.load(Acquire) && lacks_ours(value));
    if !(address || preload.is_none() || replaced.is_some())
        || !READY.load(Acquire)
        || segment::alone()
        || (!path.is_null() && changes_rights(path))
        || entries(environment).count() + 3 > MOST
    {
        return start(environment);
    }
    match replaced {
        Some(theirs) => in_front(environment, address, theirs, start),
        None => {
            extended(environment, address, if preload.is_none() { Some(kept_preload()) } else { None }, b'p', start)
        }
    }
}

/// The entry of `LD_PRELOAD` with only this library.
fn kept_preload() -> *const c_char {
    KEPT.preload.get().cast_const().cast()
}

/// May this library be put in front of this `LD_PRELOAD`? No if the value names the library already, or a sanitizer.
fn lacks_ours(theirs: &[u8]) -> bool {
    // SAFETY: `READY` was raised, so the last write is over, and the entry ends with NUL.
    let entry = unsafe { CStr::from_ptr(kept_preload()) }.to_bytes();
    let ours = entry.get(PRELOAD_ENV.len() + 1..).unwrap_or(b"");
    !theirs.split(|byte| b": ".contains(byte)).any(|library| library == ours) && !has_sanitizer(theirs)
}

/// Does this `LD_PRELOAD` name a library that must be loaded first?
fn has_sanitizer(theirs: &[u8]) -> bool {
    SANITIZERS.into_iter().any(|part: &[u8]| theirs.windows(part.len()).any(|window| window == part))
}

/// Calls `start` with this library in front of the program's own `LD_PRELOAD`.
#[inline(never)]
fn in_front(environment: Strings, address: bool, theirs: &[u8], start: impl FnOnce(Strings) -> c_int) -> c_int {
    let mut text = [0u8; LONGER_BYTES];
    // SAFETY: as in `lacks_ours`.
    let ours = unsafe { CStr::from_ptr(kept_preload()) }.to_bytes();
    if ours.len() + theirs.len() + 2 > text.len() {
        return start(environment);
    }
    let bytes = ours.iter().chain(b":").chain(theirs);
    text.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    extended(environment, address, Some(text.as_ptr().cast()), IN_FRONT, start)
}

/// Calls `start` without the arena's address, so that the shim stays off in the new program: the filter of system calls
/// applies there, too, and the shim's calls could end the program.
#[inline(never)]
fn left_alone(environment: Strings, start: impl FnOnce(Strings) -> c_int) -> c_int {
    let mut shorter = [core::ptr::null::<c_char>(); MOST];
    if entries(environment).count() >= MOST {
        return start(environment);
    }
    let theirs = entries(environment).filter(|entry| value(*entry, ARENA_ENV).is_none());
    shorter.iter_mut().zip(theirs).for_each(|(to, entry)| *to = entry);
    start(shorter.as_ptr())
}

/// Calls `start` with the arena's address and, if given, `preload` added. A separate function because of its large
/// frame.
#[inline(never)]
fn extended(
    environment: Strings,
    address: bool,
    preload: Option<*const c_char>,
    mark: u8,
    start: impl FnOnce(Strings) -> c_int,
) -> c_int {
    let mut longer = [core::ptr::null::<c_char>(); MOST];
    let mut text = [0u8; ADDRESS_BYTES];
    // SAFETY: `READY` was raised, so the last write is over.
    let kept = unsafe { &*KEPT.address.get() };
    let plain = kept.iter().position(|byte| *byte == 0).unwrap_or(0);
    let marks = [if address { b'a' } else { mark }, mark];
    let marks = marks.iter().take(usize::from(address) + usize::from(preload.is_some()));
    let bytes = kept.iter().take(plain).chain(b":").chain(marks);
    text.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let has_preload = variable(environment, PRELOAD_ENV).is_some();
    let theirs = entries(environment).filter(|entry| value(*entry, ARENA_ENV).is_none());
    // If the program has an `LD_PRELOAD`, `preload` takes its place in the array.
    let theirs = theirs.map(|entry| preload.filter(|_| value(entry, PRELOAD_ENV).is_some()).unwrap_or(entry));
    let all = theirs.chain([text.as_ptr().cast()]).chain(preload.filter(|_| !has_preload));
    longer.iter_mut().take(MOST - 1).zip(all).for_each(|(to, entry)| *to = entry);
    start(longer.as_ptr())
}

/// Runs an exec. First records the clocks, because the threads and their clocks end with the old program, and sets the
/// real signal mask to the mask that the program set. If the exec fails, takes the mask back.
fn becoming(exec: impl FnOnce() -> c_int) -> c_int {
    fork_and_exit::end(EndedBy::EXEC, None);
    let leaves = segment::is_own();
    let shown = urgent::show_mask(leaves);
    let answer = exec();
    if shown {
        let _errno = sys::KeepErrno::new();
        urgent::hide_mask(leaves);
    }
    answer
}

/// Would a program that belongs in the profiled tree leave it, given this process' own environment?
pub(crate) fn leaves_the_tree() -> bool {
    let environment = environ();
    let preload = variable(environment, PRELOAD_ENV);
    READY.load(Acquire)
        && !quiet::is_on()
        && !segment::alone()
        && (variable(environment, ARENA_ENV).is_none() || preload.is_none_or(lacks_ours))
        && !preload.is_some_and(has_sanitizer)
}

/// Writes a shell command that exports the variables which such a program lacks, with the marks that make the library
/// remove them.
pub(crate) fn export(text: &mut ShellText) {
    let environment = environ();
    let address = variable(environment, ARENA_ENV).is_none();
    let theirs = variable(environment, PRELOAD_ENV);
    // SAFETY: `READY` was raised, so the last write is over, and both entries end with NUL.
    let (ours, plain) =
        unsafe { (CStr::from_ptr(kept_preload()), CStr::from_ptr(KEPT.address.get().cast_const().cast())) };
    let value = |entry: &'static CStr, name: &str| entry.to_bytes().get(name.len() + 1..).unwrap_or(b"");
    text.add(b"export RSCALENE_ARENA='");
    text.add(value(plain, ARENA_ENV));
    text.add(b":");
    text.add(if address { b"a" } else { b"" });
    let Some(theirs) = theirs.filter(|theirs| !theirs.is_empty()) else {
        text.add(b"p' LD_PRELOAD=");
        text.quote(value(ours, PRELOAD_ENV));
        text.add(b"; ");
        return;
    };
    if lacks_ours(theirs) {
        text.add(b"f' LD_PRELOAD='");
        text.add(value(ours, PRELOAD_ENV));
        text.add(b":'");
        text.quote(theirs);
    } else {
        text.add(b"'");
    }
    text.add(b"; ");
}

fn environ() -> Strings {
    unsafe extern "C" {
        static environ: Strings;
    }
    // SAFETY: libc's own variable.
    unsafe { environ }
}

fn execute(path: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    becoming(|| {
        followed(path, environment, |environment| {
            call_next!(EXECVE, fn(*const c_char, Strings, Strings) -> c_int, (path, arguments, environment), -1)
        })
    })
}

fn search(file: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    becoming(|| {
        followed(core::ptr::null(), environment, |environment| {
            call_next!(EXECVPE, fn(*const c_char, Strings, Strings) -> c_int, (file, arguments, environment), -1)
        })
    })
}

/// `execve`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn execve(path: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    execute(path, arguments, environment)
}

/// `execv`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn execv(path: *const c_char, arguments: Strings) -> c_int {
    execute(path, arguments, environ())
}

/// `execvp`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn execvp(file: *const c_char, arguments: Strings) -> c_int {
    search(file, arguments, environ())
}

/// `execvpe`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn execvpe(file: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    search(file, arguments, environment)
}

/// `fexecve`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn fexecve(descriptor: c_int, arguments: Strings, environment: Strings) -> c_int {
    becoming(|| {
        followed(core::ptr::null(), environment, |environment| {
            call_next!(FEXECVE, fn(c_int, Strings, Strings) -> c_int, (descriptor, arguments, environment), -1)
        })
    })
}

macro_rules! spawning {
    ($name:ident, $next:ident, $path:expr, $doc:literal) => {
        #[doc = $doc]
        ///
        /// # Safety
        /// As libc's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            pid: *mut libc::pid_t,
            path: *const c_char,
            actions: *const c_void,
            attributes: *const c_void,
            arguments: Strings,
            environment: Strings,
        ) -> c_int {
            let shown = urgent::show_mask(false);
            let checked: fn(*const c_char) -> *const c_char = $path;
            let answer = followed(checked(path), environment, |environment| {
                call_next!(
                    $next,
                    fn(*mut libc::pid_t, *const c_char, *const c_void, *const c_void, Strings, Strings) -> c_int,
                    (pid, path, actions, attributes, arguments, environment),
                    libc::ENOSYS
                )
            });
            if shown {
                urgent::hide_mask(false);
            }
            answer
        }
    };
}
spawning!(posix_spawn, POSIX_SPAWN, |path| path, "`posix_spawn`.");
spawning!(posix_spawnp, POSIX_SPAWNP, |_| core::ptr::null(), "`posix_spawnp`.");
