//! Reads dictionaries of 3.11 to 3.15 and weak sets of 3.11 to 3.13.
//!
//! Job: look a name up in `sys.modules` and in a module, to find asyncio's tasks, the names of threads and the text of
//! generated code. Invariant: only combined tables are read (no module has a split table), and at most [`LIMIT`]
//! entries of each. The offsets come from the headers of 3.11.7, 3.12.1 and 3.13.0, which agree except for
//! [`attributes`]; later versions have the same offsets. Callers: `tasks`, `names`, `linecache`
//! and `templates`.

use crate::fields::Layout;
use crate::memory::{Memory, at};
use crate::text::text;

/// Most entries of a dictionary that are searched.
const LIMIT: u64 = 1 << 16;
/// A search finds only keys shorter than this many bytes.
pub(crate) const LONGEST_KEY: usize = 256;
/// `PyDictObject.ma_keys`.
const KEYS: u32 = 32;
/// `PyDictKeysObject`: the logarithm of the index' bytes, the kind of table, the number of entries, the index.
const LOG2_INDEX_BYTES: u32 = 9;
const KIND: u32 = 10;
const ENTRIES: u32 = 24;
const INDEX: u64 = 32;
/// `PyModuleObject.md_dict`.
const MODULE_DICT: u32 = 16;

/// The value under `name` in the dictionary at `dict`.
pub(crate) fn lookup<M: Memory>(mem: &M, layout: &Layout, dict: u64, name: &[u8]) -> Option<u64> {
    lookup_among(mem, layout, dict, name, LIMIT)
}

/// As [`lookup`], among the first `most` entries.
pub(crate) fn lookup_among<M: Memory>(mem: &M, layout: &Layout, dict: u64, name: &[u8], most: u64) -> Option<u64> {
    if name.len() >= LONGEST_KEY {
        return None;
    }
    let keys = mem.u64(at(dict, KEYS))?;
    let index_bytes = 1u64.checked_shl(u32::from(mem.u8(at(keys, LOG2_INDEX_BYTES))?))?;
    // An entry of a general table has hash, key and value; an entry of a table with only string keys has key and value.
    let (key_offset, stride) = match mem.u8(at(keys, KIND))? {
        0 => (8, 24u64),
        1 => (0, 16),
        _ => return None,
    };
    let mut entry = keys.wrapping_add(INDEX).wrapping_add(index_bytes);
    for _ in 0..mem.u64(at(keys, ENTRIES))?.min(most) {
        let key = mem.u64(at(entry, key_offset))?;
        let mut found = [0; LONGEST_KEY];
        if key != 0 && text(mem, layout, key, &mut found).and_then(|len| found.get(..len)) == Some(name) {
            return mem.u64(at(entry, key_offset.wrapping_add(8))).filter(|value| *value != 0);
        }
        entry = entry.wrapping_add(stride);
    }
    None
}

/// The object that the module `module` of the interpreter at `interp` calls `name`.
pub(crate) fn module_attribute<M: Memory>(
    mem: &M,
    layout: &Layout,
    interp: u64,
    module: &[u8],
    name: &[u8],
) -> Option<u64> {
    let modules = mem.u64(at(interp, layout.runtime_fields.modules))?;
    let module = lookup(mem, layout, modules, module)?;
    lookup(mem, layout, mem.u64(at(module, MODULE_DICT))?, name)
}

/// Calls `visit` with every value of the dictionary at `dict`.
pub(crate) fn values<M: Memory>(mem: &M, dict: u64, mut visit: impl FnMut(u64)) {
    let read = || {
        let keys = mem.u64(at(dict, KEYS))?;
        let index_bytes = 1u64.checked_shl(u32::from(mem.u8(at(keys, LOG2_INDEX_BYTES))?))?;
        Some((keys, index_bytes, mem.u8(at(keys, KIND))?, mem.u64(at(keys, ENTRIES))?))
    };
    let Some((keys, index_bytes, kind, count)) = read() else { return };
    let (value_offset, stride) = match kind {
        0 => (16, 24u64),
        1 => (8, 16),
        _ => return,
    };
    let mut entry = keys.wrapping_add(INDEX).wrapping_add(index_bytes);
    for _ in 0..count.min(LIMIT) {
        let Some(value) = mem.u64(at(entry, value_offset)) else { return };
        if value != 0 {
            visit(value);
        }
        entry = entry.wrapping_add(stride);
    }
}

/// The set inside the `weakref.WeakSet` at `weak_set`: `data`, the first attribute that its `__init__` sets.
pub(crate) fn weak_set_data<M: Memory>(mem: &M, layout: &Layout, weak_set: u64) -> Option<u64> {
    mem.u64(attributes(mem, layout, weak_set)?)
}

/// Address of the attributes of the object at `object`, in the order in which its class first set them; `None` if the
/// attributes are in a separate dictionary.
pub(crate) fn attributes<M: Memory>(mem: &M, layout: &Layout, object: u64) -> Option<u64> {
    match layout.minor {
        // A pointer to the values lies four words before the object.
        11 => mem.u64(object.wrapping_sub(32)).filter(|values| *values != 0),
        // The word three words before the object is the pointer minus 1; an even word points to a dictionary instead.
        12 => {
            let tagged = mem.u64(object.wrapping_sub(24))?;
            if tagged & 1 == 0 { None } else { Some(tagged.wrapping_add(1)) }
        }
        // The values are part of the object: capacity, size, embedded, valid (bytes), then pointers from word 1 on.
        13 if mem.u8(object.wrapping_add(19))? == 1 => Some(object.wrapping_add(24)),
        _ => None,
    }
}
