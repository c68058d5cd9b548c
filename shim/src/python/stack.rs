//! From the frames of this thread to one number: each stack and code object is written once, and later records contain
//! only the number.
//!
//! Invariant: in the ring, a record that names a stack comes after the stack's own record, and the stack's record comes
//! after the records of its code objects. If the ring has no room for one of them, this file does not mark the stack as
//! sent, and the record that names the stack counts as lost. The tables only remember sent records: if a new entry
//! replaces an old entry, the old entry's record is sent again when needed. Neighbours: `guard` (memory), `interp`
//! (walk), `ring`.
//!
//! **Which code object is this?** An address does not identify a code object, so its identity is read; this read is
//! most of the cost of a frame. In exact mode this library sees every allocation. If an address holds a code object,
//! the block at the address was allocated for it. So exact mode remembers the number of an address until the address is
//! allocated again.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};

use rscalene_interp::{Frame, Identity, Layout, Memory, WalkEnd, template_map, text, walk_interrupted};
use rscalene_wire as wire;
use wire::{CodeFlags, Kind, NoFlags, StackEntry};

use crate::arena::ring::Segment;
use crate::ground::guard::Guarded;
use crate::ground::slot::{DEPTH, Scratch, TEXT};
use crate::ground::sys;

/// Entries of each table. Stacks: the hash, one word. Code objects: tag and number in one word. Addresses: the part of
/// the address that the place in the table does not give, and the number, in one word.
const STACKS: usize = wire::STACK_SLOTS;
const CODES: usize = 1 << 15;
const ADDRESSES: usize = 1 << 12;
const ALL: usize = STACKS + CODES + ADDRESSES;
/// Code objects cached by a walk: recursion comes back to the same few.
const SEEN: usize = 16;
/// Neighbouring entries in which a code object may be stored.
const WAYS: usize = 4;
/// A longer line table is not sent, so that records of code leave most of the ring to samples: the launcher reads it
/// from the memory of the process.
const TABLE_LIMIT: u32 = 512 * 1024;

static TABLES: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());
static NEXT_CODE: AtomicU32 = AtomicU32::new(1);

fn table(offset: usize, len: usize) -> Option<&'static [AtomicU64]> {
    let mut base = TABLES.load(Acquire);
    if base.is_null() {
        let bytes = ALL * size_of::<AtomicU64>();
        let fresh = sys::map_private(bytes).cast::<AtomicU64>();
        if fresh.is_null() {
            return None;
        }
        match TABLES.compare_exchange(core::ptr::null_mut(), fresh, Release, Acquire) {
            Ok(_) => base = fresh,
            Err(theirs) => {
                // SAFETY: another thread published its mapping first; no other thread has seen this one.
                unsafe { sys::unmap(fresh.cast(), bytes) };
                base = theirs;
            }
        }
    }
    // SAFETY: all tables lie in the mapping, which is never unmapped; zero bytes are valid entries.
    Some(unsafe { core::slice::from_raw_parts(base.add(offset), len) })
}

/// In a forked child: clears the tables, because nothing was sent into the child's own segment yet.
pub(crate) fn forget_all() {
    let base = TABLES.load(Acquire);
    if !base.is_null() {
        let bytes = ALL * size_of::<AtomicU64>();
        // SAFETY: this file mapped the tables; their pages read zero afterwards.
        unsafe { sys::call3(libc::SYS_madvise, base as usize, bytes, libc::MADV_DONTNEED as usize) };
    }
    NEXT_CODE.store(1, Relaxed);
}

/// Place and mark of a code object's address in the table of addresses. Together they give the whole address but its
/// four low bits, which are zero.
fn by_address(code: u64) -> Option<(&'static AtomicU64, u64)> {
    let mark = code >> 16;
    if mark > u64::from(u32::MAX) {
        return None;
    }
    let place = table(STACKS + CODES, ADDRESSES)?.get((code >> 4) as usize % ADDRESSES)?;
    Some((place, mark << 32))
}

/// Exact mode: a block was allocated at `address`, so the number of a code object at this address is no longer valid.
pub(crate) fn handed_out(address: u64) {
    if let Some((place, mark)) = by_address(address)
        && place.load(Relaxed) >> 32 << 32 == mark
    {
        place.store(0, Relaxed);
    }
}

