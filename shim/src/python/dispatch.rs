//! The interpreter's table of instructions: the code address of each of the 256 opcodes.
//!
//! Job: find the table in the data of the interpreter's object, and return the first and the last address in the table.
//! Invariant: this file reads mapped data only. After reading read-only data, it lets the kernel drop the pages, so the
//! program's footprint does not grow. Caller: `evaluation`, once at the start of a process.

use core::ffi::{c_int, c_void};

use crate::ground::sys;

/// Number of opcodes.
const OPCODES: usize = 256;
/// The instructions of an interpreter lie within this many bytes (measured: 75 to 82 KB).
const SPAN: u64 = 512 << 10;
/// Number of opcodes without an instruction; they share an address (measured: 22 to 44).
const UNUSED: core::ops::Range<usize> = 12..100;
/// Most other opcodes that share an address.
const SHARED: usize = 16;

/// Ranges of addresses in an object.
#[derive(Clone, Copy, Default)]
struct Object {
    /// An address in the object.
    code: u64,
    /// Code: first address and end.
    text: (u64, u64),
    /// Ranges of data, each with a flag: is the range writable? Writable data comes first, because the dynamic linker
    /// has read it already.
    data: [((u64, u64), bool); 4],
    count: usize,
    found: bool,
}

/// The first and the last address in the instruction table of the object that contains `code`.
pub(crate) fn instructions(code: u64) -> Option<(u64, u64)> {
    unsafe extern "C" {
        fn dl_iterate_phdr(
            visit: unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int,
            data: *mut c_void,
        ) -> c_int;
    }
    let mut object = Object { code, ..Object::default() };
    // SAFETY: `visit` only reads the entries that the dynamic linker passes; `object` outlives the call.
    unsafe { dl_iterate_phdr(visit, (&raw mut object).cast()) };
    if !object.found {
        return None;
    }
    object.data.iter().take(object.count).find_map(|(range, writable)| {
        let table = in_data(*range, object.text);
        if !writable {
            unload(*range);
        }
        table
    })
}

/// Lets the kernel drop pages of read-only data. The kernel reads the pages from the file again when the program uses
/// them.
fn unload((start, end): (u64, u64)) {
    let page = sys::page_size();
    let from = (start as usize).next_multiple_of(page);
    let bytes = (end as usize / page * page).saturating_sub(from);
    // SAFETY: the pages are mapped from the file, and no code can have changed them: they are not writable.
    unsafe { sys::call3(libc::SYS_madvise, from, bytes, libc::MADV_DONTNEED as usize) };
}

unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: the dynamic linker passes a valid entry, and `data` is the object of `instructions`.
    let (info, object) = unsafe { (&*info, &mut *data.cast::<Object>()) };
    // SAFETY: the program headers of a loaded object are `dlpi_phnum` long.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let loaded = |header: &&libc::Elf64_Phdr| header.p_type == libc::PT_LOAD;
    let range = |header: &libc::Elf64_Phdr| {
        let start = info.dlpi_addr.wrapping_add(header.p_vaddr);
        (start, start.wrapping_add(header.p_filesz))
    };
    let holds = |header: &libc::Elf64_Phdr| {
        let (start, end) = range(header);
        header.p_flags & libc::PF_X != 0 && (start..end).contains(&object.code)
    };
    let Some(text) = headers.iter().filter(loaded).find(|header| holds(header)) else { return 0 };
    object.text = range(text);
    object.found = true;
    for writable in [libc::PF_W, 0] {
        let data = |header: &&libc::Elf64_Phdr| header.p_flags & (libc::PF_X | libc::PF_W) == writable;
        for header in headers.iter().filter(loaded).filter(data) {
            if let Some(place) = object.data.get_mut(object.count) {
                *place = (range(header), writable != 0);
                object.count += 1;
            }
        }
    }
    1
}

/// Looks for the table in a range of data.
fn in_data((start, end): (u64, u64), text: (u64, u64)) -> Option<(u64, u64)> {
    let first = start.next_multiple_of(8);
    let count = (end.saturating_sub(first) / 8) as usize;
    // SAFETY: the range is a loaded segment's part from the file, which is mapped and readable for the life of the
    // object; the interpreter's object is never unloaded. Other threads do not run yet.
    let data = unsafe { core::slice::from_raw_parts(first as *const u64, count) };
    let mut run = 0usize;
    for (at, word) in data.iter().enumerate() {
        run = if (text.0..text.1).contains(word) { run + 1 } else { 0 };
        if run >= OPCODES
            && let Some(window) = data.get(at + 1 - OPCODES..=at)
            && let Some(range) = as_table(window)
        {
            return Some(range);
        }
    }
    None
}

/// The first and the last address of the window, if it is a table of instructions.
fn as_table(window: &[u64]) -> Option<(u64, u64)> {
    // Most opcodes without an instruction follow one another. This leaves few windows for the costly count below.
    let repeated = window.iter().zip(window.iter().skip(1)).filter(|(one, next)| one == next).count();
    let (first, last) = (window.iter().min()?, window.iter().max()?);
    if repeated < UNUSED.start / 2 || last - first > SPAN {
        return None;
    }
    let alike = |word: &u64| window.iter().filter(|other| *other == word).count();
    let unused = window.iter().map(alike).max()?;
    let alone = window.iter().filter(|word| alike(word) == 1).count();
    (UNUSED.contains(&unused) && alone + unused + SHARED >= OPCODES).then_some((*first, *last))
}
