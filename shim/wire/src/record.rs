//! The records: what one slot (or a run of slots) of a ring holds.
//!
//! Invariant: every record starts with a [`RecordHeader`] in its first slot; a payload longer than
//! [`PAYLOAD`] bytes goes on, raw and without headers, in the slots behind it. All numbers are native-endian.
//! Times are `CLOCK_MONOTONIC` nanoseconds.

use core::mem::size_of;

/// Bytes of a slot.
pub const SLOT: usize = 64;
/// Bytes of payload in a record's first slot.
pub const PAYLOAD: usize = SLOT - size_of::<RecordHeader>();
/// Most slots that one record may take (1 MiB: a code object with a very long line table).
pub const MAX_SLOTS: u32 = 16_384;

/// The word that commits the record whose first slot stands at `position` (slots since the claim).
///
/// The constant makes a payload word that happens to equal a position unlikely to read as a commit.
#[must_use]
pub const fn commit_word(position: u64) -> u64 {
    position ^ 0x9e37_79b9_7f4a_7c15
}

/// First sixteen bytes of a record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// [`commit_word`] of the slot's position once the record is whole; written last, with Release.
    pub commit: u64,
    /// A [`Kind`] as a number.
    pub kind: u8,
    /// Free for the kind (see each payload).
    pub flags: u8,
    /// Reserved, 0.
    pub reserved: u16,
    /// Bytes of payload, over all slots of the record.
    pub payload_bytes: u32,
}

/// What a record says.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`ProcessStart`]: a Python process armed itself.
    ProcessStart = 1,
    /// [`ThreadStart`].
    ThreadStart = 2,
    /// [`ThreadEnd`]: the exact CPU ledger of a thread that ends.
    ThreadEnd = 3,
    /// [`CodeDef`], then filename, qualname and line table bytes.
    CodeDef = 4,
    /// [`StackDef`], then its [`StackEntry`]s, leaf first.
    StackDef = 5,
    /// [`CpuSample`].
    CpuSample = 6,
    /// [`SelfTest`]: does our frame walk agree with the interpreter's own answer?
    SelfTest = 7,
    /// [`ProcessEnd`]: orderly end or exec, with the process' ledger.
    ProcessEnd = 8,
    /// [`Alloc`]: one sampled (or, in exact mode, one) allocation.
    Alloc = 9,
    /// [`Free`]: the end of an allocation that was recorded.
    Free = 10,
    /// [`Copy`]: sampled copy volume.
    Copy = 11,
    /// [`Map`]: memory mapped, unmapped or moved.
    Map = 12,
    /// [`FreeVolume`]: sampled freed bytes, credited to the running line.
    FreeVolume = 13,
    /// [`Notice`]: something the report must say (an allocator that is in the way, a refusal).
    Notice = 14,
    /// [`Allocator`], then the path of its library.
    Allocator = 15,
    /// [`Teardown`].
    Teardown = 16,
    /// [`Section`], then its name: the program itself marks a stretch of its run.
    Section = 17,
}

impl Kind {
    /// The kind of a header's number; `None` for one that this build does not know.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::ProcessStart,
            2 => Self::ThreadStart,
            3 => Self::ThreadEnd,
            4 => Self::CodeDef,
            5 => Self::StackDef,
            6 => Self::CpuSample,
            7 => Self::SelfTest,
            8 => Self::ProcessEnd,
            9 => Self::Alloc,
            10 => Self::Free,
            11 => Self::Copy,
            12 => Self::Map,
            13 => Self::FreeVolume,
            14 => Self::Notice,
            15 => Self::Allocator,
            16 => Self::Teardown,
            17 => Self::Section,
            _ => return None,
        })
    }
}

/// A Python process armed itself (also sent by a fork's child, into its own segment).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProcessStart {
    /// When.
    pub time_ns: u64,
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent: u32,
    /// `Py_Version` (hexadecimal, e.g. `0x030b07f0`); 0 where it could not be read.
    pub python_version: u32,
    /// Bit 0: free-threaded build. Bit 1: forked from an armed process. Bit 2: frames are not read (see the notice).
    pub flags: u32,
    /// Address of `_PyRuntime` in the process; 0 if unknown. The launcher's remote reader starts here.
    pub runtime: u64,
    /// Address of `PyCode_Type`; 0 if unknown.
    pub code_type: u64,
    /// CPU nanoseconds the process had used when it armed.
    pub cpu_ns: u64,
}

/// [`ThreadStart::source`]: perf task-clock events of another process, user and kernel time alike.
pub const SOURCE_PERF_WHOLE: u32 = 5;

