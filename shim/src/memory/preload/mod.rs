//! The allocator's entry points of a preloaded library: what the dynamic linker binds the program to.

pub(crate) mod copies;
pub(crate) mod cxx;
pub(crate) mod foreign;
pub(crate) mod libc;
pub(crate) mod maps;

/// Looks up the allocator behind us.
pub(crate) fn resolve() {
    libc::resolve();
    copies::resolve();
    cxx::resolve();
    foreign::find();
}
