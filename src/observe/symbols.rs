//! Function names out of ELF files.
//!
//! Job: name the function at an offset of a file, reading each file once, when it is first asked about, and only after
//! the run. Sources, best first: the symbol table, that of the separate debug file (build id, then debug link), the dynamic
//! symbols, and the stubs that call into other libraries (`malloc@plt`). Invariant: an address that no symbol covers has no
//! name; the nearest one is never guessed. Neighbours: `profile::symbolize` asks, `modules` knows the files.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, ObjectSymbolTable, ReadRef, RelocationTarget};

use super::modules::{self, DELETED};
use super::root::Root;

/// Where distributions put separate debug files.
const DEBUG_ROOT: &str = "/usr/lib/debug";
/// The kernel's own library, which is no file.
const VDSO: &str = "[vdso]";

/// Function names of all files that were asked about.
#[derive(Debug, Default)]
pub struct Symbols {
    files: HashMap<String, Option<Table>>,
    inodes: HashMap<String, u64>,
    root: Root,
}

/// The functions of one file.
#[derive(Debug, Default)]
struct Table {
    /// Loaded parts: file offset, bytes, address.
    segments: Vec<(u64, u64, u64)>,
    /// Sorted by address, one per address.
    functions: Vec<Function>,
}

/// One function of a file, by the file's own addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Function {
    start: u64,
    end: u64,
    name: Box<str>,
}

impl Symbols {
    /// No file is read yet. A file whose inode is not the one in `inodes` (by path) was replaced since it was mapped and
    /// gives no names.
    #[must_use]
    pub fn new(inodes: HashMap<String, u64>) -> Self {
        Self { files: HashMap::new(), inodes, root: Root::default() }
    }

    /// The same for files of a process that has another root.
    #[must_use]
    pub fn under(self, root: Root) -> Self {
        Self { root, ..self }
    }

    /// Mangled name of the function at `offset` of the file `path` (as `/proc/PID/maps` names it).
    pub fn function(&mut self, path: &str, offset: u64) -> Option<&str> {
        if !self.files.contains_key(path) {
            let table = self.load(path);
            self.files.insert(path.to_owned(), table);
        }
        self.files.get(path)?.as_ref()?.function(offset)
    }

    fn load(&self, path: &str) -> Option<Table> {
        if path == VDSO {
            return Table::parse(own_vdso()?.as_slice(), None);
        }
        if path.ends_with(DELETED) || !path.starts_with('/') {
            return None;
        }
        let file = File::open(self.root.path(path)).ok()?;
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        if self.inodes.get(path).is_some_and(|&inode| inode != metadata.ino()) {
            return None;
        }
        Table::parse(&ReadCache::new(file), Some(&self.root.path(path)))
    }
}

impl Table {
    fn parse<'data>(data: impl ReadRef<'data>, path: Option<&Path>) -> Option<Self> {
        let file = object::File::parse(data).ok()?;
        let segments = file.segments().map(|segment| {
            let (offset, bytes) = segment.file_range();
            (offset, bytes, segment.address())
        });
        let segments = segments.collect();
        let mut found = symbols_of(&file, false);
        if found.is_empty()
            && let Some(path) = path
        {
            found = separate_symbols(&file, path).unwrap_or_default();
        }
        found.extend(symbols_of(&file, true));
        found.extend(stubs_of(&file));
        Some(Self { segments, functions: settle(found) })
    }

    fn function(&self, offset: u64) -> Option<&str> {
        let &(start, _, address) =
            self.segments.iter().find(|&&(start, bytes, _)| offset >= start && offset - start < bytes)?;
        let address = address + (offset - start);
        let index = self.functions.partition_point(|function| function.start <= address).checked_sub(1)?;
        let function = &self.functions[index];
        (address < function.end).then_some(&*function.name)
    }
}

/// A symbol before aliases and sizes are settled: address, bytes (0: unknown), end of its section, name.
type Found = (u64, u64, u64, String);

fn symbols_of<'data>(file: &object::File<'data, impl ReadRef<'data>>, dynamic: bool) -> Vec<Found> {
    let table = if dynamic { file.dynamic_symbol_table() } else { file.symbol_table() };
    let symbols = table.iter().flat_map(ObjectSymbolTable::symbols);
    symbols
        .filter(|symbol| symbol.is_definition() && symbol.kind() == object::SymbolKind::Text)
        .filter_map(|symbol| {
            // `$x`, `$d`: marks of the aarch64 assembler.
            let name = symbol.name().ok().filter(|name| !name.is_empty() && !name.starts_with('$'))?;
            let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
            let limit = section.map_or(u64::MAX, |section| section.address() + section.size());
            // Versioned names (`memcpy@@GLIBC_2.14`) appear in symbol tables, not in dynamic ones.
            let name = name.split_once('@').map_or(name, |(bare, _)| bare);
            Some((symbol.address(), symbol.size(), limit, name.to_owned()))
        })
        .collect()
}

