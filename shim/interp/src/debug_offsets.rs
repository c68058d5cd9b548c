//! The offsets at the start of `_PyRuntime`, present in interpreters from 3.13 on.
//!
//! Job: read `_Py_DebugOffsets` into a [`Layout`]. Invariant: the order of its fields differs by minor version, so each
//! has its own index table; every offset must lie inside its structure, else the whole layout is refused. Neighbour:
//! `versions` holds the tables of 3.11 and 3.12, which carry no offsets.
//!
//! ```text
//! 3.13, 3.14, 3.15 | cookie "xdebugpy" | version | free_threaded | size, offset, offset, ... (eight bytes each) |
//! ```

use crate::fields::{
    CodeFields, FrameFields, GeneratorFields, GilPlace, Layout, ObjectFields, RuntimeFields, ThreadFields, Unsupported,
};
use crate::memory::Memory;

/// `xdebugpy` as the eight bytes read as one word.
const COOKIE: u64 = u64::from_ne_bytes(*b"xdebugpy");
/// No structure read here is larger (`_PyRuntime` with its static objects is the largest, under 1 MiB).
const STRUCTURE_LIMIT: u64 = 4 << 20;

/// Indices of eight-byte words, by minor version; `_size` words bound the offsets of their structure.
struct Indices {
    runtime_size: u8,
    interpreters_head: u8,
    interp_size: u8,
    interp_next: u8,
    threads_head: u8,
    modules: u8,
    ceval_gil: u8,
    gc: u8,
    gc_size: u8,
    gc_collecting: u8,
    gil: u8,
    gil_locked: u8,
    gil_holder: u8,
    thread_size: u8,
    thread_next: u8,
    thread_interp: u8,
    current_frame: u8,
    thread_id: u8,
    native_thread_id: u8,
    thread_status: u8,
    frame_size: u8,
    frame_previous: u8,
    executable: u8,
    instr_ptr: u8,
    owner: u8,
    locals: u8,
    /// Zero in 3.13, because 3.13 has no offsets of `stacktop` and of the fields of generators.
    stack_pointer: u8,
    generator_size: u8,
    generator_frame: u8,
    generator_state: u8,
    /// Zero where the version has no such word.
    tlbc_index: u8,
    code_size: u8,
    filename: u8,
    name: u8,
    qualname: u8,
    linetable: u8,
    first_line: u8,
    bytecode: u8,
    /// Zero where the version has no such word.
    tlbc: u8,
    object_size: u8,
    ob_type: u8,
    bytes_size: u8,
    bytes_ob_size: u8,
    bytes_data: u8,
    str_size: u8,
    str_state: u8,
    str_length: u8,
    str_ascii_size: u8,
}

const PYTHON_3_13: Indices = Indices {
    runtime_size: 3,
    interpreters_head: 5,
    interp_size: 6,
    interp_next: 8,
    threads_head: 9,
    modules: 11,
    ceval_gil: 14,
    gc: 10,
    gc_size: 71,
    gc_collecting: 72,
    gil: 15,
    gil_locked: 17,
    gil_holder: 18,
    thread_size: 19,
    thread_next: 21,
    thread_interp: 22,
    current_frame: 23,
    thread_id: 24,
    native_thread_id: 25,
    thread_status: 27,
    frame_size: 28,
    frame_previous: 29,
    executable: 30,
    instr_ptr: 31,
    owner: 33,
    locals: 32,
    stack_pointer: 0,
    generator_size: 0,
    generator_frame: 0,
    generator_state: 0,
    tlbc_index: 0,
    code_size: 34,
    filename: 35,
    name: 36,
    qualname: 37,
    linetable: 38,
    first_line: 39,
    bytecode: 43,
    tlbc: 0,
    object_size: 44,
    ob_type: 45,
    bytes_size: 64,
    bytes_ob_size: 65,
    bytes_data: 66,
    str_size: 67,
    str_state: 68,
    str_length: 69,
    str_ascii_size: 70,
};

