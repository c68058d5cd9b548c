//! From the frames of this thread to one number: stacks and code objects are written once and named afterwards.
//!
//! Invariant: a record that names a stack stands behind the stack's own record in the ring, and that one behind those
//! of its code objects; if any of them found no room, the stack is not remembered as sent, and the record that would
//! have named it is counted as lost. The tables only remember what was sent: an entry that another one pushed out is
//! sent again. Neighbours: `guard` (memory), `interp` (walk), `ring`.
//!
//! **Which code object is this?** Its address does not say, so its identity is read, which is most of what a frame costs.
//! Exact mode sees every block that is handed out, and a code object at an address means that the address was handed out
//! for it: there the number of an address is remembered until the address is handed out again.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};

use rscalene_interp::{Identity, Layout, Memory, WalkEnd, text, walk_interrupted};
use rscalene_wire as wire;
use wire::{Kind, NoFlags, StackEntry};

use crate::arena::ring::Segment;
use crate::ground::guard::Guarded;
use crate::ground::slot::{DEPTH, Scratch, TEXT};
use crate::ground::sys;

/// Entries of each table. Stacks: one word each, the hash. Code objects: tag and number in one word. Addresses: what of the
/// address is not the place in the table, and the number, in one word.
const STACKS: usize = wire::STACK_SLOTS;
const CODES: usize = 1 << 15;
const ADDRESSES: usize = 1 << 12;
const ALL: usize = STACKS + CODES + ADDRESSES;
/// Code objects that one walk keeps in mind: recursion comes back to the same few.
const SEEN: usize = 16;
/// Neighbouring entries that a code object may lie in.
const WAYS: usize = 4;
/// A longer line table is not sent: lines of that function fall back on its first.
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
                // SAFETY: ours lost the race; nobody has seen it.
                unsafe { sys::unmap(fresh.cast(), bytes) };
                base = theirs;
            }
        }
    }
    // SAFETY: all tables lie in the mapping, which is never unmapped; zero bytes are valid entries.
    Some(unsafe { core::slice::from_raw_parts(base.add(offset), len) })
}

/// In a forked child: nothing was sent into its own segment yet.
pub(crate) fn forget_all() {
    let base = TABLES.load(Acquire);
    if !base.is_null() {
        let bytes = ALL * size_of::<AtomicU64>();
        // SAFETY: the tables are ours; their pages read zero afterwards.
        unsafe { sys::call3(libc::SYS_madvise, base as usize, bytes, libc::MADV_DONTNEED as usize) };
    }
    NEXT_CODE.store(1, Relaxed);
}

/// Place and mark of a code object's address in the table of addresses: together they are all of it but four zero bits.
fn by_address(code: u64) -> Option<(&'static AtomicU64, u64)> {
    let mark = code >> 16;
    if mark > u64::from(u32::MAX) {
        return None;
    }
    let place = table(STACKS + CODES, ADDRESSES)?.get((code >> 4) as usize % ADDRESSES)?;
    Some((place, mark << 32))
}

/// Exact mode: a block was handed out, so what was known of a code object at this address is over.
pub(crate) fn handed_out(address: u64) {
    if let Some((place, mark)) = by_address(address)
        && place.load(Relaxed) >> 32 << 32 == mark
    {
        place.store(0, Relaxed);
    }
}

/// Exact mode begins: what was handed out before was not seen.
pub(crate) fn forget_addresses() {
    for place in table(STACKS + CODES, ADDRESSES).unwrap_or(&[]) {
        place.store(0, Relaxed);
    }
}

/// What a walk found.
pub(crate) struct Walked {
    /// Hash of the stack; 0: no Python frames.
    pub(crate) stack: u64,
    /// Address of the leaf's instruction; 0 where it is not known.
    pub(crate) instruction: u64,
    /// False where a record that the stack needs found no room: what would name it is lost.
    pub(crate) sent: bool,
}

