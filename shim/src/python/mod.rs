//! The interpreter in this process: its stack, the class of a sample's time, and the test that the stack is read right.

pub(crate) mod classify;
pub(crate) mod dispatch;
pub(crate) mod evaluation;
pub(crate) mod interpreter;
pub(crate) mod labels;
pub(crate) mod selftest;
pub(crate) mod stack;
