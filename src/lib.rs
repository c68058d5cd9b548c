//! rscalene: for every line of a Python program, where its time and its memory go.
//!
//! ```text
//! shim (in the profiled process) -> transport -> profile -> report
//!                    capture/remote ----^           control: flags, run, view, doctor
//! ```

pub mod profile;
pub mod transport;
