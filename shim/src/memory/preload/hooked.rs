//! The macro `hooked!`, which declares the hooked functions of the allocator.
//!
//! A row of `hooked!` names the static for the function behind the hook, the function itself with its exact signature,
//! and libc's own entry point if the hook may need the function before a look-up can succeed. From the rows the macro
//! makes the early look-up (`resolve`), and functions that mark the thread while an allocator other than libc's works
//! (`rows`). Neighbours: `libc` (has the table and the exported functions), `foreign` (installs the marking functions).

use core::ffi::c_void;
use core::sync::atomic::AtomicUsize;

use crate::ground::real::Next;
use crate::ground::tls::tls;

/// A block, or null.
pub(crate) type Block = *mut c_void;

/// A function behind a hook, and the function that marks the thread while the first works.
pub(crate) struct Row {
    pub(crate) next: &'static Next,
    /// Address of the real function, for the marking function.
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

        /// Looks all functions up, in the order of the rows, before any look-up can fail. A failed look-up allocates a
        /// block, and the same allocator must later free the block.
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
                    /// As for the function behind the hook.
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
