//! The stacks of a profile: distinct frames, the tree of stacks, and the shares of threads and processes.
//!
//! Invariant: a node comes after its parent, and every index refers to a row. Neighbours: `write::tables` fills the
//! types.

use serde::{Deserialize, Serialize};

/// A distinct frame of the stacks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StackFrame {
    /// Index into [`Profile::files`]; from the end of that list on, into [`Stacks::other_files`].
    pub file: usize,
    /// Qualified name.
    pub function: String,
    /// Line.
    pub line: u32,
}

/// A node of the tree of stacks; an outermost frame has no parent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StackNode {
    /// Index of the caller's node, always smaller than this node's own.
    pub parent: Option<usize>,
    /// Index into [`Stacks::frames`].
    pub frame: usize,
    /// Own CPU seconds.
    pub cpu_s: f64,
    /// Own CPU and off-CPU seconds.
    pub wall_s: f64,
    /// Own bytes allocated.
    pub alloc_bytes: u64,
    /// Own bytes live at the peak.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peak_bytes: u64,
    /// Own CPU samples; 0 in profiles before format 1.3.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cpu_samples: u64,
    /// The part of `cpu_s` in Python code. Absent: 0, or unknown. Since format 1.3, like all fields below.
    #[serde(default, skip_serializing_if = "is_no_time")]
    pub python_s: f64,
    /// The part of `cpu_s` in native code.
    #[serde(default, skip_serializing_if = "is_no_time")]
    pub native_s: f64,
    /// The part of `cpu_s` in the kernel.
    #[serde(default, skip_serializing_if = "is_no_time")]
    pub system_s: f64,
    /// Own blocks allocated.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub alloc_count: u64,
    /// Own bytes live at the end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub live_bytes: u64,
}

/// The share of a thread in a node of the stacks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadStack {
    /// Index into [`Stacks::nodes`].
    pub node: usize,
    /// Index into [`Profile::threads`].
    pub thread: usize,
    /// Own CPU seconds.
    pub cpu_s: f64,
    /// Own CPU and off-CPU seconds.
    pub wall_s: f64,
    /// Own bytes allocated.
    pub alloc_bytes: u64,
}

/// The share of a process in a node of the stacks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStack {
    /// Index into [`Stacks::nodes`].
    pub node: usize,
    /// Index into [`Profile::processes`].
    pub process: usize,
    /// Own CPU seconds.
    pub cpu_s: f64,
    /// Own CPU and off-CPU seconds.
    pub wall_s: f64,
    /// Own bytes allocated.
    pub alloc_bytes: u64,
    /// Own bytes live at the peak.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peak_bytes: u64,
}

/// True for 0. Serde passes the field by reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// As [`is_zero`].
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_no_time(seconds: &f64) -> bool {
    *seconds == 0.0
}

/// All stacks, in scope or not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stacks {
    /// Distinct frames.
    pub frames: Vec<StackFrame>,
    /// Tree.
    pub nodes: Vec<StackNode>,
    /// Paths of files out of scope, whose indices follow those of [`Profile::files`].
    #[serde(default)]
    pub other_files: Vec<String>,
    /// Shares of the threads in the nodes' own figures, if there are several threads and not too many shares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_thread: Vec<ThreadStack>,
    /// Shares of the processes, under the same conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_process: Vec<ProcessStack>,
}
