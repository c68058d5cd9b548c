//! Program counters to places in native code.
//!
//! Job: find the library of a program counter among the known mappings of its process, and make names readable.
//! Invariant: pure; the function's name comes from a [`Lookup`] of the caller. Neighbours: `observe::symbols` is the
//! usual lookup, `native` asks for each distinct place once.

use std::collections::BTreeMap;

use crate::transport::event::Module;

/// Object name of memory without a file: code that a JIT compiler made.
pub const ANONYMOUS: &str = "[anonymous]";
/// Object name of addresses outside every known mapping.
pub const UNKNOWN: &str = "[unknown]";

/// Names the function at an offset of a file, mangled as in the file.
pub type Lookup<'a> = dyn FnMut(&str, u64) -> Option<String> + 'a;

/// The executable mappings of one process over its life.
#[derive(Clone, Debug, Default)]
pub struct AddressMap {
    /// The mappings by first address; never overlapping.
    modules: BTreeMap<u64, Module>,
}

impl AddressMap {
    /// Takes in a complete reading of the mappings. The reading replaces known mappings at the same addresses. Other
    /// mappings stay, because samples from before an unload need them.
    pub fn update(&mut self, modules: &[Module]) {
        for module in modules.iter().filter(|module| module.start < module.end) {
            let overlapped: Vec<u64> = self
                .modules
                .range(..module.end)
                .rev()
                .take_while(|(_, known)| known.end > module.start)
                .map(|(&start, _)| start)
                .collect();
            for start in overlapped {
                self.modules.remove(&start);
            }
            self.modules.insert(module.start, module.clone());
        }
    }

    /// True if no mapping is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// The mapping that contains `pc`.
    #[must_use]
    pub fn find(&self, pc: u64) -> Option<&Module> {
        self.modules.range(..=pc).next_back().map(|(_, module)| module).filter(|module| pc < module.end)
    }
}

/// File name of a mapping's path, without the mark of a deleted file.
#[must_use]
pub fn object_name(path: &str) -> &str {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(path)
}

/// A C++ or Rust name as its source spells it; any other name unchanged.
#[must_use]
pub fn demangle(name: &str) -> String {
    // The alternate form omits the hash at the end of Rust names.
    format!("{:#}", backtrace::SymbolName::new(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(start: u64, end: u64, path: &str) -> Module {
        Module { start, end, offset: 0x1000, path: path.into() }
    }

    #[test]
    fn a_later_reading_replaces_its_addresses_and_keeps_the_rest() {
        let mut map = AddressMap::default();
        map.update(&[module(0x100, 0x200, "/a.so"), module(0x300, 0x400, "/b.so")]);
        map.update(&[module(0x180, 0x280, "/c.so")]);
        assert_eq!(map.find(0x100), None);
        assert_eq!(map.find(0x27f).map(|module| module.path.as_str()), Some("/c.so"));
        assert_eq!(map.find(0x280), None);
        assert_eq!(map.find(0x3ff).map(|module| module.path.as_str()), Some("/b.so"));
    }

    #[test]
    fn an_object_is_named_without_its_folder_and_its_mark() {
        assert_eq!(object_name("/lib/liba.so.1 (deleted)"), "liba.so.1");
        assert_eq!(object_name("[vdso]"), "[vdso]");
    }

    #[test]
    fn rust_names_lose_their_hash_and_c_names_stay() {
        assert_eq!(demangle("_ZN4core3fmt5Write9write_str17h0123456789abcdefE"), "core::fmt::Write::write_str");
        assert_eq!(demangle("long_mul"), "long_mul");
    }
}
