//! How a process ended.

use serde::{Deserialize, Serialize};

/// How a process ended; both `None` while the process runs, or if its end is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code.
    pub code: Option<i32>,
    /// Signal that killed the process.
    pub signal: Option<i32>,
}