/// Walks the frames of the thread state and sees to it that the launcher knows the stack. `registers`: those of the thread
/// where it was interrupted. `all_seen`: every block is, so that addresses may be believed.
pub(crate) fn capture(
    segment: &Segment,
    layout: &Layout,
    memory: &Guarded,
    tstate: u64,
    registers: &[u64],
    all_seen: bool,
    room: &mut Scratch,
) -> Walked {
    let mut depth = 0usize;
    let mut hash = 0x51_7c_c1_b7_27_22_0a_95u64;
    let mut instruction = 0;
    let mut sent = true;
    // Code objects on this thread's own stack cannot die during the walk, so an address stands for one of them.
    let mut seen = [(0u64, 0u32); SEEN];
    let mut unreadable = 0u64;
    let Scratch { entries, text } = room;
    let result = walk_interrupted(memory, layout, tstate, registers, DEPTH as u32, |frame| {
        let Some(known) = seen.get_mut((frame.code >> 5) as usize % SEEN) else { return false };
        if frame.code != known.0 {
            let numbered = if all_seen {
                number_by_address(segment, layout, memory, frame.code, text)
            } else {
                code_number(segment, layout, memory, frame.code, text)
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
            // Those inside of it have returned: their code objects are on their way out.
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
        // Release: whoever reads the hash here writes its record behind ours.
        place.store(stack, Release);
    }
    sent
}

/// What the launcher knows of a code object.
enum Numbered {
    /// It knows it under this number.
    Known(u32),
    /// It is no code object any more.
    Unreadable,
    /// There was no room to tell it.
    Unsent,
}

/// As [`code_number`], which is asked once for each time that the address was handed out.
fn number_by_address(
    segment: &Segment,
    layout: &Layout,
    memory: &Guarded,
    code: u64,
    buffer: &mut [u8; TEXT],
) -> Numbered {
    let Some((place, mark)) = by_address(code) else { return code_number(segment, layout, memory, code, buffer) };
    // Acquire: whoever reads the number here writes its record behind the code object's.
    let word = place.load(Acquire);
    if word >> 32 << 32 == mark && word != 0 {
        return Numbered::Known(word as u32);
    }
    let numbered = code_number(segment, layout, memory, code, buffer);
    if let Numbered::Known(number) = numbered {
        place.store(mark | u64::from(number), Release);
    }
    numbered
}

/// The number of a code object, announced if it is new.
fn code_number(segment: &Segment, layout: &Layout, memory: &Guarded, code: u64, buffer: &mut [u8; TEXT]) -> Numbered {
    let Some(identity) = Identity::read(memory, layout, code) else { return Numbered::Unreadable };
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
    match send_code(segment, layout, memory, &identity, number, buffer) {
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

/// True if the record was written, false if it found no room, `None` where the texts are gone.
fn send_code(
    segment: &Segment,
    layout: &Layout,
    memory: &Guarded,
    identity: &Identity,
    number: u32,
    buffer: &mut [u8; TEXT],
) -> Option<bool> {
    // One buffer serves both texts: the name takes at most a quarter of it.
    let (name_room, file_room) = buffer.split_at_mut(TEXT / 4);
    let name = text(memory, layout, identity.qualname, name_room)?;
    let file = text(memory, layout, identity.filename, file_room)?;
    let (table, table_bytes) = identity.linetable(layout);
    let table_bytes = if table_bytes > TABLE_LIMIT { 0 } else { table_bytes };
    let def = wire::CodeDef {
        code: number,
        first_line: identity.first_line,
        filename_bytes: file as u32,
        name_bytes: name as u32,
        table_bytes,
    };
    let total = size_of::<wire::CodeDef>() + file + name + table_bytes as usize;
    let Some(mut writer) = segment.reserve(Kind::CodeDef, 0, total) else { return Some(false) };
    writer.value(&def);
    writer.bytes(file_room.get(..file).unwrap_or(&[]));
    writer.bytes(name_room.get(..name).unwrap_or(&[]));
    // A table that vanished meanwhile reads zero: no line, and the function's first line serves.
    writer.memory(memory, table, table_bytes as usize);
    writer.commit();
    Some(true)
}

/// The opcode at an instruction; `None` where it cannot be read.
pub(crate) fn opcode(memory: &Guarded, instruction: u64) -> Option<u8> {
    if instruction == 0 { None } else { memory.u8(instruction) }
}
