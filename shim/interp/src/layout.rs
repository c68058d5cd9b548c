//! Where the fields of one interpreter's structures lie.
//!
//! Job: turn a version and the address of `_PyRuntime` into offsets. The reader's question: *where did this offset
//! come from?* For 3.11 and 3.12 from a table (both are frozen: their headers gave the numbers), from 3.13 on from the
//! `_Py_DebugOffsets` that the interpreter itself carries. Invariant: a version that nobody has checked is refused,
//! never guessed. Neighbours: `debug_offsets` reads the carried form; `walk`, `identity`, `text`, `threads` use it.

use crate::debug_offsets;
use crate::memory::Memory;

/// Why an interpreter's layout cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// Not CPython 3.11 to 3.15: its `PY_VERSION_HEX`.
    Version(u32),
    /// An alpha or beta, whose structures still move: its `PY_VERSION_HEX`.
    Prerelease(u32),
    /// A free-threaded build before 3.14.
    FreeThreaded(u32),
    /// `_PyRuntime` does not start with the cookie `xdebugpy`.
    NoCookie,
    /// `_PyRuntime` says another version than the caller.
    OtherVersion(u32),
    /// `_PyRuntime` or the type of code objects could not be read.
    Unreadable,
    /// An offset that no interpreter can have: its index in the debug offsets, and the offset.
    Implausible(u8, u64),
}

/// Offsets of `PyThreadState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadFields {
    pub(crate) next: u32,
    pub(crate) interp: u32,
    /// Of `cframe` where there is one, else of `current_frame`.
    pub(crate) frame_root: u32,
    /// Offset of `current_frame` in the `_PyCFrame`; `None` where the thread state holds it itself.
    pub(crate) cframe_frame: Option<u32>,
    pub(crate) thread_id: u32,
    pub(crate) native_thread_id: u32,
    /// Of `_status`; `None` before 3.13, where it does not tell which state a thread runs.
    pub(crate) status: Option<u32>,
}

/// Offsets of `_PyInterpreterFrame`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameFields {
    pub(crate) previous: u32,
    pub(crate) code: u32,
    pub(crate) instruction: u32,
    pub(crate) owner: u32,
    /// Of `stacktop` (an `int` that counts from `locals`) up to 3.13, of the pointer `stackpointer` from 3.14 on.
    pub(crate) stack_top: u32,
    /// Of `localsplus`.
    pub(crate) locals: u32,
    pub(crate) tlbc_index: u32,
}

/// Offsets of generators, coroutines and async generators, which share their head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GeneratorFields {
    pub(crate) frame: u32,
    pub(crate) state: u32,
}

/// Offsets of `PyCodeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeFields {
    pub(crate) flags: u32,
    pub(crate) first_line: u32,
    pub(crate) filename: u32,
    pub(crate) name: u32,
    pub(crate) qualname: u32,
    pub(crate) linetable: u32,
    pub(crate) bytecode: u32,
    /// Of `co_tlbc`; only free-threaded builds have it.
    pub(crate) tlbc: u32,
}

/// Offsets of the object header, `bytes` and `str`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectFields {
    pub(crate) ob_type: u32,
    pub(crate) ob_size: u32,
    pub(crate) bytes_data: u32,
    pub(crate) str_length: u32,
    pub(crate) str_state: u32,
    pub(crate) str_ascii_data: u32,
    pub(crate) str_compact_data: u32,
}

/// Offsets of `_PyRuntime`, `PyInterpreterState` and the GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeFields {
    pub(crate) interpreters_head: u32,
    pub(crate) interp_next: u32,
    pub(crate) threads_head: u32,
    /// Of the dictionary of imported modules in `PyInterpreterState`.
    pub(crate) modules: u32,
    pub(crate) gil: GilPlace,
    pub(crate) gil_last_holder: u32,
    pub(crate) gil_locked: u32,
}

/// Where an interpreter's GIL structure lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GilPlace {
    /// In `_PyRuntime` at this offset: one for all interpreters.
    Runtime(u32),
    /// Behind the pointer at this offset of `PyInterpreterState`: sub-interpreters may have their own.
    Pointer(u32),
}

