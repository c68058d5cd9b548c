//! The records: the payload of a slot, or of a run of slots, of a ring.
//!
//! Times are `CLOCK_MONOTONIC` nanoseconds, and numbers are in the machine's byte order. A new record gets a
//! row in docs/design/wire.md from here, and needs a line in `transport::decode`. Neighbours: `table` (the macro),
//! `values` (types of fields), `slot` (the header before each record).

use crate::table::{Bytes, FieldRow, Flags, NoFlags, Plain, Record, RecordRow, records};
use crate::values::{
    AllocFlags, CodeFlags, CpuFlags, CpuKind, EndedBy, ExitStatus, FreeHow, MapChange, MapFlags, NoticeCode,
    ProcessFlags, QueryMark, SectionMark, Source, Verdict,
};

/// Longest text of a [`Label`] in bytes: the sender cuts longer texts, the reader refuses them.
pub const LABEL_BYTES: usize = 4096;
/// Most pairs of a [`Label`].
pub const LABEL_PAIRS: usize = 16;
/// Bytes in the place of a line table that is not sent ([`CodeFlags::TABLE_APART`]).
pub const TABLE_PLACE_BYTES: usize = 24;
/// Mean bytes between two samples of copies ([`Copy`]): copies run at some 10 GB/s, so a thread sends a few thousand
/// a second at most.
pub const COPY_INTERVAL: u64 = 4 * 1024 * 1024;
/// [`Span::cpu_ns`] if unknown.
pub const UNKNOWN_NS: u64 = u64::MAX;
/// [`Query::rows`] if unknown.
pub const UNKNOWN_ROWS: u64 = u64::MAX;

