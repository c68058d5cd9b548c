//! The offsets of the fields in an interpreter's structures, by the interpreter's version.
//!
//! Job: turn a version and the address of `_PyRuntime` into offsets. The offsets of 3.11 and 3.12 come from tables
//! here, with numbers from the headers of these versions, which no longer change. From 3.13 on, the offsets come from
//! `_Py_DebugOffsets` in the interpreter's own data. Invariant: a version that the authors have not checked is refused.
//! Neighbours: `debug_offsets` reads `_Py_DebugOffsets`; `walk`, `identity`, `text` and `threads` use the layout.

use crate::debug_offsets;
use crate::fields::{
    CodeFields, FrameFields, GeneratorFields, GilPlace, Layout, ObjectFields, RuntimeFields, ThreadFields, Unsupported,
};
use crate::memory::Memory;

impl Layout {
    /// The layout of the interpreter whose `Py_Version` is `version`, with `_PyRuntime` at `runtime` and
    /// `PyCode_Type` at `code_type`.
    ///
    /// # Errors
    /// [`Unsupported`] if the layout is not known for certain.
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
            collecting: 848,
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
            collecting: 312,
            ..older.runtime_fields
        },
        ..older
    }
}