/// What one interpreter looks like: plain numbers, made once, copied freely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `PY_VERSION_HEX` of the interpreter.
    pub version: u32,
    /// The minor version, 11 to 15.
    pub minor: u8,
    /// Whether the interpreter was built without the GIL.
    pub free_threaded: bool,
    /// Address of `_PyRuntime`.
    pub runtime: u64,
    /// Address of `PyCode_Type`, by which a code object is told from garbage.
    pub code_type: u64,
    pub(crate) thread: ThreadFields,
    pub(crate) frame: FrameFields,
    pub(crate) code: CodeFields,
    pub(crate) generator: GeneratorFields,
    pub(crate) object: ObjectFields,
    pub(crate) runtime_fields: RuntimeFields,
}

impl Layout {
    /// The layout of the interpreter whose `Py_Version` is `version`, with `_PyRuntime` at `runtime` and
    /// `PyCode_Type` at `code_type`.
    ///
    /// # Errors
    /// [`Unsupported`] where the layout is not known for certain.
    pub fn of(version: u32, runtime: u64, code_type: u64, mem: &impl Memory) -> Result<Self, Unsupported> {
        let [major, minor, _, level] = version.to_be_bytes();
        if major != 3 || !(11..=15).contains(&minor) {
            return Err(Unsupported::Version(version));
        }
        // The high half of the last byte: 0xA alpha, 0xB beta, 0xC candidate, 0xF final.
        if level < 0xC0 {
            return Err(Unsupported::Prerelease(version));
        }
        // Every type has a type: a wrong address fails here rather than by rejecting every frame.
        if mem.u64(code_type.wrapping_add(8)).is_none() {
            return Err(Unsupported::Unreadable);
        }
        match minor {
            11 => Ok(python_3_11(version, runtime, code_type)),
            12 => Ok(python_3_12(version, runtime, code_type)),
            _ => debug_offsets::layout(version, runtime, code_type, mem),
        }
    }
}

/// From the headers of 3.11.7; all 3.11 releases share them.
fn python_3_11(version: u32, runtime: u64, code_type: u64) -> Layout {
    Layout {
        version,
        minor: 11,
        free_threaded: false,
        runtime,
        code_type,
        thread: ThreadFields {
            next: 8,
            interp: 16,
            frame_root: 56,
            cframe_frame: Some(8),
            thread_id: 152,
            native_thread_id: 160,
            status: None,
        },
        frame: FrameFields {
            previous: 48,
            code: 32,
            instruction: 56,
            owner: 69,
            stack_top: 64,
            locals: 72,
            tlbc_index: 0,
        },
        code: CodeFields {
            flags: 48,
            first_line: 72,
            filename: 112,
            name: 120,
            qualname: 128,
            linetable: 136,
            bytecode: 184,
            tlbc: 0,
        },
        generator: GeneratorFields { frame: 80, state: 75 },
        object: ObjectFields {
            ob_type: 8,
            ob_size: 16,
            bytes_data: 32,
            str_length: 16,
            str_state: 32,
            str_ascii_data: 48,
            str_compact_data: 72,
        },
        runtime_fields: RuntimeFields {
            interpreters_head: 40,
            interp_next: 0,
            threads_head: 16,
            modules: 888,
            gil: GilPlace::Runtime(360),
            gil_last_holder: 8,
            gil_locked: 16,
        },
    }
}

/// From the headers of 3.12.1; all 3.12 releases share them.
fn python_3_12(version: u32, runtime: u64, code_type: u64) -> Layout {
    let older = python_3_11(version, runtime, code_type);
    Layout {
        minor: 12,
        thread: ThreadFields { cframe_frame: Some(0), thread_id: 136, native_thread_id: 144, ..older.thread },
        frame: FrameFields { previous: 8, code: 0, owner: 70, ..older.frame },
        code: CodeFields { first_line: 68, bytecode: 192, ..older.code },
        generator: GeneratorFields { frame: 72, state: 67 },
        object: ObjectFields { str_ascii_data: 40, str_compact_data: 56, ..older.object },
        runtime_fields: RuntimeFields {
            threads_head: 72,
            modules: 944,
            gil: GilPlace::Pointer(384),
            ..older.runtime_fields
        },
        ..older
    }
}
