//! The allocator's entry points when this library is preloaded: the dynamic linker binds the program's calls to them.

pub(crate) mod copies;
pub(crate) mod cxx;
pub(crate) mod foreign;
pub(crate) mod hooked;
pub(crate) mod libc;
pub(crate) mod maps;

/// Looks up the functions of the allocator that these entry points forward to.
pub(crate) fn resolve() {
    libc::resolve();
    copies::resolve();
    cxx::resolve();
    foreign::find();
}