/// Stubs of the procedure linkage table: entry n belongs to relocation n of `.rela.plt`, behind the entry that the
/// dynamic linker keeps for itself (`.plt.sec` has none).
fn stubs_of<'data>(file: &object::File<'data, impl ReadRef<'data>>) -> Vec<Found> {
    let (section, skip) = match (file.section_by_name(".plt.sec"), file.section_by_name(".plt")) {
        (Some(section), _) => (section, 0),
        (None, Some(section)) if file.architecture() == object::Architecture::Aarch64 => (section, 32),
        (None, Some(section)) => (section, 16),
        (None, None) => return Vec::new(),
    };
    let (address, limit) = (section.address(), section.address() + section.size());
    let jumps: Vec<(u64, String)> = (|| {
        let dynamic = file.dynamic_symbol_table()?;
        let slots = file.section_by_name(".got.plt").or_else(|| file.section_by_name(".got"))?;
        let slots = slots.address()..slots.address() + slots.size();
        let kind = match file.architecture() {
            object::Architecture::Aarch64 => object::elf::R_AARCH64_JUMP_SLOT,
            _ => object::elf::R_X86_64_JUMP_SLOT,
        };
        let relocations = file.dynamic_relocations()?.filter(|(slot, relocation)| {
            slots.contains(slot) && relocation.flags() == object::RelocationFlags::Elf { r_type: kind }
        });
        Some(
            relocations
                .filter_map(|(slot, relocation)| {
                    let RelocationTarget::Symbol(index) = relocation.target() else { return None };
                    Some((slot, format!("{}@plt", dynamic.symbol_by_index(index).ok()?.name().ok()?)))
                })
                .collect(),
        )
    })()
    .unwrap_or_default();
    let entries = (address + skip..limit).step_by(16);
    jumps.into_iter().zip(entries).map(|((_, name), start)| (start, 16, limit, name)).collect()
}

/// Symbols of the separate debug file of a stripped one.
fn separate_symbols<'data>(file: &object::File<'data, impl ReadRef<'data>>, path: &Path) -> Option<Vec<Found>> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    let build_id = file.build_id().ok().flatten();
    if let Some((first, rest)) = build_id.and_then(<[u8]>::split_first) {
        let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        candidates.push(format!("{DEBUG_ROOT}/.build-id/{first:02x}/{rest}.debug").into());
    }
    if let (Ok(Some((name, _checksum))), Some(folder)) = (file.gnu_debuglink(), path.parent()) {
        let name = Path::new(std::str::from_utf8(name).ok()?);
        candidates.push(folder.join(name));
        candidates.push(folder.join(".debug").join(name));
        candidates.push(Path::new(DEBUG_ROOT).join(folder.strip_prefix("/").unwrap_or(folder)).join(name));
    }
    candidates.into_iter().filter(|candidate| candidate != path).find_map(|candidate| {
        let data = ReadCache::new(File::open(candidate).ok()?);
        let separate = object::File::parse(&data).ok()?;
        // A debug file of another build would name the wrong functions.
        let same = build_id.is_none() || separate.build_id().ok().flatten() == build_id;
        Some(symbols_of(&separate, false)).filter(|found| same && !found.is_empty())
    })
}

/// Sorts by address, keeps the best name of each, and gives symbols without a size the room up to the next one.
fn settle(mut found: Vec<Found>) -> Vec<Function> {
    // Of aliases the plainest name is the one that people know: `write` before `__write`.
    let rank = |name: &str| (name.bytes().take_while(|&byte| byte == b'_').count(), name.len());
    found.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| rank(&a.3).cmp(&rank(&b.3))).then_with(|| a.3.cmp(&b.3)));
    let mut functions: Vec<(Function, u64)> = Vec::with_capacity(found.len());
    for (start, bytes, limit, name) in found {
        match functions.last_mut() {
            Some((last, _)) if last.start == start => last.end = last.end.max(start + bytes),
            _ => functions.push((Function { start, end: start + bytes, name: name.into() }, limit)),
        }
    }
    let starts: Vec<u64> = functions.iter().skip(1).map(|(function, _)| function.start).chain([u64::MAX]).collect();
    functions
        .into_iter()
        .zip(starts)
        .map(|((mut function, limit), next)| {
            if function.end == function.start {
                function.end = next.min(limit);
            }
            function
        })
        .collect()
}

/// The kernel maps the same library into every process, so this one's own copy serves.
fn own_vdso() -> Option<Vec<u8>> {
    let mappings = modules::executable(std::process::id()).ok()?;
    let module = mappings.into_iter().map(|mapping| mapping.module).find(|module| module.path == VDSO)?;
    let mut bytes = vec![0; usize::try_from(module.end - module.start).ok()?];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, module.start).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(functions: &[Function]) -> Vec<(u64, u64, &str)> {
        functions.iter().map(|function| (function.start, function.end, &*function.name)).collect()
    }

    #[test]
    fn the_plainest_alias_names_an_address_and_a_missing_size_ends_at_the_next_symbol() {
        let found = vec![
            (16, 8, 100, "__write".into()),
            (16, 8, 100, "write".into()),
            (32, 0, 100, "start".into()),
            (48, 0, 64, "last".into()),
        ];
        assert_eq!(named(&settle(found)), [(16, 24, "write"), (32, 48, "start"), (48, 64, "last")]);
    }

    #[test]
    fn the_vdso_names_its_functions() {
        let table = Table::parse(own_vdso().expect("mapped").as_slice(), None).expect("is an ELF file");
        let clock = table.functions.iter().find(|function| function.name.contains("clock_gettime")).expect("has one");
        let &(offset, _, address) = table.segments.first().expect("one part is loaded");
        assert!(table.function(clock.start - address + offset).expect("covered").contains("clock_gettime"));
    }

    #[test]
    fn a_deleted_a_missing_and_a_foreign_file_give_no_names() {
        let mut symbols = Symbols::new(HashMap::from([("/proc/self/exe".to_owned(), 1)]));
        assert_eq!(symbols.function("/usr/bin/env (deleted)", 4096), None);
        assert_eq!(symbols.function("/nowhere/at/all.so", 4096), None);
        assert_eq!(symbols.function("/proc/self/exe", 4096), None);
        assert_eq!(symbols.function("[anon: x]", 4096), None);
    }
}
