//! Program counters to places in native code.
//!
//! Job: find the library of a program counter in what is known of its process' mappings, and name the function through a
//! lookup that the caller hands in. Invariant: pure; each distinct place is looked up once, and a place that nothing covers
//! has an object but no function. Neighbours: `capture::symbols` is the usual lookup, `merge` asks.

use std::collections::{BTreeMap, HashMap};

use crate::transport::event::Module;

/// Object name of memory that no file backs: code that a JIT compiler made.
pub const ANONYMOUS: &str = "[anonymous]";
/// Object name of addresses outside every known mapping.
pub const UNKNOWN: &str = "[unknown]";

/// Names the function at an offset of a file, mangled as the file has it.
pub type Lookup<'a> = dyn FnMut(&str, u64) -> Option<String> + 'a;

/// A place in native code, named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// File name of the library or program, without its folder.
    pub object: String,
    /// Function, demangled; `None` where no symbol covers the address.
    pub function: Option<String>,
}

/// The executable mappings of one process over its life.
#[derive(Clone, Debug, Default)]
pub struct AddressMap {
    /// By first address; never overlapping.
    modules: BTreeMap<u64, Module>,
}

/// Names places, each once.
pub struct Symbolizer<'a> {
    lookup: &'a mut Lookup<'a>,
    names: HashMap<(String, u64), Option<String>>,
}

impl AddressMap {
    /// Takes in a complete reading: it replaces what was known of its addresses; what it leaves out is kept, since samples
    /// from before an unload need it.
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

    /// The mapping that holds `pc`.
    #[must_use]
    pub fn find(&self, pc: u64) -> Option<&Module> {
        self.modules.range(..=pc).next_back().map(|(_, module)| module).filter(|module| pc < module.end)
    }
}

impl<'a> Symbolizer<'a> {
    /// Names through `lookup`.
    pub fn new(lookup: &'a mut Lookup<'a>) -> Self {
        Self { lookup, names: HashMap::new() }
    }

    /// The place of `pc` in a process with these mappings.
    pub fn place(&mut self, map: &AddressMap, pc: u64) -> Place {
        let Some(module) = map.find(pc) else { return Place { object: UNKNOWN.into(), function: None } };
        if module.path.is_empty() || module.path.starts_with("[anon") {
            return Place { object: ANONYMOUS.into(), function: None };
        }
        let offset = pc - module.start + module.offset;
        let key = (module.path.clone(), offset);
        let function = match self.names.get(&key) {
            Some(function) => function.clone(),
            None => {
                let function = (self.lookup)(&module.path, offset).map(|name| demangle(&name));
                self.names.insert(key, function.clone());
                function
            }
        };
        Place { object: object_name(&module.path).to_owned(), function }
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
    // The alternate form leaves out the hash at the end of Rust names.
    format!("{:#}", backtrace::SymbolName::new(name.as_bytes()))
}

impl std::fmt::Debug for Symbolizer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Symbolizer").field("names", &self.names.len()).finish_non_exhaustive()
    }
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
    fn each_place_is_looked_up_once_and_by_its_offset_in_the_file() {
        let mut asked = Vec::new();
        let mut lookup = |path: &str, offset: u64| {
            asked.push((path.to_owned(), offset));
            (offset == 0x1010).then(|| "_ZN3foo3barEi".to_owned())
        };
        let mut map = AddressMap::default();
        map.update(&[module(0x100, 0x200, "/lib/liba.so.1 (deleted)")]);
        let mut symbolizer = Symbolizer::new(&mut lookup);
        let named = Place { object: "liba.so.1".into(), function: Some("foo::bar(int)".into()) };
        assert_eq!(symbolizer.place(&map, 0x110), named);
        assert_eq!(symbolizer.place(&map, 0x110), named);
        assert_eq!(symbolizer.place(&map, 0x120).function, None);
        assert_eq!(symbolizer.place(&map, 0x120).object, "liba.so.1");
        assert_eq!(symbolizer.place(&map, 0x90).object, UNKNOWN);
        drop(symbolizer);
        let path = "/lib/liba.so.1 (deleted)".to_owned();
        assert_eq!(asked, [(path.clone(), 0x1010), (path, 0x1020)]);
    }

    #[test]
    fn memory_of_no_file_is_called_anonymous() {
        let mut lookup = |_: &str, _: u64| -> Option<String> { unreachable!("no file to look in") };
        let mut map = AddressMap::default();
        map.update(&[module(0x100, 0x200, "")]);
        assert_eq!(Symbolizer::new(&mut lookup).place(&map, 0x110).object, ANONYMOUS);
    }

    #[test]
    fn rust_names_lose_their_hash_and_c_names_stay() {
        assert_eq!(demangle("_ZN4core3fmt5Write9write_str17h0123456789abcdefE"), "core::fmt::Write::write_str");
        assert_eq!(demangle("long_mul"), "long_mul");
    }
}
