//! What follows from a table of hooked functions.
//!
//! A row of `hooked!` names the static with the function behind ours, the function itself with its exact signature, and
//! libc's own entry point where one may be needed before a look-up can succeed. From the rows follow the early look-up
//! (`resolve`) and the functions that mark the thread while an allocator other than libc's works (`rows`).
//! Neighbours: `libc` (has the table and the exported functions), `foreign` (puts the marking functions in between).

use core::ffi::c_void;
use core::sync::atomic::AtomicUsize;

use crate::ground::real::Next;
use crate::ground::tls::tls;

/// A block, or null.
pub(crate) type Block = *mut c_void;

/// A function behind ours, and what marks the thread while that function works.
pub(crate) struct Row {
    pub(crate) next: &'static Next,
    /// Where the marking function finds the real one.
    pub(crate) real: &'static AtomicUsize,
    /// Address of the marking function.
    pub(crate) marking: usize,
}

/// Marks the thread while the allocator works: the hooks do not record its calls, and its own allocations change no
/// countdown.
#[inline(always)]
pub(crate) fn marked<T>(real: impl FnOnce() -> T) -> T {
    let block = tls();
    let (before, left) = (block.inside.replace(1), block.countdown.get());
    let answer = real();
    block.countdown.set(left);
    block.inside.set(before);
    answer
}

macro_rules! hooked {
    ($($next:ident = $name:ident($($argument:ident: $type:ty),*) -> $ret:ty $(, or $fallback:ident)?;)*) => {
        $(pub(crate) static $next: $crate::ground::real::Next = hooked!(@next $name $($fallback)?);)*

        /// Looks all of them up before any look-up can fail, in the order of the rows. A failed look-up allocates, and
        /// its block must come from, and go back to, the same allocator.
        pub(crate) fn resolve() {
            $($next.get();)*
        }

        mod marking {
            $(
                pub(super) mod $name {
                    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

                    #[allow(unused_imports, reason = "not every signature names each type")]
                    use super::super::{Block, c_int};

                    pub(in super::super) static REAL: AtomicUsize = AtomicUsize::new(0);

                    /// # Safety
                    /// As the function behind ours.
                    pub(in super::super) unsafe extern "C" fn marking($($argument: $type),*) -> $ret {
                        let real = REAL.load(Relaxed);
                        // SAFETY: `foreign` stored the address of the function of this signature before it put this
                        // function in its place.
                        let real: unsafe extern "C" fn($($type),*) -> $ret = unsafe { core::mem::transmute(real) };
                        // SAFETY: the arguments are the caller's own.
                        $crate::memory::preload::hooked::marked(|| unsafe { real($($argument),*) })
                    }
                }
            )*
        }

        /// All rows.
        pub(crate) fn rows() -> [$crate::memory::preload::hooked::Row; [$(stringify!($name)),*].len()] {
            [$($crate::memory::preload::hooked::Row {
                next: &$next,
                real: &marking::$name::REAL,
                marking: marking::$name::marking as *const () as usize,
            }),*]
        }
    };
    (@next $name:ident $fallback:ident) => {
        $crate::ground::real::Next::or_libc(
            $crate::memory::preload::hooked::name!($name),
            $crate::ground::weak::Weak::$fallback,
        )
    };
    (@next $name:ident) => {
        $crate::ground::real::Next::new($crate::memory::preload::hooked::name!($name))
    };
}

pub(crate) use hooked;

/// The name of a function, as C reads it.
macro_rules! name {
    ($name:ident) => {
        const {
            match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("an identifier has no NUL"),
            }
        }
    };
}
pub(crate) use name;