const PYTHON_3_14: Indices = Indices {
    modules: 12,
    ceval_gil: 15,
    gc: 11,
    gc_size: 81,
    gc_collecting: 82,
    gil: 16,
    gil_locked: 18,
    gil_holder: 19,
    thread_size: 22,
    thread_next: 24,
    thread_interp: 25,
    current_frame: 26,
    thread_id: 27,
    native_thread_id: 28,
    thread_status: 30,
    frame_size: 31,
    frame_previous: 32,
    executable: 33,
    instr_ptr: 34,
    owner: 36,
    locals: 35,
    stack_pointer: 37,
    generator_size: 83,
    generator_frame: 85,
    generator_state: 86,
    tlbc_index: 38,
    code_size: 39,
    filename: 40,
    name: 41,
    qualname: 42,
    linetable: 43,
    first_line: 44,
    bytecode: 48,
    tlbc: 49,
    object_size: 50,
    ob_type: 51,
    bytes_size: 74,
    bytes_ob_size: 75,
    bytes_data: 76,
    str_size: 77,
    str_state: 78,
    str_length: 79,
    str_ascii_size: 80,
    ..PYTHON_3_13
};

const PYTHON_3_15: Indices = Indices {
    gc_size: 94,
    gc_collecting: 95,
    thread_id: 30,
    native_thread_id: 31,
    thread_status: 33,
    frame_size: 39,
    frame_previous: 40,
    executable: 41,
    instr_ptr: 42,
    owner: 44,
    locals: 43,
    stack_pointer: 45,
    generator_size: 99,
    generator_frame: 101,
    generator_state: 102,
    tlbc_index: 46,
    code_size: 47,
    filename: 48,
    name: 49,
    qualname: 50,
    linetable: 51,
    first_line: 52,
    bytecode: 56,
    tlbc: 57,
    object_size: 58,
    ob_type: 59,
    bytes_size: 86,
    bytes_ob_size: 87,
    bytes_data: 88,
    str_size: 89,
    str_state: 90,
    str_length: 91,
    str_ascii_size: 92,
    ..PYTHON_3_14
};

/// Reads the words behind one `_PyRuntime`, checking each.
struct OffsetTable<'a, M> {
    mem: &'a M,
    runtime: u64,
}

impl<M: Memory> OffsetTable<'_, M> {
    fn word(&self, index: u8) -> Result<u64, Unsupported> {
        let addr = self.runtime.wrapping_add(u64::from(index).wrapping_mul(8));
        self.mem.u64(addr).ok_or(Unsupported::Unreadable)
    }

    /// The offset in word `index` of a field `width` bytes wide, inside the structure whose size is in word `size`.
    fn field(&self, size: u8, index: u8, width: u64) -> Result<u32, Unsupported> {
        let (limit, offset) = (self.word(size)?, self.word(index)?);
        let inside = limit <= STRUCTURE_LIMIT && offset.checked_add(width).is_some_and(|end| end <= limit);
        if !inside || offset.checked_rem(width) != Some(0) {
            return Err(Unsupported::Implausible(index, offset));
        }
        u32::try_from(offset).map_err(|_| Unsupported::Implausible(index, offset))
    }

    /// The distance from word `base` to word `index`, both offsets of one structure.
    fn distance(&self, base: u8, index: u8) -> Result<u32, Unsupported> {
        let (from, to) = (self.word(base)?, self.word(index)?);
        to.checked_sub(from)
            .filter(|gap| *gap <= 64)
            .and_then(|gap| u32::try_from(gap).ok())
            .ok_or(Unsupported::Implausible(index, to))
    }
}

