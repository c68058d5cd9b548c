//! Lines, the shares of processes and threads in them, and the reading of the three from JSON.
//!
//! Job: the rows that make up most of a profile. Invariant: the keys that are read are the keys that are written;
//! `user_s` and `core_wait_s` are not among them, because no line has either. Neighbour: `profile` holds lines in
//! files.
//!
//! The reader takes the keys listed here, without `#[serde(flatten)]`: serde's own flattening keeps each object as a
//! tree before finding its fields, which took more than half of the time for reading a large profile.

use serde::{Deserialize, Serialize};

use super::figures::{Memory, memory_figures};
use super::time_and_memory::Time;

/// A native function behind a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NativeSymbol {
    /// File name of the library or program.
    pub object: String,
    /// Function; `None`: no symbol covers the address.
    pub symbol: Option<String>,
    /// CPU seconds.
    pub s: f64,
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "LineKeys")]
pub struct Line {
    /// Line number, from 1.
    pub line: u32,
    /// Qualified name of the function that the line's samples ran in.
    pub function: String,
    /// Source text without its newline; `None`: the source is unavailable.
    pub source: Option<String>,
    /// Time.
    #[serde(flatten)]
    pub time: Time,
    /// CPU samples.
    pub cpu_samples: u64,
    /// Standard error of the CPU seconds of all kinds; `None`: the line has no sample. Since format 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_s_se: Option<f64>,
    /// Memory.
    #[serde(flatten)]
    pub memory: Memory,
    /// Queries of databases, without transaction commands; `None`: the line has none, or no process counted queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_count: Option<u64>,
    /// Seconds of the queries in the drivers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_s: Option<f64>,
    /// Rows of the queries; `None`: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_rows: Option<u64>,
    /// The worst mark of the queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_mark: Option<String>,
    /// Seconds of the line in an ORM, beside the driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_build_s: Option<f64>,
    /// Native functions, largest first.
    #[serde(default)]
    pub native: Vec<NativeSymbol>,
    /// Shares of the processes, if there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_process: Vec<ProcessShare>,
    /// Shares of the threads, if there are several. Time of threads too short to be separated is in no share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_thread: Vec<ThreadShare>,
}

/// The share of a process in a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "ProcessShareKeys")]
pub struct ProcessShare {
    /// Index into [`Profile::processes`].
    pub process: usize,
    /// Its time.
    #[serde(flatten)]
    pub time: Time,
    /// Its memory.
    #[serde(flatten)]
    pub memory: Memory,
}

/// The share of a thread in a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "ThreadShareKeys")]
pub struct ThreadShare {
    /// Index into [`Profile::threads`].
    pub thread: usize,
    /// Its time.
    #[serde(flatten)]
    pub time: Time,
    /// Bytes that the thread allocated; `None`: not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alloc_bytes: Option<u64>,
}

macro_rules! with_time_and_memory {
    (
        ($keys:ident => $whole:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })
        $($(#[doc = $doc:literal])+ $key:ident: $number:ty = $row:expr;)*
    ) => {
        #[derive(Deserialize)]
        pub(crate) struct $keys {
            $($(#[$attribute])* $field: $type,)*
            python_s: Option<f64>,
            native_s: Option<f64>,
            system_s: Option<f64>,
            wait_s: Option<f64>,
            gil_wait_s: Option<f64>,
            idle_s: Option<f64>,
            helpers_s: Option<f64>,
            gc_s: Option<f64>,
            $($key: Option<$number>,)*
        }

        impl From<$keys> for $whole {
            fn from(keys: $keys) -> Self {
                Self {
                    $($field: keys.$field,)*
                    time: Time {
                        python_s: keys.python_s,
                        native_s: keys.native_s,
                        system_s: keys.system_s,
                        wait_s: keys.wait_s,
                        gil_wait_s: keys.gil_wait_s,
                        idle_s: keys.idle_s,
                        helpers_s: keys.helpers_s,
                        gc_s: keys.gc_s,
                        user_s: None,
                        core_wait_s: None,
                    },
                    memory: Memory { $($key: keys.$key,)* },
                }
            }
        }
    };
}

memory_figures!(with_time_and_memory!(LineKeys => Line {
    line: u32,
    function: String,
    source: Option<String>,
    cpu_samples: u64,
    cpu_s_se: Option<f64>,
    #[serde(default)]
    sql_count: Option<u64>,
    #[serde(default)]
    sql_s: Option<f64>,
    #[serde(default)]
    sql_rows: Option<u64>,
    #[serde(default)]
    sql_mark: Option<String>,
    #[serde(default)]
    sql_build_s: Option<f64>,
    #[serde(default)]
    native: Vec<NativeSymbol>,
    #[serde(default)]
    by_process: Vec<ProcessShare>,
    #[serde(default)]
    by_thread: Vec<ThreadShare>,
}));

memory_figures!(with_time_and_memory!(ProcessShareKeys => ProcessShare {
    process: usize,
}));

#[derive(Deserialize)]
pub(crate) struct ThreadShareKeys {
    thread: usize,
    python_s: Option<f64>,
    native_s: Option<f64>,
    system_s: Option<f64>,
    wait_s: Option<f64>,
    gil_wait_s: Option<f64>,
    idle_s: Option<f64>,
    helpers_s: Option<f64>,
    gc_s: Option<f64>,
    alloc_bytes: Option<u64>,
}

impl From<ThreadShareKeys> for ThreadShare {
    fn from(keys: ThreadShareKeys) -> Self {
        let ThreadShareKeys { thread, alloc_bytes, .. } = keys;
        let time = Time {
            python_s: keys.python_s,
            native_s: keys.native_s,
            system_s: keys.system_s,
            wait_s: keys.wait_s,
            gil_wait_s: keys.gil_wait_s,
            idle_s: keys.idle_s,
            helpers_s: keys.helpers_s,
            gc_s: keys.gc_s,
            user_s: None,
            core_wait_s: None,
        };
        Self { thread, time, alloc_bytes }
    }
}
