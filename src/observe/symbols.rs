//! Function names from ELF files.
//!
//! Job: name the function at an offset of a file. `Symbols` reads the addresses of a file at the first query about the
//! file, and reads a name only when a query asks for its function. Sources, best first: the symbol table; the symbol
//! table of the separate debug file (by build id, then by debug link); the dynamic symbols; the stubs that call into
//! other libraries (`malloc@plt`). Invariant: an address that no symbol covers has no name; the code never guesses the
//! nearest symbol. Neighbours: `profile::symbolize` asks, `modules` knows the files.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use object::elf::{SHN_LORESERVE, SHN_UNDEF, STT_FUNC, STT_GNU_IFUNC};
use object::read::ReadCache;
use object::read::elf::{SectionHeader, Sym};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, ObjectSymbolTable, ReadRef, RelocationTarget};

use super::modules::{self, DELETED};
use super::root::Root;

/// Folder in which distributions put separate debug files.
const DEBUG_ROOT: &str = "/usr/lib/debug";
/// Longest name that is read, in bytes.
const LONGEST_NAME: usize = 1 << 16;
/// The kernel's own library, which has no file.
const VDSO: &str = "[vdso]";

/// Function names of all files that were asked about.
#[derive(Debug, Default)]
pub struct Symbols {
    files: HashMap<String, Option<Table>>,
    inodes: HashMap<String, u64>,
    root: Root,
}

/// The functions of a file.
#[derive(Debug, Default)]
struct Table {
    /// Loaded segments: file offset, bytes, address.
    segments: Vec<(u64, u64, u64)>,
    /// Symbols, sorted by address; aliases have the same address.
    symbols: Vec<Symbol>,
    /// Files and buffers with the names of symbols.
    sources: Vec<Source>,
    /// Names of functions that were asked for, by their addresses.
    known: HashMap<u64, Option<Box<str>>>,
}

/// A symbol of a file, by the file's own addresses.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    start: u64,
    /// Bytes; 0: unknown.
    bytes: u64,
    /// End of its section.
    limit: u64,
    /// Offset of its name in `source`, an index into [`Table::sources`].
    name: u64,
    source: u8,
}

/// A file or buffer with names.
#[derive(Debug)]
enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Source {
    /// The name at an offset, up to the next zero byte; `None`: no valid name.
    fn text(&self, offset: u64) -> Option<String> {
        let mut bytes = vec![0; 256];
        loop {
            let read = match self {
                Self::File(path) => File::open(path).ok()?.read_at(&mut bytes, offset).ok()?,
                Self::Bytes(all) => {
                    let rest = all.get(usize::try_from(offset).ok()?..)?;
                    let read = rest.len().min(bytes.len());
                    bytes[..read].copy_from_slice(&rest[..read]);
                    read
                }
            };
            if let Some(end) = bytes[..read].iter().position(|&byte| byte == 0) {
                return String::from_utf8(bytes[..end].to_vec()).ok();
            }
            if read < bytes.len() || bytes.len() >= LONGEST_NAME {
                return None;
            }
            bytes.resize(bytes.len() * 4, 0);
        }
    }
}

impl Symbols {
    /// A lookup that has read no file. `inodes`: the inode of each mapped file, by path. A file with another inode now
    /// was replaced since it was mapped, and gives no names.
    #[must_use]
    pub fn new(inodes: HashMap<String, u64>) -> Self {
        Self { files: HashMap::new(), inodes, root: Root::default() }
    }

    /// The same lookup, for files of a process with another root.
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
        self.files.get_mut(path)?.as_mut()?.function(offset)
    }

    fn load(&self, path: &str) -> Option<Table> {
        if path == VDSO {
            let bytes = own_vdso()?;
            return Table::parse(bytes.clone().as_slice(), Source::Bytes(bytes));
        }
        if path.ends_with(DELETED) || !path.starts_with('/') {
            return None;
        }
        let file = File::open(self.root.path(path)).ok()?;
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        if self.inodes.get(path).is_some_and(|&inode| inode != metadata.ino()) {
            return None;
        }
        Table::parse(&ReadCache::new(file), Source::File(self.root.path(path)))
    }
}