/// Clears the table of addresses when exact mode begins, because the hooks did not see earlier allocations.
pub(crate) fn forget_addresses() {
    for place in table(STACKS + CODES, ADDRESSES).unwrap_or(&[]) {
        place.store(0, Relaxed);
    }
}

/// Result of a walk.
pub(crate) struct Walked {
    /// Hash of the stack; 0 if there are no Python frames.
    pub(crate) stack: u64,
    /// Address of the leaf frame's instruction; 0 if unknown.
    pub(crate) instruction: u64,
    /// False if the ring had no room for a record that the stack needs: a record that would name the stack is then
    /// lost.
    pub(crate) sent: bool,
}

/// Walks the frames of the thread state and sends the launcher the stack's missing records. `registers`: the registers
/// of the interrupted code, or none. `all_seen`: exact mode. Every allocation passes through the hooks, so an address
/// identifies a code object until it is allocated again.
pub(crate) fn capture(
    segment: &Segment,
    layout: &Layout,
    memory: &Guarded,
    tstate: u64,
    registers: &[u64],
    all_seen: bool,
    scratch: &mut Scratch,
) -> Walked {
    let mut depth = 0usize;
    let mut hash = 0x51_7c_c1_b7_27_22_0a_95u64;
    let mut instruction = 0;
    let mut sent = true;
    // Code objects on this thread's own stack cannot die during the walk, so an address identifies a code object here.
    let mut seen = [(0u64, 0u32); SEEN];
    let mut unreadable = 0u64;
    let Scratch { entries, text } = scratch;
    let result = walk_interrupted(memory, layout, tstate, registers, DEPTH as u32, |frame| {
        let Some(known) = seen.get_mut((frame.code >> 5) as usize % SEEN) else { return false };
        if frame.code != known.0 {
            let numbered = if all_seen {
                number_by_address(segment, layout, memory, frame, text)
            } else {
                code_number(segment, layout, memory, frame, text)
            };
            match numbered {
                Numbered::Known(number) => *known = (frame.code, number),
                Numbered::Unreadable => {
                    unreadable += 1;
                    return true;
                }
                Numbered::Unsent => {
                    sent = false;
                    return false;
                }
            }
        }
        if depth == 0 {
            // The frames inside of this one have returned, and their code objects may be gone: do not count them as
            // rejected.
            unreadable = 0;
            if frame.offset_bytes != u32::MAX {
                instruction = frame.instruction;
            }
        }
        let entry = StackEntry { code: known.1, offset: frame.offset_bytes };
        let Some(place) = entries.get_mut(depth) else { return false };
        *place = entry;
        depth += 1;
        let word = u64::from(entry.code) << 32 | u64::from(entry.offset);
        hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
        true
    });
    let broken = result.end == WalkEnd::Broken;
    let rejected = u64::from(result.rejected) + u64::from(broken) + unreadable;
    if rejected > 0 {
        segment.header().frames_rejected.fetch_add(rejected, Relaxed);
    }
    if depth == 0 {
        return Walked { stack: 0, instruction: 0, sent };
    }
    let stack = hash | 1;
    let entries = entries.get(..depth).unwrap_or(&[]);
    let sent = sent && send_stack(segment, stack, entries);
    Walked { stack, instruction, sent }
}

fn send_stack(segment: &Segment, stack: u64, entries: &[StackEntry]) -> bool {
    let Some(place) = table(0, STACKS).and_then(|table| table.get(wire::stack_slot(stack))) else {
        return false;
    };
    if place.load(Acquire) == stack {
        return true;
    }
    let def = wire::StackDef { stack, depth: entries.len() as u32, lasting: 0 };
    // SAFETY: stack entries are pairs of u32 without padding.
    let bytes = unsafe { core::slice::from_raw_parts(entries.as_ptr().cast::<u8>(), size_of_val(entries)) };
    let sent = segment.emit_whole(&def, NoFlags, bytes);
    if sent {
        // Release: a thread that reads the hash here writes its record after this one.
        place.store(stack, Release);
    }
    sent
}

/// Does the launcher know a code object?
enum Numbered {
    /// The launcher knows the code object under this number.
    Known(u32),
    /// The memory holds no code object any more.
    Unreadable,
    /// The ring had no room for the code object's record.
    Unsent,
}

