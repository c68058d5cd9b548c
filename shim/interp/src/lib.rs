//! CPython as seen from outside: layouts, frame walk, identities of code objects, line tables.
//!
//! Job: find the code that a thread of CPython 3.11 to 3.15 executes, by reading memory alone. The bytes may be
//! garbage, because the interpreter may run meanwhile. Invariant: this crate does not allocate, has no statics, does
//! not call the interpreter and does not panic. It reads every byte through [`Memory`], which may fail at any address,
//! and every loop has a bound. So the same code runs in a signal handler of the profiled process (guarded loads), in
//! the launcher (`process_vm_readv`) and in tests (an array). Callers: `shim/` and `src/observe/` read frames,
//! `src/transport/` decodes line tables.
//!
//! ```text
//! version + _PyRuntime --> Layout --> walk (code, byte offset) per frame --> Identity, text, linetable
//!                             \-----> threads, gil, tasks
//! ```

#![no_std]
#![warn(clippy::pedantic)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::panic)]

mod contexts;
mod debug_offsets;
mod dict;
mod fields;
mod greenlets;
mod identity;
mod linecache;
pub mod linetable;
mod memory;
mod names;
pub mod opcodes;
mod running;
mod tasks;
mod templates;
mod text;
mod threads;
mod trio;
mod versions;
mod walk;

pub use contexts::ContextVariable;
pub use fields::{Layout, Unsupported};
pub use greenlets::{Collected, Hub, collected, collected_as, collector_lists, hub, is_of_hub, parked_frame, woken_by};
pub use identity::Identity;
pub use linecache::cached_lines;
pub use memory::Memory;
pub use names::{running_threads, thread_names};
pub use running::{collects, interpreter, is_bound, running};
pub use tasks::{Awaited, Task, TaskSource, await_chain, called_loop, tasks};
pub use templates::{TemplateMap, template_map};
pub use text::text;
pub use threads::{Gil, Thread, gil, native_thread_id, threads};
pub use trio::{stands_for_trio, trio_tasks};
pub use walk::{Frame, Walk, WalkEnd, code_bytes, first_local, innermost, walk, walk_from, walk_interrupted};