impl Table {
    fn parse<'data>(data: impl ReadRef<'data>, source: Source) -> Option<Self> {
        let file = object::File::parse(data).ok()?;
        let segments = file.segments().map(|segment| {
            let (offset, bytes) = segment.file_range();
            (offset, bytes, segment.address())
        });
        let mut table = Self { segments: segments.collect(), ..Self::default() };
        table.symbols = symbols_of(&file, false, 0);
        let debug = match &source {
            Source::File(path) if table.symbols.is_empty() => separate_symbols(&file, path, 1),
            _ => None,
        };
        table.symbols.extend(symbols_of(&file, true, 0));
        table.sources.push(source);
        if let Some((path, symbols)) = debug {
            table.symbols.extend(symbols);
            table.sources.push(Source::File(path));
        }
        table.add_stubs(stubs_of(&file));
        table.symbols.sort_unstable_by_key(|symbol| symbol.start);
        Some(table)
    }

    /// Adds stubs, whose names are in no file.
    fn add_stubs(&mut self, stubs: Vec<(u64, u64, u64, String)>) {
        let Ok(source) = u8::try_from(self.sources.len()) else { return };
        let mut names = Vec::new();
        for (start, bytes, limit, name) in stubs {
            self.symbols.push(Symbol { start, bytes, limit, name: names.len() as u64, source });
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        self.sources.push(Source::Bytes(names));
    }

    fn function(&mut self, offset: u64) -> Option<&str> {
        let &(start, _, address) =
            self.segments.iter().find(|&&(start, bytes, _)| offset >= start && offset - start < bytes)?;
        let address = address + (offset - start);
        let behind = self.symbols.partition_point(|symbol| symbol.start <= address);
        let start = self.symbols[..behind].last()?.start;
        let aliases = &self.symbols[self.symbols.partition_point(|symbol| symbol.start < start)..behind];
        // A symbol without a size ends at the next symbol.
        let end = match aliases.iter().map(|symbol| symbol.bytes).max() {
            Some(bytes) if bytes > 0 => start.saturating_add(bytes),
            _ => {
                let next = self.symbols.get(behind).map_or(u64::MAX, |symbol| symbol.start);
                aliases.iter().map(|symbol| symbol.limit).fold(next, u64::min)
            }
        };
        if address >= end {
            return None;
        }
        let sources = &self.sources;
        let name = self.known.entry(start).or_insert_with(|| {
            let names = aliases.iter().filter_map(|symbol| sources.get(usize::from(symbol.source))?.text(symbol.name));
            plainest(names).map(String::into_boxed_str)
        });
        name.as_deref()
    }
}

/// The plainest of several aliases, because people know it: `write` before `__write`.
fn plainest(names: impl Iterator<Item = String>) -> Option<String> {
    let bare = |name: String| match name.split_once('@') {
        // Versioned names (`memcpy@@GLIBC_2.14`) appear in symbol tables, not in dynamic symbol tables.
        Some((bare, version)) if version != "plt" => bare.to_owned(),
        _ => name,
    };
    // `$x`, `$d`: marks of the aarch64 assembler.
    let names = names.map(bare).filter(|name| !name.is_empty() && !name.starts_with('$'));
    let rank = |name: &String| (name.bytes().take_while(|&byte| byte == b'_').count(), name.len());
    names.min_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)))
}

/// The functions of a symbol table; their names are in `source`.
fn symbols_of<'data>(file: &object::File<'data, impl ReadRef<'data>>, dynamic: bool, source: u8) -> Vec<Symbol> {
    let object::File::Elf64(file) = file else { return Vec::new() };
    let endian = file.endian();
    let table = if dynamic { file.elf_dynamic_symbol_table() } else { file.elf_symbol_table() };
    let sections = file.elf_section_table();
    let Ok(strings) = sections.section(table.string_section()) else { return Vec::new() };
    let strings = strings.sh_offset(endian);
    let ends: Vec<u64> =
        sections.iter().map(|section| section.sh_addr(endian).saturating_add(section.sh_size(endian))).collect();
    let symbols = table.iter().filter_map(|symbol| {
        let (section, name) = (symbol.st_shndx(endian), symbol.st_name(endian));
        let function = matches!(symbol.st_type(), STT_FUNC | STT_GNU_IFUNC) && section != SHN_UNDEF && name != 0;
        let limit = if section < SHN_LORESERVE { ends.get(usize::from(section)).copied() } else { None };
        function.then(|| Symbol {
            start: symbol.st_value(endian),
            bytes: symbol.st_size(endian),
            limit: limit.unwrap_or(u64::MAX),
            name: strings.saturating_add(u64::from(name)),
            source,
        })
    });
    symbols.collect()
}