/// As [`code_number`], but calls it only once for each time that the address was allocated.
fn number_by_address(
    segment: &Segment,
    layout: &Layout,
    memory: &Guarded,
    frame: Frame,
    buffer: &mut [u8; TEXT],
) -> Numbered {
    let Some((place, mark)) = by_address(frame.code) else {
        return code_number(segment, layout, memory, frame, buffer);
    };
    // Acquire: a thread that reads the number here writes its record after the code object's record.
    let word = place.load(Acquire);
    if word >> 32 << 32 == mark && word != 0 {
        return Numbered::Known(word as u32);
    }
    let numbered = code_number(segment, layout, memory, frame, buffer);
    if let Numbered::Known(number) = numbered {
        place.store(mark | u64::from(number), Release);
    }
    numbered
}

/// The number of a frame's code object; sends its record if the code object is new.
fn code_number(
    segment: &Segment,
    layout: &Layout,
    memory: &Guarded,
    frame: Frame,
    buffer: &mut [u8; TEXT],
) -> Numbered {
    let Some(identity) = Identity::read(memory, layout, frame.code) else { return Numbered::Unreadable };
    let hash = identity.hash64();
    let Some(codes) = table(STACKS, CODES) else { return Numbered::Unsent };
    let from = (hash as usize % CODES) & !(WAYS - 1);
    let Some(ways) = codes.get(from..from + WAYS) else { return Numbered::Unsent };
    let tag = hash >> 32 << 32;
    for way in ways {
        let word = way.load(Acquire);
        if word != 0 && word >> 32 << 32 == tag {
            return Numbered::Known(word as u32);
        }
    }
    let number = NEXT_CODE.fetch_add(1, Relaxed);
    match send_code(segment, layout, memory, (&identity, frame.frame), number, buffer) {
        Some(true) => {}
        Some(false) => return Numbered::Unsent,
        None => return Numbered::Unreadable,
    }
    let chosen = ways.iter().find(|way| way.load(Relaxed) == 0);
    let chosen = chosen.or_else(|| ways.get(hash as usize / CODES % WAYS));
    if let Some(way) = chosen {
        way.store(tag | u64::from(number), Release);
    }
    Numbered::Known(number)
}

/// True if the record was written, false if the ring had no room, `None` if the texts are gone.
fn send_code(
    segment: &Segment,
    layout: &Layout,
    memory: &Guarded,
    (identity, frame): (&Identity, u64),
    number: u32,
    buffer: &mut [u8; TEXT],
) -> Option<bool> {
    // Both texts share one buffer: the name takes at most a quarter of it.
    let (name_buffer, file_buffer) = buffer.split_at_mut(TEXT / 4);
    let name = text(memory, layout, identity.qualname, name_buffer)?;
    let file = text(memory, layout, identity.filename, file_buffer)?;
    let (table, table_bytes) = identity.linetable(layout);
    let apart = table_bytes > TABLE_LIMIT;
    let def = wire::CodeDef {
        code: number,
        first_line: identity.first_line,
        filename_bytes: file as u32,
        name_bytes: name as u32,
        table_bytes,
    };
    let following = if apart { wire::TABLE_PLACE_BYTES } else { table_bytes as usize };
    let map = template_map(memory, layout, frame, file_buffer.get(..file).unwrap_or(&[]));
    let map_bytes = map.map_or(0, |map| map.bytes as usize);
    let total = size_of::<wire::CodeDef>() + file + name + following + map_bytes;
    let flags = CodeFlags::NONE.and_if(apart, CodeFlags::TABLE_APART).and_if(map.is_some(), CodeFlags::TEMPLATE);
    let flags = flags.bits();
    let Some(mut writer) = segment.reserve(Kind::CodeDef, flags, total) else { return Some(false) };
    writer.value(&def);
    writer.bytes(file_buffer.get(..file).unwrap_or(&[]));
    writer.bytes(name_buffer.get(..name).unwrap_or(&[]));
    if apart {
        for word in [table, identity.linetable_start, identity.linetable_end] {
            writer.bytes(&word.to_ne_bytes());
        }
    } else {
        // If the table has been freed meanwhile, zeros are written: the table then gives no lines, and the report uses
        // the function's first line.
        writer.memory(memory, table, table_bytes as usize);
    }
    if let Some(map) = map {
        writer.memory(memory, map.address, map_bytes);
    }
    writer.commit();
    Some(true)
}

/// The opcode at an instruction; `None` if it cannot be read.
pub(crate) fn opcode(memory: &Guarded, instruction: u64) -> Option<u8> {
    if instruction == 0 { None } else { memory.u8(instruction) }
}
