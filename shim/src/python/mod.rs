//! The interpreter in this process: its stack, what a sample belongs to, and the test that we read it right.

pub(crate) mod classify;
pub(crate) mod interpreter;
pub(crate) mod labels;
pub(crate) mod selftest;
pub(crate) mod stack;