/// The layout, as the interpreter at `runtime` describes its own structures.
pub(crate) fn layout(version: u32, runtime: u64, code_type: u64, mem: &impl Memory) -> Result<Layout, Unsupported> {
    let table = OffsetTable { mem, runtime };
    if table.word(0)? != COOKIE {
        return Err(Unsupported::NoCookie);
    }
    let own = u32::try_from(table.word(1)?).map_err(|_| Unsupported::NoCookie)?;
    if own != version {
        return Err(Unsupported::OtherVersion(own));
    }
    let [_, minor, ..] = version.to_be_bytes();
    let i = match minor {
        13 => &PYTHON_3_13,
        14 => &PYTHON_3_14,
        15 => &PYTHON_3_15,
        _ => return Err(Unsupported::Version(version)),
    };
    let free_threaded = table.word(2)? != 0;
    if free_threaded && minor < 14 {
        return Err(Unsupported::FreeThreaded(version));
    }
    // `co_flags` follows the header, `ob_size` and three pointers in every version; `ob_size` follows the header.
    let header = table.field(i.object_size, i.ob_type, 8)?.checked_add(8).ok_or(Unsupported::Unreadable)?;
    let ob_size = table.field(i.bytes_size, i.bytes_ob_size, 8)?;
    if header != ob_size {
        return Err(Unsupported::Implausible(i.bytes_ob_size, u64::from(ob_size)));
    }
    // A compact string's text follows `PyASCIIObject`, or that and two words more where it is not ASCII.
    let str_ascii_data = table.field(i.str_size, i.str_ascii_size, 8)?;
    let tlbc = |size, index, width| if free_threaded { table.field(size, index, width) } else { Ok(0) };
    Ok(Layout {
        version,
        minor,
        free_threaded,
        runtime,
        code_type,
        thread: ThreadFields {
            next: table.field(i.thread_size, i.thread_next, 8)?,
            interp: table.field(i.thread_size, i.thread_interp, 8)?,
            frame_root: table.field(i.thread_size, i.current_frame, 8)?,
            cframe_frame: None,
            thread_id: table.field(i.thread_size, i.thread_id, 8)?,
            native_thread_id: table.field(i.thread_size, i.native_thread_id, 8)?,
            status: Some(table.field(i.thread_size, i.thread_status, 4)?),
        },
        frame: FrameFields {
            previous: table.field(i.frame_size, i.frame_previous, 8)?,
            code: table.field(i.frame_size, i.executable, 8)?,
            instruction: table.field(i.frame_size, i.instr_ptr, 8)?,
            owner: table.field(i.frame_size, i.owner, 1)?,
            // 3.13 carries no such offset: from the headers of 3.13.0.
            stack_top: if minor == 13 { 64 } else { table.field(i.frame_size, i.stack_pointer, 8)? },
            locals: table.field(i.frame_size, i.locals, 8)?,
            tlbc_index: tlbc(i.frame_size, i.tlbc_index, 4)?,
        },
        code: CodeFields {
            flags: ob_size.wrapping_add(32),
            first_line: table.field(i.code_size, i.first_line, 4)?,
            filename: table.field(i.code_size, i.filename, 8)?,
            name: table.field(i.code_size, i.name, 8)?,
            qualname: table.field(i.code_size, i.qualname, 8)?,
            linetable: table.field(i.code_size, i.linetable, 8)?,
            bytecode: table.field(i.code_size, i.bytecode, 2)?,
            tlbc: tlbc(i.code_size, i.tlbc, 8)?,
        },
        generator: if minor == 13 {
            GeneratorFields { frame: 72, state: 67 }
        } else {
            GeneratorFields {
                frame: table.field(i.generator_size, i.generator_frame, 8)?,
                state: table.field(i.generator_size, i.generator_state, 1)?,
            }
        },
        object: ObjectFields {
            ob_type: table.field(i.object_size, i.ob_type, 8)?,
            ob_size,
            bytes_data: table.field(i.bytes_size, i.bytes_data, 1)?,
            str_length: table.field(i.str_size, i.str_length, 8)?,
            str_state: table.field(i.str_size, i.str_state, 4)?,
            str_ascii_data,
            str_compact_data: str_ascii_data.wrapping_add(16),
        },
        runtime_fields: RuntimeFields {
            interpreters_head: table.field(i.runtime_size, i.interpreters_head, 8)?,
            interp_next: table.field(i.interp_size, i.interp_next, 8)?,
            threads_head: table.field(i.interp_size, i.threads_head, 8)?,
            modules: table.field(i.interp_size, i.modules, 8)?,
            gil: GilPlace::Pointer(table.field(i.interp_size, i.ceval_gil, 8)?),
            gil_last_holder: table.distance(i.gil, i.gil_holder)?,
            gil_locked: table.distance(i.gil, i.gil_locked)?,
            collecting: table
                .field(i.interp_size, i.gc, 8)?
                .checked_add(table.field(i.gc_size, i.gc_collecting, 4)?)
                .ok_or(Unsupported::Unreadable)?,
        },
    })
}
