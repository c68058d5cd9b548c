//! The functions behind our interposers, and the few of libc that older glibc keeps in other libraries.
//!
//! Invariant: a name is looked up once, behind this library, so that an allocator preloaded there is used: in the tables of
//! the loaded libraries (`symbols`), and only what they do not tell by `dlsym(RTLD_NEXT)`. Where a process has no `dlsym`
//! (glibc before 2.34 without libdl) libc's own entry points serve. Weak references keep the
//! library loadable there. Neighbours: `hooks`, `signals`, `threads`, `process`.

use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::ground::symbols;
use crate::ground::tls::LookUp;
use crate::ground::weak::{Weak, weak};

/// Calls `dlsym` with a handle; 0 where there is no such symbol (or no `dlsym`, or a look-up runs already: `dlsym`
/// itself may allocate and free).
pub(crate) fn symbol(handle: *mut c_void, name: &CStr) -> usize {
    let dlsym = weak(Weak::Dlsym);
    let Some(_looking) = LookUp::enter() else { return 0 };
    if dlsym == 0 {
        return 0;
    }
    // SAFETY: a non-null entry of the table is libc's dlsym, whose type this is.
    let dlsym: unsafe extern "C" fn(*mut c_void, *const libc::c_char) -> usize = unsafe { core::mem::transmute(dlsym) };
    // SAFETY: `name` ends with NUL.
    unsafe { dlsym(handle, name.as_ptr()) }
}

/// Are C++'s operators those of the library that leads them to us?
pub(crate) fn operators_in_front() -> bool {
    weak(Weak::CxxLookUp) != 0
}

/// Address of the C++ operator of this name behind the library that leads it to us; 0 where there is none, `None` inside
/// of another look-up.
pub(crate) fn operator(name: &CStr) -> Option<usize> {
    let (dlsym, look_up) = (weak(Weak::Dlsym), weak(Weak::CxxLookUp));
    let _looking = LookUp::enter()?;
    if dlsym == 0 || look_up == 0 {
        return Some(0);
    }
    // SAFETY: a non-null entry of the table is that library's function, whose type this is.
    let look_up: unsafe extern "C" fn(*mut c_void, *const libc::c_char, usize) -> usize =
        unsafe { core::mem::transmute(look_up) };
    // SAFETY: `name` ends with NUL, and the third is libc's `dlsym`, whose caller is to be that library.
    Some(unsafe { look_up(libc::RTLD_NEXT, name.as_ptr(), dlsym) })
}

/// Address of a symbol anywhere in the process; 0 where there is none.
pub(crate) fn global_symbol(name: &CStr) -> usize {
    symbol(libc::RTLD_DEFAULT, name)
}

/// Clears what failed look-ups have left for `dlerror`.
pub(crate) fn clear_error() {
    let address = global_symbol(c"dlerror");
    if address != 0 {
        // SAFETY: the address is that of libc's dlerror.
        let dlerror: unsafe extern "C" fn() -> *const libc::c_char = unsafe { core::mem::transmute(address) };
        // SAFETY: may be called at any time.
        unsafe { dlerror() };
    }
}

/// A function behind one of our interposers, looked up at its first use.
pub(crate) struct Next {
    address: AtomicUsize,
    name: &'static CStr,
    fallback: Option<Weak>,
}

impl Next {
    /// Not looked up yet.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self { address: AtomicUsize::new(0), name, fallback: None }
    }

    /// Not looked up yet; libc's own entry point where there is no `dlsym`.
    pub(crate) const fn or_libc(name: &'static CStr, fallback: Weak) -> Self {
        Self { address: AtomicUsize::new(0), name, fallback: Some(fallback) }
    }

    /// Its address if it was looked up before; else 0.
    #[inline(always)]
    pub(crate) fn known(&self) -> usize {
        self.address.load(Relaxed)
    }

    /// Its address; 0 where the process has no such function.
    #[inline]
    pub(crate) fn get(&self) -> usize {
        let known = self.known();
        if known != 0 { known } else { self.look_up() }
    }

    /// Has another function called in its place.
    pub(crate) fn replace(&self, address: usize) {
        self.address.store(address, Relaxed);
    }

    #[cold]
    fn look_up(&self) -> usize {
        let found = match symbols::next(self.name) {
            0 => symbol(libc::RTLD_NEXT, self.name),
            found => found,
        };
        if found != 0 {
            self.address.store(found, Relaxed);
            return found;
        }
        // Not remembered: the next call may come outside of a look-up.
        self.fallback.map_or(0, weak)
    }
}

/// Calls a [`Next`] as a function of the given type; `$missing` where the process has none.
macro_rules! call_next {
    ($next:expr, fn($($type:ty),*) -> $ret:ty, ($($argument:expr),*), $missing:expr) => {{
        let address = $next.get();
        if address == 0 {
            $missing
        } else {
            // SAFETY: the address is that of the function that our interposer of this very signature hides.
            let function: unsafe extern "C" fn($($type),*) -> $ret = unsafe { core::mem::transmute(address) };
            // SAFETY: the arguments are those that our own caller gave for this function.
            unsafe { function($($argument),*) }
        }
    }};
}
pub(crate) use call_next;