records! {
    /// A Python process armed itself (also sent by a fork's child, into its own segment).
    ProcessStart = 1 {
        /// Time.
        time_ns: u64,
        /// Process id.
        pid: u32,
        /// Parent's process id.
        parent: u32,
        /// `Py_Version` (hexadecimal, for example `0x030b07f0`); 0 if unreadable.
        python_version: u32,
        /// The kind of process.
        flags: ProcessFlags,
        /// Address of `_PyRuntime` in the process; 0 if unknown. The launcher's remote reader starts here.
        runtime: u64,
        /// Address of `PyCode_Type`; 0 if unknown.
        code_type: u64,
        /// CPU nanoseconds that the process had used by then.
        cpu_ns: u64,
    }

    /// Sampling of a thread begins.
    ThreadStart = 2 {
        /// Time.
        time_ns: u64,
        /// Kernel thread id.
        tid: u32,
        /// The source of its samples.
        source: Source,
        /// CPU nanoseconds that the thread had used by then.
        cpu_ns: u64,
        /// Mean CPU nanoseconds between two samples.
        interval_ns: u64,
    }

    /// The exact clock of a thread, at its end or at the end of its process.
    ThreadEnd = 3 {
        /// Time.
        time_ns: u64,
        /// Kernel thread id.
        tid: u32,
        /// 0.
        reserved: u32,
        /// CPU nanoseconds of its whole life (`CLOCK_THREAD_CPUTIME_ID`).
        cpu_ns: u64,
        /// Kernel nanoseconds of its whole life (`getrusage`); 0 where another thread wrote the record.
        system_ns: u64,
    }

    /// A code object; sent once, before the first stack with its number.
    CodeDef = 4 [CodeFlags] then "`co_filename`, `co_qualname` and `co_linetable`" {
        /// Number for stacks: unique in the process.
        code: u32,
        /// `co_firstlineno`.
        first_line: u32,
        /// Bytes of the filename (UTF-8).
        filename_bytes: u32,
        /// Bytes of the qualified name (UTF-8).
        name_bytes: u32,
        /// Bytes of the line table, wherever it stands.
        table_bytes: u32,
    }

    /// A stack; sent before the first record with its hash, and again where the shim has forgotten that it was sent.
    StackDef = 5 then "its entries, leaf first" {
        /// Hash of the entries, unique in the process but for collisions of 64 bits; never 0.
        stack: u64,
        /// Entries that follow.
        depth: u32,
        /// 0: the shim sends the stack again once another one took its place ([`stack_slot`]); 1: it is sent once.
        lasting: u32,
    }

    /// One CPU sample.
    CpuSample = 6 [CpuFlags] {
        /// Time.
        time_ns: u64,
        /// [`StackDef::stack`]; 0: no Python stack.
        stack: u64,
        /// Program counter that was interrupted.
        pc: u64,
        /// CPU nanoseconds that the sample stands for.
        weight_ns: u64,
        /// Kernel thread id.
        tid: u32,
        /// [`Label::label`] of the thread; 0: none.
        label: u32,
        /// Where the time went: bytecode, C code or the kernel.
        kind: CpuKind,
        /// 0.
        reserved: u8,
        /// 0.
        reserved2: u16,
        /// 0.
        reserved3: u32,
    }

    /// The start-up self-test compared our frame walk with the interpreter's own answer.
    SelfTest = 7 {
        /// Time.
        time_ns: u64,
        /// Its outcome.
        verdict: Verdict,
        /// 0.
        reserved: u32,
    }

    /// The orderly end of a process (exit, `_exit`, exec).
    ProcessEnd = 8 {
        /// Time.
        time_ns: u64,
        /// CPU nanoseconds of the whole process (`CLOCK_PROCESS_CPUTIME_ID`).
        cpu_ns: u64,
        /// Peak RSS in bytes (`ru_maxrss`).
        peak_rss: u64,
        /// How it ended.
        how: EndedBy,
        /// The exit code, if known.
        status: ExitStatus,
    }

    /// One recorded allocation.
    Alloc = 9 [AllocFlags] {
        /// Time.
        time_ns: u64,
        /// Running stack; 0: none.
        stack: u64,
        /// Address of the block.
        address: u64,
        /// Requested bytes.
        size: u64,
        /// Mean bytes between samples at that moment (T): the sample stands for `size / (1 - exp(-size / T))` bytes; 0: exact.
        interval: u64,
        /// Kernel thread id.
        tid: u32,
        /// [`Label::label`] of the thread; 0: none.
        label: u32,
    }

    /// The end of a recorded block.
    ///
    /// For a resize, the shim writes this record before it calls the allocator: afterwards another thread may own the
    /// address. If the allocator refuses, a second record of the same thread (`REFUSED`) cancels the first.
    Free = 10 {
        /// Time.
        time_ns: u64,
        /// Running stack; 0: none.
        stack: u64,
        /// Address of the block.
        address: u64,
        /// Kernel thread id.
        tid: u32,
        /// Freed, resized, or kept after all.
        how: FreeHow,
        /// [`Label::label`] of the thread; 0: none.
        label: u32,
        /// 0.
        reserved: u32,
    }

    /// Bytes moved by memcpy or memmove, sampled.
    Copy = 11 {
        /// Time.
        time_ns: u64,
        /// Running stack; 0: none.
        stack: u64,
        /// Bytes that the sample stands for.
        weight: u64,
        /// Kernel thread id.
        tid: u32,
        /// [`Label::label`] of the thread; 0: none.
        label: u32,
    }

    /// A change of the address space by mmap, munmap, mremap or mprotect.
    Map = 12 [MapFlags] {
        /// Time.
        time_ns: u64,
        /// Running stack; 0: none.
        stack: u64,
        /// First address.
        address: u64,
        /// Bytes.
        size: u64,
        /// Former address, of a move; else 0.
        old_address: u64,
        /// Former bytes, of a move; else 0.
        old_size: u64,
        /// Which change.
        change: MapChange,
        /// [`Label::label`] of the thread; 0: none.
        label: u32,
    }

    /// The meaning of a label; sent once, before work with it ends.
    Label = 13 then "its text: `key` NUL `value` NUL for each pair, UTF-8" {
        /// Time.
        time_ns: u64,
        /// Its number, unique in its process; never 0.
        label: u32,
        /// Bytes of the text: at most [`LABEL_BYTES`], of at most [`LABEL_PAIRS`] pairs.
        text_bytes: u32,
    }

    /// A message for the report.
    Notice = 14 {
        /// Time.
        time_ns: u64,
        /// Which message.
        code: NoticeCode,
        /// A number for the message, such as an errno.
        detail: u32,
    }

    /// The library that serves `malloc` behind the hooks, if other than libc.
    Allocator = 15 then "its path" {
        /// Time.
        time_ns: u64,
        /// Bytes of the path.
        bytes: u64,
    }

    /// The interpreter begins its teardown: the program has kept to its end every block that is freed from now on.
    Teardown = 16 {
        /// Time.
        time_ns: u64,
    }

    /// A section of the run, marked by the program, begins or ends.
    Section = 17 then "its name, at its beginning" {
        /// Time.
        time_ns: u64,
        /// CPU nanoseconds of the process so far, without the profiler's own thread.
        cpu_ns: u64,
        /// Number of the section, unique in the process.
        section: u32,
        /// Which end.
        mark: SectionMark,
    }

    /// A piece of work has ended, such as a request.
    Span = 18 {
        /// Time of the end.
        time_ns: u64,
        /// Nanoseconds from its beginning to its end.
        wall_ns: u64,
        /// CPU nanoseconds of its thread meanwhile; [`UNKNOWN_NS`] if unknown.
        cpu_ns: u64,
        /// Running stack; 0: none.
        stack: u64,
        /// Kernel thread id.
        tid: u32,
        /// [`Label::label`] of the thread; 0: none.
        label: u32,
        /// [`Label::label`] that describes the work; 0: none.
        name: u32,
        /// How many results; `u32::MAX` if unknown.
        count: u32,
    }

    /// A query of a database begins, ends, or hands out more rows.
    Query = 19 {
        /// Time.
        time_ns: u64,
        /// The stack that it began in; 0: none.
        stack: u64,
        /// Nanoseconds in the driver since the query's last record.
        wall_ns: u64,
        /// Rows since the query's last record; [`UNKNOWN_ROWS`] if no layer knows.
        rows: u64,
        /// [`Label::label`] of the thread that it began on; 0: none.
        label: u32,
        /// [`Label::label`] that describes the statement.
        name: u32,
        /// Of the record that begins it: hash of its parameters, under a key that the process alone knows; 0: unknown.
        /// Of later records: the microseconds in the driver that its earlier records told.
        parameters: u32,
        /// What the record says.
        mark: QueryMark,
    }
}

/// One frame of a stack.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StackEntry {
    /// [`CodeDef::code`].
    pub code: u32,
    /// Byte offset of the instruction in the code object's bytecode; `u32::MAX` if unknown (use the first line).
    pub offset: u32,
}

impl Plain for StackEntry {
    const BYTES: usize = size_of::<Self>();
    const NAME: &'static str = "StackEntry";

    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(Self { code: bytes.read()?, offset: bytes.read()? })
    }
}
