//! Used by all other modules: system calls, the functions behind the interposers, the thread's block, guarded loads.

pub(crate) mod allocators;
pub(crate) mod faults;
pub(crate) mod guard;
pub(crate) mod mask;
pub(crate) mod quiet;
pub(crate) mod random;
pub(crate) mod real;
pub(crate) mod shell_text;
pub(crate) mod slot;
pub(crate) mod symbols;
pub(crate) mod sys;
pub(crate) mod tls;
pub(crate) mod weak;
