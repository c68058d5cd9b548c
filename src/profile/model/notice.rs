//! Messages of a profile: facts about the run that a report must show beside the figures.
//!
//! Job: a type for every message, from the recorder or from the launcher, with a code for programs and a text for
//! people. Invariant: every code is in [`codes`], and docs/profile-format.md lists all of them. A profile of format 1.1
//! or older has plain strings, which read as messages of the code `other`. Neighbours: `build::notices` makes most of
//! the messages, reports print their [`Display`](std::fmt::Display).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Codes of messages.
pub mod codes {
    macro_rules! codes {
        ($($(#[$doc:meta])* $name:ident = $code:literal;)+) => {
            $($(#[$doc])* pub const $name: &str = $code;)+
            /// All codes but those of the shim's own notices.
            pub const ALL: &[&str] = &[$($code),+];
        };
    }
    codes! {
    /// A message of a profile whose format had no codes yet, or a notice that this build does not know.
    OTHER = "other";
    /// The self-test failed: no line of the process is reported.
    FRAMES_REFUSED = "frames_refused";
    /// The line table of a function could not be read: the function's time is charged to its first line.
    LINES_UNKNOWN = "lines_unknown";
    /// Some stacks were deeper than the part that is read.
    DEEP_STACKS = "deep_stacks";
    /// Records of the process were lost.
    LOST_RECORDS = "lost_records";
    /// More processes than rows: the last row holds the rest.
    MANY_PROCESSES = "many_processes";
    /// More threads than rows: the last row holds the rest.
    MANY_THREADS = "many_threads";
    /// More names of sections than rows: sections of further names have no row.
    MANY_SECTIONS = "many_sections";
    /// More call paths than the tree of calls holds: the innermost frames of the rest are combined with their callers.
    FOLDED_PATHS = "folded_paths";
    /// More programs on command lines (`-c`) than are kept: the rest share a name.
    MANY_TEXTS = "many_texts";
    /// More messages than the profile keeps.
    MANY_NOTICES = "many_notices";
    /// Figures that were not finite numbers are left out.
    NOT_FINITE = "not_finite";
    /// Processes got no segment of the shared memory, because the arena was full.
    NO_ROOM = "no_room";
    /// Processes in PID namespaces of their own were not profiled.
    OTHER_NAMESPACE = "other_namespace";
    /// The capture for `rscalene recover` is not complete.
    CAPTURE_INCOMPLETE = "capture_incomplete";
    /// The capture ends early, is damaged or unreadable from some place on.
    CAPTURE_DAMAGED = "capture_damaged";
    /// The profile was made from a capture after the launcher had died.
    RECOVERED = "recovered";
    /// The program still runs.
    SO_FAR = "so_far";
    /// Kernel time is known by the clock's ticks alone.
    KERNEL_BY_TICKS = "kernel_by_ticks";
    /// Without perf, lines of short bursts of work are approximate.
    WITHOUT_PERF = "without_perf";
    /// A library has an allocator of its own, whose blocks are not seen.
    OWN_ALLOCATOR = "own_allocator";
    /// Memory by line is unknown: the allocation functions could not be observed.
    MEMORY_UNKNOWN = "memory_unknown";
        /// No process counted its queries, though `--sql` asked for it.
    SQL_UNCOUNTED = "sql_uncounted";
        /// The file is another profiler's.
    FOREIGN = "foreign";
    /// A file could not be merged.
    NOT_MERGED = "not_merged";
    /// Some figures are known only for a part of the merged runs.
    PARTLY_KNOWN = "partly_known";
    }
}

/// A message of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Read")]
pub struct Notice {
    /// The kind of message, e.g. `perf_denied`.
    pub code: String,
    /// The id of the process that the message is about; `None`: the whole run.
    pub process: Option<u32>,
    /// The message, without the process.
    pub text: String,
}

impl Notice {
    /// A message about the whole run.
    pub fn of_run(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self { code: code.into(), process: None, text: text.into() }
    }

    /// A message about the process with the id `process`.
    pub fn of_process(process: u32, code: impl Into<String>, text: impl Into<String>) -> Self {
        Self { process: Some(process), ..Self::of_run(code, text) }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Some(process) => write!(out, "process {process}: {}", self.text),
            None => out.write_str(&self.text),
        }
    }
}

/// Both ways in which a file may hold a message.
#[derive(Deserialize)]
#[serde(untagged)]
enum Read {
    /// Since format 1.2.
    Whole {
        code: String,
        #[serde(default)]
        process: Option<u32>,
        text: String,
    },
    /// Until format 1.1.
    Text(String),
}

impl From<Read> for Notice {
    fn from(read: Read) -> Self {
        match read {
            Read::Whole { code, process, text } => Self { code, process, text },
            Read::Text(text) => Self::of_run(codes::OTHER, text),
        }
    }
}
