//! Programs that this process starts by libc's shell: `system` and `popen`.
//!
//! Job: keep such programs in the profiled tree after the program has cleaned its environment. libc starts the shell by
//! calls that no library can intercept. So this file changes the command: it exports the two variables, marked as in
//! `exec`, and then becomes a second shell. The library in the second shell removes the variables before the shell
//! reads its environment. Invariant: the second shell runs the same command under the same name; a command that cannot
//! be wrapped runs unchanged. Neighbour: `exec` knows which variables to export.

use core::ffi::{CStr, c_char, c_int};

use crate::ground::real::{Next, call_next};
use crate::ground::shell_text::ShellText;
use crate::life::exec;

static SYSTEM: Next = Next::new(c"system");
static POPEN: Next = Next::new(c"popen");

/// Bytes of the variables and of the words around the command.
const AROUND: usize = 2 * exec::PRELOAD_BYTES + 256;

/// Looks up libc's `system` and `popen` before they are needed.
pub(crate) fn resolve() {
    SYSTEM.get();
    POPEN.get();
}

/// Calls `start` with the command, wrapped if its programs would otherwise leave the profiled tree.
fn wrapped<T>(command: *const c_char, start: impl FnOnce(*const c_char) -> T) -> T {
    if command.is_null() || !exec::leaves_the_tree() {
        return start(command);
    }
    // SAFETY: a command is a text that ends with NUL.
    let bytes = unsafe { CStr::from_ptr(command) }.to_bytes();
    // Each quote of the command takes four bytes.
    let Some(mut text) = ShellText::new(bytes.len().saturating_mul(4).saturating_add(AROUND)) else {
        return start(command);
    };
    exec::export(&mut text);
    text.add(b"exec /bin/sh -c ");
    text.quote(bytes);
    // The name that the shell uses for itself in its messages.
    text.add(b" sh");
    match text.whole() {
        Some(text) => start(text),
        None => start(command),
    }
}

/// `system`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn system(command: *const c_char) -> c_int {
    wrapped(command, |command| call_next!(SYSTEM, fn(*const c_char) -> c_int, (command), -1))
}

/// `popen`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn popen(command: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    wrapped(command, |command| {
        call_next!(POPEN, fn(*const c_char, *const c_char) -> *mut libc::FILE, (command, mode), core::ptr::null_mut())
    })
}
