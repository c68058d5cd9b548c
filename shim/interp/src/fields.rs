//! Names of the fields of an interpreter's structures, and the offset of each.
//!
//! Job: define [`Layout`], the offsets by which all other files read an interpreter. Invariant: only `versions` makes a
//! layout, and always a complete layout. Neighbours: `versions` (makes layouts), `walk`, `identity`, `text`, `threads`
//! (use a layout).

/// The reason why an interpreter's layout is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// Not CPython 3.11 to 3.15: its `PY_VERSION_HEX`.
    Version(u32),
    /// An alpha or beta version, with structures that may still change: its `PY_VERSION_HEX`.
    Prerelease(u32),
    /// A free-threaded build before 3.14.
    FreeThreaded(u32),
    /// `_PyRuntime` does not start with the cookie `xdebugpy`.
    NoCookie,
    /// `_PyRuntime` names another version than the caller.
    OtherVersion(u32),
    /// `_PyRuntime` or the type of code objects could not be read.
    Unreadable,
    /// An offset or a size that no interpreter can have (beyond its structure, misaligned, too large): its index in the
    /// debug offsets, and the value.
    Implausible(u8, u64),
}

/// Offsets of `PyThreadState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadFields {
    pub(crate) next: u32,
    pub(crate) interp: u32,
    /// Of `cframe` in 3.11 and 3.12, else of `current_frame`.
    pub(crate) frame_root: u32,
    /// Offset of `current_frame` in the `_PyCFrame`; `None` if the thread state holds `current_frame` itself.
    pub(crate) cframe_frame: Option<u32>,
    pub(crate) thread_id: u32,
    pub(crate) native_thread_id: u32,
    /// Of `_status`; `None` before 3.13, because `_status` then has no flag for the state that a thread runs.
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
    /// Of `co_tlbc`; only free-threaded builds have this field.
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
    /// Of `gc.collecting` in `PyInterpreterState`.
    pub(crate) collecting: u32,
}

/// The place of an interpreter's GIL structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GilPlace {
    /// In `_PyRuntime` at this offset: a single GIL for all interpreters.
    Runtime(u32),
    /// Behind the pointer at this offset of `PyInterpreterState`: sub-interpreters may have their own.
    Pointer(u32),
}

/// The layout of an interpreter's structures: plain numbers, made once, copied freely.
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
    /// Address of `PyCode_Type`: an object with another type is no code object.
    pub code_type: u64,
    pub(crate) thread: ThreadFields,
    pub(crate) frame: FrameFields,
    pub(crate) code: CodeFields,
    pub(crate) generator: GeneratorFields,
    pub(crate) object: ObjectFields,
    pub(crate) runtime_fields: RuntimeFields,
}

impl Layout {
    /// Offset of a frame's pointer to its globals: the second field in 3.11, later the fourth.
    pub(crate) fn frame_globals(&self) -> u32 {
        if self.minor == 11 { 8 } else { 24 }
    }

    /// Offset of `PyTupleObject.ob_item`; from 3.14 on, a tuple keeps its hash before its items.
    pub(crate) fn tuple_items(&self) -> u32 {
        if self.minor >= 14 { 32 } else { 24 }
    }
}