/// A thread was seen for the first time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ThreadStart {
    /// When.
    pub time_ns: u64,
    /// Kernel thread id.
    pub tid: u32,
    /// What samples it: 0 nothing, 1 perf task-clock (user time) with a timer for kernel time, 2 a CPU timer alone,
    /// 3 perf alone, 4 looks from another thread, with the ticks that the kernel counts, [`SOURCE_PERF_WHOLE`].
    pub source: u32,
    /// CPU nanoseconds the thread had used when its sampling began.
    pub cpu_ns: u64,
    /// Interval of its samples in CPU nanoseconds.
    pub interval_ns: u64,
}

/// A thread ended: its exact ledger.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ThreadEnd {
    /// When.
    pub time_ns: u64,
    /// Kernel thread id.
    pub tid: u32,
    /// Reserved, 0.
    pub reserved: u32,
    /// CPU nanoseconds of its whole life (`CLOCK_THREAD_CPUTIME_ID`).
    pub cpu_ns: u64,
    /// Its kernel time in nanoseconds (`getrusage`, tick-grained).
    pub system_ns: u64,
}

/// A code object, sent once before the first stack that names it.
///
/// Behind it: `filename_bytes` of UTF-8, `name_bytes` of UTF-8 (the qualified name), `table_bytes` of `co_linetable`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CodeDef {
    /// Number of the code object, unique within the process (never 0).
    pub code: u32,
    /// `co_firstlineno`.
    pub first_line: u32,
    /// Bytes of the filename.
    pub filename_bytes: u32,
    /// Bytes of the qualified name.
    pub name_bytes: u32,
    /// Bytes of the line table; 0 where it was too long or could not be read (then lines fall back on `first_line`).
    pub table_bytes: u32,
    /// `co_flags`.
    pub co_flags: u32,
}

/// A stack, sent once before the first record that names it; its [`StackEntry`]s follow, leaf first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StackDef {
    /// Hash of the entries, unique within the process but for collisions of 64 bits; never 0.
    pub stack: u64,
    /// Entries that follow.
    pub depth: u32,
    /// Bit 0: deeper frames were cut. Bit 1: a frame could not be read, so outer ones may be missing.
    pub flags: u32,
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

/// Where a CPU sample's time went.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CpuKind {
    /// Executing bytecode, the interpreter's own work included.
    Python = 0,
    /// C code called by the line.
    Native = 1,
    /// The kernel, on behalf of the line.
    System = 2,
}

/// One CPU sample. `flags` of the header: bit 0 timer (else perf), bit 1 no Python thread state (a thread of a C
/// library, or before start-up), bit 2 the thread did not hold the GIL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CpuSample {
    /// When.
    pub time_ns: u64,
    /// [`StackDef::stack`]; 0: no Python stack.
    pub stack: u64,
    /// Program counter that was interrupted.
    pub pc: u64,
    /// CPU nanoseconds the sample stands for.
    pub weight_ns: u64,
    /// Kernel thread id.
    pub tid: u32,
    /// A [`CpuKind`] as a number.
    pub kind: u8,
    /// Opcode under the leaf's instruction pointer (for reports on the classification).
    pub opcode: u8,
    /// Reserved, 0.
    pub reserved: u16,
    /// Reserved, 0.
    pub reserved2: u64,
}

/// Verdict of the start-up self-test.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SelfTest {
    /// When.
    pub time_ns: u64,
    /// 1 passed; 2 failed: frames differ, nothing but totals can be trusted; 3 could not run.
    pub verdict: u32,
    /// Frames compared.
    pub frames: u32,
    /// First frame that differed, from the leaf (verdict 2).
    pub at: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// The orderly end of a process (exit, `_exit`, exec).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProcessEnd {
    /// When.
    pub time_ns: u64,
    /// CPU nanoseconds of the whole process (`CLOCK_PROCESS_CPUTIME_ID`).
    pub cpu_ns: u64,
    /// Its user time in nanoseconds (`getrusage`).
    pub user_ns: u64,
    /// Its kernel time in nanoseconds (`getrusage`).
    pub system_ns: u64,
    /// Peak RSS in bytes (`ru_maxrss`).
    pub peak_rss: u64,
    /// 0 exit, 1 `_exit`, [`BY_EXEC`].
    pub how: u32,
    /// What the parent is told: [`STATUS_KNOWN`] and the exit code (0 to 255); 0 where it is not known.
    pub status: u32,
}

/// [`ProcessEnd::how`]: it becomes another program, unless that fails.
pub const BY_EXEC: u32 = 2;
/// Bit of [`ProcessEnd::status`]: the rest of it is an exit code.
pub const STATUS_KNOWN: u32 = 1 << 8;

