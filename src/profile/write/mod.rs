//! Writes the book as rows of the profile.
//!
//! Job: files and lines, functions, threads, processes, stacks, sections. Invariant: the rows sum to the totals.
//! Neighbours: `book` is read, `model` is written, `build::builder` calls.

pub(super) mod functions;
pub(super) mod leaks;
pub(super) mod lines;
pub(super) mod queries;
pub(super) mod tables;
