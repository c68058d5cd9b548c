//! Finds the function behind an interposer in the tables of the loaded libraries.
//!
//! Job: give the result of `dlsym(RTLD_NEXT)` without a call of `dlsym`. `dlsym` frees the text of its last error
//! before it forgets the text. Suppose this free enters the interposer of `free`, and the interposer looks `free` up by
//! `dlsym`: then `dlsym` frees the text a second time. Invariant: this file allocates nothing and takes no lock. libc
//! exports all functions that this file looks up, and the libraries between this library and libc are never unloaded.
//! Neighbour: `real`.

use core::ffi::{CStr, c_char};

use crate::ground::weak::{Weak, weak};

/// glibc's `struct link_map`, as far as it is public.
#[repr(C)]
struct LinkMap {
    base: usize,
    name: *const c_char,
    dynamic: *const Dynamic,
    next: *const LinkMap,
    previous: *const LinkMap,
}

#[repr(C)]
struct Dynamic {
    tag: i64,
    value: usize,
}

#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: usize,
    size: u64,
}

const DT_HASH: i64 = 4;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_GNU_HASH: i64 = 0x6fff_fef5;
const DT_VERSYM: i64 = 0x6fff_fff0;
/// The symbol is not the default version: only a caller that names the version gets the symbol.
const HIDDEN: u16 = 0x8000;
const FUNCTION: u8 = 2;
/// `STT_GNU_IFUNC`: a function that returns the address of the function to call.
const INDIRECT: u8 = 10;

unsafe extern "C" {
    /// This library's own dynamic section; the linker defines the symbol.
    #[link_name = "_DYNAMIC"]
    static OURS: Dynamic;
}

/// Address of the first function of this name in the libraries behind this library, then in the libraries before this
/// library (which was loaded late then). Returns 0 if no table has the function, or if only `dlsym` can find the
/// function.
pub(crate) fn next(name: &CStr) -> usize {
    let debug = weak(Weak::Debug);
    if debug == 0 {
        return 0;
    }
    // SAFETY: `_r_debug` holds a version, then the first of the loaded objects.
    let first = unsafe { *(debug as *const *const LinkMap).add(1) };
    let ours = objects(first).find(|object| object.dynamic == &raw const OURS);
    let behind = ours.map_or(core::ptr::null(), |object| object.next);
    let is_ours = |object: &&LinkMap| object.dynamic == &raw const OURS;
    let all = objects(behind).chain(objects(first).take_while(|object| !is_ours(object)));
    all.map(|object| Tables::of(object).function(name)).find(|address| *address != 0).unwrap_or(0)
}

fn objects(first: *const LinkMap) -> impl Iterator<Item = &'static LinkMap> {
    // SAFETY: the list ends with null; the objects up to libc live as long as the process.
    core::iter::successors(unsafe { first.as_ref() }, |object| unsafe { object.next.as_ref() })
}

/// The tables of a loaded object that list its exported functions.
struct Tables {
    base: usize,
    strings: usize,
    symbols: usize,
    versions: usize,
    hash: usize,
    gnu_hash: usize,
}

impl Tables {
    fn of(object: &LinkMap) -> Self {
        let base = object.base;
        let mut tables = Self { base, strings: 0, symbols: 0, versions: 0, hash: 0, gnu_hash: 0 };
        let absolute = |value: usize| if value < base { value + base } else { value };
        let mut entry = object.dynamic;
        while !entry.is_null() {
            // SAFETY: a dynamic section ends with an entry of tag 0.
            let Dynamic { tag, value } = unsafe { entry.read() };
            match tag {
                0 => break,
                DT_STRTAB => tables.strings = absolute(value),
                DT_SYMTAB => tables.symbols = absolute(value),
                DT_VERSYM => tables.versions = absolute(value),
                DT_HASH => tables.hash = absolute(value),
                DT_GNU_HASH => tables.gnu_hash = absolute(value),
                _ => {}
            }
            entry = entry.wrapping_add(1);
        }
        tables
    }

    /// Address of the function; 0 if this object does not export the function.
    fn function(&self, name: &CStr) -> usize {
        if self.strings == 0 || self.symbols == 0 {
            return 0;
        }
        if self.gnu_hash != 0 { self.by_gnu_hash(name) } else { self.one_by_one(name) }
    }

    fn by_gnu_hash(&self, name: &CStr) -> usize {
        // SAFETY: the table is made of words: its head, a filter of 64-bit words, the buckets, the chains.
        let word = |at: usize| unsafe { *(self.gnu_hash as *const u32).wrapping_add(at) };
        let (buckets, first, filter) = (word(0), word(1), word(2) as usize);
        if buckets == 0 {
            return 0;
        }
        let hash =
            name.to_bytes().iter().fold(5381u32, |hash, byte| hash.wrapping_mul(33).wrapping_add((*byte).into()));
        let bucket_at = 4 + filter * 2;
        let mut symbol = word(bucket_at + (hash % buckets) as usize);
        if symbol < first {
            return 0;
        }
        loop {
            let chained = word(bucket_at + buckets as usize + (symbol - first) as usize);
            if chained | 1 == hash | 1 {
                let address = self.matching(symbol, name);
                if address != 0 {
                    return address;
                }
            }
            if chained & 1 != 0 {
                return 0;
            }
            symbol += 1;
        }
    }

    fn one_by_one(&self, name: &CStr) -> usize {
        if self.hash == 0 {
            return 0;
        }
        // SAFETY: the table's second word is the number of symbols.
        let count = unsafe { *(self.hash as *const u32).wrapping_add(1) };
        (1..count).map(|symbol| self.matching(symbol, name)).find(|address| *address != 0).unwrap_or(0)
    }

    /// Address of symbol number `at`, if the object exports the symbol as a function of this name in its default
    /// version. Otherwise 0.
    fn matching(&self, at: u32, name: &CStr) -> usize {
        // SAFETY: the number comes from the object's own tables; names end with NUL.
        let (symbol, found) = unsafe {
            let symbol = &*(self.symbols as *const Symbol).wrapping_add(at as usize);
            (symbol, CStr::from_ptr((self.strings + symbol.name as usize) as *const c_char))
        };
        let version = match self.versions {
            0 => 1,
            // SAFETY: an object with a version table has a version for each symbol.
            versions => unsafe { *(versions as *const u16).wrapping_add(at as usize) },
        };
        if symbol.section == 0 || symbol.value == 0 || version & HIDDEN != 0 || version == 0 || found != name {
            return 0;
        }
        match symbol.info & 15 {
            FUNCTION => self.base.wrapping_add(symbol.value),
            #[cfg(target_arch = "x86_64")]
            INDIRECT => {
                // SAFETY: on this architecture such a function takes no argument; the object has been relocated.
                let choose: unsafe extern "C" fn() -> usize =
                    unsafe { core::mem::transmute(self.base.wrapping_add(symbol.value)) };
                // SAFETY: as above.
                unsafe { choose() }
            }
            _ => 0,
        }
    }
}
