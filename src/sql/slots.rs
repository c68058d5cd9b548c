//! The slots of a loaded library that hold addresses of functions of other libraries.
//!
//! Job: find the slots through which a library calls the functions of another library, and write the addresses of
//! replacement functions into the slots. Invariants: only slots of the named library change; read-only pages are
//! read-only again afterwards; `redirect` returns the former address. Caller: `sqlite` redirects its functions.

use std::ffi::{CStr, CString, c_int, c_void};

#[cfg(target_arch = "x86_64")]
const KINDS: [u32; 3] = [7, 6, 1];
#[cfg(target_arch = "aarch64")]
const KINDS: [u32; 3] = [1026, 1025, 257];

const DT_PLTRELSZ: i64 = 2;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_RELA: i64 = 7;
const DT_RELASZ: i64 = 8;
const DT_JMPREL: i64 = 23;

#[repr(C)]
struct Dynamic {
    tag: i64,
    value: usize,
}

#[repr(C)]
struct Relocation {
    offset: usize,
    kind: u64,
    addend: i64,
}

#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

/// A loaded library.
pub(super) struct Library {
    path: CString,
    base: usize,
    low: usize,
    high: usize,
    dynamic: usize,
    relro: (usize, usize),
}

impl Library {
    /// The library loaded from `path`; `None` if the linker does not list it.
    pub(super) fn find(path: &str) -> Option<Self> {
        let path = CString::new(path).ok()?;
        let mut found = Self { path, base: 0, low: usize::MAX, high: 0, dynamic: 0, relro: (0, 0) };
        // SAFETY: the callback reads what the linker passes, and writes to `found`.
        unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut found).cast()) };
        (found.dynamic != 0).then_some(found)
    }

    /// Address of the function `name` in the library, or in a dependency of the library.
    pub(super) fn function(&self, name: &CStr) -> usize {
        // SAFETY: the path ends with NUL; the library is loaded already, and `RTLD_NOLOAD` does not load it again.
        let handle = unsafe { libc::dlopen(self.path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
        if handle.is_null() {
            return 0;
        }
        // SAFETY: `dlopen` returned the handle and raised its count, which `dlclose` lowers.
        unsafe {
            let found = libc::dlsym(handle, name.as_ptr());
            libc::dlclose(handle);
            found as usize
        }
    }

    /// Points all slots for `name` to `ours`. Returns their former address; 0 if no slot was changed.
    pub(super) fn redirect(&self, name: &CStr, ours: usize) -> usize {
        let mut before = 0;
        for slot in self.slots(name) {
            // SAFETY: a relocation's target is a mapped, aligned word of the library.
            let now = unsafe { (slot as *const usize).read_volatile() };
            // A slot that is not bound yet holds an address within the library itself.
            let bound = if self.low <= now && now < self.high { self.function(name) } else { now };
            if bound != 0 && bound != ours && self.write(slot, ours) {
                before = bound;
            }
        }
        before
    }

    fn slots(&self, name: &CStr) -> Vec<usize> {
        let (mut strings, mut symbols, mut plt, mut plt_bytes, mut rela, mut rela_bytes) = (0, 0, 0, 0, 0, 0);
        let absolute = |value: usize| if value < self.base { value + self.base } else { value };
        let mut entry = self.dynamic as *const Dynamic;
        loop {
            // SAFETY: the dynamic section ends with an entry of tag 0.
            let Dynamic { tag, value } = unsafe { entry.read() };
            match tag {
                0 => break,
                DT_STRTAB => strings = absolute(value),
                DT_SYMTAB => symbols = absolute(value),
                DT_JMPREL => plt = absolute(value),
                DT_PLTRELSZ => plt_bytes = value,
                DT_RELA => rela = absolute(value),
                DT_RELASZ => rela_bytes = value,
                _ => {}
            }
            // SAFETY: see above.
            entry = unsafe { entry.add(1) };
        }
        let mut found = Vec::new();
        if strings == 0 || symbols == 0 {
            return found;
        }
        for (table, bytes) in [(plt, plt_bytes), (rela, rela_bytes)] {
            let count = if table == 0 { 0 } else { bytes / size_of::<Relocation>() };
            for at in 0..count {
                // SAFETY: the table has this many entries.
                let relocation = unsafe { &*(table as *const Relocation).add(at) };
                let symbol = (relocation.kind >> 32) as usize;
                if symbol == 0 || !KINDS.contains(&(relocation.kind as u32)) || relocation.addend != 0 {
                    continue;
                }
                // SAFETY: relocations name symbols of this library's table, and names end with NUL.
                let this = unsafe {
                    let symbol = &*(symbols as *const Symbol).add(symbol);
                    CStr::from_ptr((strings + symbol.name as usize) as *const libc::c_char)
                };
                if this == name {
                    found.push(self.base + relocation.offset);
                }
            }
        }
        found
    }

    fn write(&self, slot: usize, function: usize) -> bool {
        let protected = self.relro.0 <= slot && slot < self.relro.1;
        let page = page_of(slot);
        let protect = |how: c_int| {
            // SAFETY: the page belongs to the library's table, and its contents do not change.
            unsafe { libc::mprotect(page as *mut c_void, page_bytes(), how) == 0 }
        };
        if protected && !protect(libc::PROT_READ | libc::PROT_WRITE) {
            return false;
        }
        // SAFETY: the page is writable; other threads read the old word or the new one, never a part.
        unsafe { (slot as *mut usize).write_volatile(function) };
        if protected {
            protect(libc::PROT_READ);
        }
        true
    }
}

fn page_bytes() -> usize {
    // SAFETY: sysconf has no preconditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4_096)
}

fn page_of(address: usize) -> usize {
    address & !(page_bytes() - 1)
}

unsafe extern "C" fn look(object: *mut libc::dl_phdr_info, _: usize, into: *mut c_void) -> c_int {
    // SAFETY: the linker passes a filled structure whose name and headers live as long as the object, and `into` is the
    // caller's library.
    let (object, library) = unsafe { (&*object, &mut *into.cast::<Library>()) };
    // SAFETY: as above; a name ends with NUL.
    if object.dlpi_name.is_null() || unsafe { CStr::from_ptr(object.dlpi_name) } != library.path.as_c_str() {
        return 0;
    }
    library.base = object.dlpi_addr as usize;
    for at in 0..usize::from(object.dlpi_phnum) {
        // SAFETY: there are `dlpi_phnum` headers.
        let header = unsafe { &*object.dlpi_phdr.add(at) };
        let start = library.base.wrapping_add(header.p_vaddr as usize);
        match header.p_type {
            libc::PT_LOAD => {
                library.low = library.low.min(start);
                library.high = library.high.max(start + header.p_memsz as usize);
            }
            libc::PT_DYNAMIC => library.dynamic = start,
            // Whole pages only, as the linker protects them.
            libc::PT_GNU_RELRO => library.relro = (page_of(start), page_of(start + header.p_memsz as usize)),
            _ => {}
        }
    }
    1
}
