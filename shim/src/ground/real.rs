//! The functions behind this library's interposers, and the libc functions that older glibc keeps in other libraries.
//!
//! Invariant: a name is looked up once, in the libraries behind this library, so an allocator preloaded behind this
//! library is used. The look-up reads the tables of the loaded libraries (`symbols`). If they do not have the name, it
//! calls `dlsym(RTLD_NEXT)`. If a process has no `dlsym` (glibc before 2.34 without libdl), libc's own entry points are
//! used. This library refers to `dlsym` weakly, so it can be loaded into such a process. Callers: the hooks of
//! `memory`, `signals` and `life`.

use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::ground::symbols;
use crate::ground::tls::LookUp;
use crate::ground::weak::{Weak, weak};

/// Calls `dlsym` with a handle. Returns 0 if there is no such symbol or no `dlsym`, or if this thread is within another
/// look-up, because `dlsym` itself may allocate and free.
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

/// Is the library `shim/cxx`, which leads C++'s operators to this library, loaded?
pub(crate) fn operators_in_front() -> bool {
    weak(Weak::CxxLookUp) != 0
}

/// Address of the C++ operator of this name in the libraries behind `shim/cxx`. `Some(0)`: there is no such operator.
/// `None`: this thread is within another look-up.
pub(crate) fn operator(name: &CStr) -> Option<usize> {
    let (dlsym, look_up) = (weak(Weak::Dlsym), weak(Weak::CxxLookUp));
    let _looking = LookUp::enter()?;
    if dlsym == 0 || look_up == 0 {
        return Some(0);
    }
    // SAFETY: a non-null entry of the table is the function `rscalene_cxx_look_up` of `shim/cxx`, which has this type.
    let look_up: unsafe extern "C" fn(*mut c_void, *const libc::c_char, usize) -> usize =
        unsafe { core::mem::transmute(look_up) };
    // SAFETY: `name` ends with NUL, and the third argument is libc's `dlsym`. `shim/cxx` must be its caller, because
    // `RTLD_NEXT` means the libraries behind the caller.
    Some(unsafe { look_up(libc::RTLD_NEXT, name.as_ptr(), dlsym) })
}

/// Address of a symbol anywhere in the process; 0 if there is none.
pub(crate) fn global_symbol(name: &CStr) -> usize {
    symbol(libc::RTLD_DEFAULT, name)
}

/// Clears the error text that a failed look-up has left for the program's next call of `dlerror`.
pub(crate) fn clear_error() {
    let address = global_symbol(c"dlerror");
    if address != 0 {
        // SAFETY: the address is that of libc's dlerror.
        let dlerror: unsafe extern "C" fn() -> *const libc::c_char = unsafe { core::mem::transmute(address) };
        // SAFETY: may be called at any time.
        unsafe { dlerror() };
    }
}

/// A function behind an interposer of this library, looked up at the first use.
pub(crate) struct Next {
    address: AtomicUsize,
    name: &'static CStr,
    fallback: Option<Weak>,
}

impl Next {
    /// A function that has not been looked up yet.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self { address: AtomicUsize::new(0), name, fallback: None }
    }

    /// A function that has not been looked up yet. If the look-up fails, [`Next::get`] returns libc's entry `fallback`.
    pub(crate) const fn or_libc(name: &'static CStr, fallback: Weak) -> Self {
        Self { address: AtomicUsize::new(0), name, fallback: Some(fallback) }
    }

    /// Address of the function if it was looked up before; otherwise 0.
    #[inline(always)]
    pub(crate) fn known(&self) -> usize {
        self.address.load(Relaxed)
    }

    /// Address of the function; 0 if the process has no such function.
    #[inline]
    pub(crate) fn get(&self) -> usize {
        let known = self.known();
        if known != 0 { known } else { self.look_up() }
    }

    /// Makes [`Next::get`] return another function from now on.
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
        // Do not store the fallback: this call may be within another look-up, and a later call may find the function.
        self.fallback.map_or(0, weak)
    }
}

/// Calls a [`Next`] as a function of the given type; gives `$missing` if the process has no such function.
macro_rules! call_next {
    ($next:expr, fn($($type:ty),*) -> $ret:ty, ($($argument:expr),*), $missing:expr) => {{
        let address = $next.get();
        if address == 0 {
            $missing
        } else {
            // SAFETY: the address is of the function that the interposer hides, and both have the same signature.
            let function: unsafe extern "C" fn($($type),*) -> $ret = unsafe { core::mem::transmute(address) };
            // SAFETY: the caller of the interposer passed these arguments for this function.
            unsafe { function($($argument),*) }
        }
    }};
}
pub(crate) use call_next;