/// Stubs of the procedure linkage table: address, bytes, end of the section, name. Entry n belongs to relocation n of
/// `.rela.plt`. Before them is an entry of the dynamic linker, which `.plt.sec` does not have.
fn stubs_of<'data>(file: &object::File<'data, impl ReadRef<'data>>) -> Vec<(u64, u64, u64, String)> {
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

/// The separate debug file of a stripped file, and its symbols.
fn separate_symbols<'data>(
    file: &object::File<'data, impl ReadRef<'data>>,
    path: &Path,
    source: u8,
) -> Option<(PathBuf, Vec<Symbol>)> {
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
        let data = ReadCache::new(File::open(&candidate).ok()?);
        let separate = object::File::parse(&data).ok()?;
        // A debug file of another build would give wrong names.
        let same = build_id.is_none() || separate.build_id().ok().flatten() == build_id;
        let symbols = symbols_of(&separate, false, source);
        (same && !symbols.is_empty()).then_some((candidate, symbols))
    })
}

/// The bytes of this process' own copy: the kernel maps the same library into every process.
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

    #[test]
    fn the_plainest_alias_names_an_address_and_a_missing_size_ends_at_the_next_symbol() {
        let mut table = Table { segments: vec![(0, 100, 0)], ..Table::default() };
        table.add_stubs(vec![
            (16, 8, 100, "__write".into()),
            (16, 8, 100, "write@@GLIBC_2.2.5".into()),
            (32, 0, 100, "start".into()),
            (48, 0, 64, "last@plt".into()),
        ]);
        let names: Vec<_> =
            [15, 16, 23, 24, 32, 47, 48, 63, 64].map(|at| table.function(at).map(str::to_owned)).into_iter().collect();
        let named = |name: &str| Some(name.to_owned());
        let (write, start, last) = (named("write"), named("start"), named("last@plt"));
        assert_eq!(names, [None, write.clone(), write, None, start.clone(), start, last.clone(), last, None]);
    }

    #[test]
    fn names_are_those_of_the_symbol_table() {
        let path = std::env::current_exe().expect("a file");
        let data = std::fs::read(&path).expect("readable");
        let file = object::File::parse(data.as_slice()).expect("is an ELF file");
        let mut names: HashMap<u64, Vec<&str>> = HashMap::new();
        let is_text =
            |symbol: &object::Symbol<'_, '_>| symbol.is_definition() && symbol.kind() == object::SymbolKind::Text;
        for symbol in file.symbols().filter(is_text) {
            names.entry(symbol.address()).or_default().push(symbol.name().expect("has one"));
        }
        let mut symbols = Symbols::new(HashMap::new());
        let path = path.to_str().expect("a plain name");
        let offset = |address: u64| {
            let found = file.segments().find(|part| (part.address()..part.address() + part.size()).contains(&address));
            found.map(|part| part.file_range().0 + (address - part.address())).expect("loaded")
        };
        assert!(names.len() > 1_000);
        for (&address, aliases) in names.iter().take(500) {
            let name = symbols.function(path, offset(address)).expect("named").to_owned();
            assert!(aliases.iter().any(|alias| alias.split('@').next() == Some(&name)), "{name}: {aliases:?}");
        }
    }

    #[test]
    fn the_vdso_names_its_functions() {
        let vdso = own_vdso().expect("mapped");
        let file = object::File::parse(vdso.as_slice()).expect("is an ELF file");
        let clock =
            file.dynamic_symbols().find(|symbol| symbol.name().is_ok_and(|name| name.contains("clock_gettime")));
        let clock = clock.expect("has one").address();
        let mut table = Table::parse(vdso.as_slice(), Source::Bytes(vdso.clone())).expect("is an ELF file");
        let &(offset, _, address) = table.segments.first().expect("one part is loaded");
        assert!(table.function(clock - address + offset).expect("covered").contains("clock_gettime"));
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
