//! Reading what has its time and memory beside its other keys.
//!
//! Job: what `#[serde(flatten)]` reads, for those parts of a profile of which there are many. Invariant: the keys are those
//! that the model writes; `user_s` and `core_wait_s` are in none of them, since no line has any.
//! Neighbour: `model` names these as what its parts are read from. serde's own flattening keeps each object as a tree
//! before it finds its fields, which took more than half of the reading of a large profile.

use serde::Deserialize;

use super::{Line, Memory, NativeSymbol, ProcessShare, ThreadShare, Time};

macro_rules! with_time_and_memory {
    ($keys:ident => $whole:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* }) => {
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
            alloc_bytes: Option<u64>,
            alloc_bytes_se: Option<f64>,
            alloc_count: Option<u64>,
            free_bytes: Option<u64>,
            increment_bytes: Option<i64>,
            live_bytes: Option<u64>,
            live_bytes_se: Option<f64>,
            peak_bytes: Option<u64>,
            peak_bytes_se: Option<f64>,
            mem_usage_bytes: Option<u64>,
            python_alloc_bytes: Option<u64>,
            copy_bytes: Option<u64>,
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
                        user_s: None,
                        core_wait_s: None,
                    },
                    memory: Memory {
                        alloc_bytes: keys.alloc_bytes,
                        alloc_bytes_se: keys.alloc_bytes_se,
                        alloc_count: keys.alloc_count,
                        free_bytes: keys.free_bytes,
                        increment_bytes: keys.increment_bytes,
                        live_bytes: keys.live_bytes,
                        live_bytes_se: keys.live_bytes_se,
                        peak_bytes: keys.peak_bytes,
                        peak_bytes_se: keys.peak_bytes_se,
                        mem_usage_bytes: keys.mem_usage_bytes,
                        python_alloc_bytes: keys.python_alloc_bytes,
                        copy_bytes: keys.copy_bytes,
                    },
                }
            }
        }
    };
}

with_time_and_memory!(LineKeys => Line {
    line: u32,
    function: String,
    source: Option<String>,
    cpu_samples: u64,
    #[serde(default)]
    native: Vec<NativeSymbol>,
    #[serde(default)]
    by_process: Vec<ProcessShare>,
    #[serde(default)]
    by_thread: Vec<ThreadShare>,
});

with_time_and_memory!(ProcessShareKeys => ProcessShare {
    process: usize,
});

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
            user_s: None,
            core_wait_s: None,
        };
        Self { thread, time, alloc_bytes }
    }
}