/// A stretch of the run that the program marked begins or ends.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Section {
    /// When.
    pub time_ns: u64,
    /// CPU nanoseconds of the whole process so far, without those of the profiler's own thread in it.
    pub cpu_ns: u64,
    /// Number of the section, unique within the process.
    pub section: u32,
    /// 1: it begins, and its name follows. 0: it ends.
    pub begins: u32,
}

/// One recorded allocation. `flags` of the header: bit 0 always recorded (weight is exactly its size),
/// bit 1 through Python's object allocators.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Alloc {
    /// When.
    pub time_ns: u64,
    /// Running stack; 0: none.
    pub stack: u64,
    /// Address of the block.
    pub address: u64,
    /// Bytes that were asked for.
    pub size: u64,
    /// Mean bytes between samples when it was taken (T): it stands for `size / (1 - exp(-size / T))` bytes; 0: exact.
    pub interval: u64,
    /// Kernel thread id.
    pub tid: u32,
    /// Bytes moved forward by the counter that this sample closes (reserved, 0).
    pub reserved: u32,
}

/// The end of a block that was recorded.
///
/// A block that is resized ends before the allocator is asked, since another thread may be given its address before the
/// answer is known. If the allocator refuses, a second record of the same thread says that the block lives on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Free {
    /// When.
    pub time_ns: u64,
    /// Stack that was running; 0: none.
    pub stack: u64,
    /// Address of the block.
    pub address: u64,
    /// Kernel thread id.
    pub tid: u32,
    /// One of [`FREED`], [`RESIZED`] and [`REFUSED`].
    pub how: u32,
}

/// [`Free::how`]: the block is given back.
pub const FREED: u32 = 0;
/// [`Free::how`]: the block is about to become another one.
pub const RESIZED: u32 = 1;
/// [`Free::how`]: the thread's last resize was refused, so its block is as it was.
pub const REFUSED: u32 = 2;

/// Sampled copy volume.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Copy {
    /// When.
    pub time_ns: u64,
    /// Running stack; 0: none.
    pub stack: u64,
    /// Bytes that the sample stands for.
    pub weight: u64,
    /// Kernel thread id.
    pub tid: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// Sampled volume of frees on the running line (weights as in [`Alloc`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FreeVolume {
    /// When.
    pub time_ns: u64,
    /// Running stack; 0: none.
    pub stack: u64,
    /// Bytes that the sample stands for.
    pub weight: u64,
    /// Kernel thread id.
    pub tid: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// A change of the address space by mmap, munmap or mremap. `flags` of the header: bit 0 file-backed, bit 1 shared.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Map {
    /// When.
    pub time_ns: u64,
    /// Running stack; 0: none.
    pub stack: u64,
    /// First address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Former address (mremap), else 0.
    pub old_address: u64,
    /// Former bytes (mremap); else for map 0, for unmap [`UNMAPPED`], for address space that may be touched from now on
    /// (mprotect) [`OPENED`].
    pub old_size: u64,
}

/// [`Map::old_size`] of an unmapping.
pub const UNMAPPED: u64 = u64::MAX;
/// [`Map::old_size`] of address space that was opened.
pub const OPENED: u64 = u64::MAX - 1;

/// The library whose `malloc` is behind the hooks, where it is not libc; its path follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocator {
    /// When.
    pub time_ns: u64,
    /// Bytes of the path.
    pub bytes: u64,
}

/// The interpreter begins to tear itself down: what is freed from now on, the program has kept to its end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Teardown {
    /// When.
    pub time_ns: u64,
}

/// Something the report must say; [`Notice::code`] is listed in the launcher's messages.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Notice {
    /// When.
    pub time_ns: u64,
    /// 1 unsupported Python version, 2 debug or free-threaded build, 3 perf denied, 4 no timer for a thread,
    /// 5 allocator hooks refused, 7 frames refused by the self-test,
    /// 8 a thread is not sampled since it was sent the SIGURG that it blocks.
    pub code: u32,
    /// errno or another number that belongs to the code.
    pub detail: u32,
}

const _: () = assert!(size_of::<RecordHeader>() == 16);
const _: () = assert!(size_of::<ProcessStart>() == 48);
const _: () = assert!(size_of::<CpuSample>() == 48);
const _: () = assert!(size_of::<Alloc>() == 48);
const _: () = assert!(size_of::<Map>() == 48);
const _: () = assert!(size_of::<ProcessEnd>() == 48);
const _: () = assert!(size_of::<Section>() == 24);
