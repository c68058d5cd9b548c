//! The addresses of the interpreter in another process.
//!
//! Job: from a process id to the addresses for [`rscalene_interp::Layout`]: `_PyRuntime`, `PyCode_Type`, and the
//! version. The question of a reader: *which mapped file is the interpreter, and where was it loaded?* Invariant: only
//! `/proc/PID/maps` and the mapped files are read, through the process' own root. So containers and chroots work, and
//! the process does nothing. Neighbours: the remote reader and `attach` call [`Runtime::locate`]; inside the process
//! the shim asks the dynamic linker instead.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use object::read::ReadCache;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SegmentFlags};

use super::modules::{self, DELETED, Mapping};

/// The interpreter of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Address of `_PyRuntime`.
    pub runtime: u64,
    /// Address of `PyCode_Type`.
    pub code_type: u64,
    /// `PY_VERSION_HEX`.
    pub version: u32,
    /// The executable or shared library with the interpreter, by the path that the process uses.
    pub image: PathBuf,
}

/// The reason for finding no interpreter.
#[derive(Debug)]
pub enum LocateError {
    /// The process' memory map cannot be read: the process has ended, or belongs to another user.
    Maps(u32, io::Error),
    /// No mapped file is CPython 3.11 or later.
    NoInterpreter(u32),
    /// A mapped file is an older CPython; its version, if the file name contains the version.
    TooOld(u32, Option<String>),
}

impl fmt::Display for LocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maps(pid, error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot read the memory map of process {pid}, it belongs to another user\n\
                 hint: run as that user or as root"
            ),
            Self::Maps(pid, error) => {
                write!(f, "cannot read the memory map of process {pid}, {error}\nhint: is it still running?")
            }
            Self::TooOld(pid, _) => write!(
                f,
                "cannot read the Python of process {pid}, it is older than 3.11\nhint: 3.11 to 3.15 are supported"
            ),
            Self::NoInterpreter(pid) => write!(
                f,
                "cannot find a Python interpreter in process {pid}, no mapped file is CPython 3.11 or later\n\
                 hint: a launcher script's own id is not that of the Python process it starts"
            ),
        }
    }
}

impl std::error::Error for LocateError {}

impl Runtime {
    /// Finds the interpreter that process `pid` has loaded.
    ///
    /// # Errors
    /// [`LocateError`] if the process cannot be read, or runs no CPython 3.11 or later.
    pub fn locate(pid: u32) -> Result<Self, LocateError> {
        let mut mappings = files(pid).map_err(|error| LocateError::Maps(pid, error))?;
        mappings.sort_by_key(|mapping| rank(file_name(&mapping.module.path)));
        let found = mappings.iter().find_map(|mapping| interpreter(pid, mapping));
        found.ok_or_else(|| match mappings.iter().find(|mapping| is_older(pid, mapping)) {
            Some(older) => LocateError::TooOld(pid, version_in(file_name(&older.module.path))),
            None => LocateError::NoInterpreter(pid),
        })
    }
}

/// The address in process `pid` of the section that describes asyncio's tasks (3.14 and later); `None` until the
/// process imports asyncio.
#[must_use]
pub fn asyncio_section(pid: u32) -> Option<u64> {
    let places = files(pid).ok()?;
    // The section is in an extension module of its own, or in the interpreter.
    let likely = |mapping: &&Mapping| {
        let name = file_name(&mapping.module.path);
        name.starts_with("_asyncio.") || name.contains("python")
    };
    places.iter().filter(likely).find_map(|mapping| {
        let cache = ReadCache::new(open(pid, mapping)?);
        let elf = Elf::parse(&cache).ok()?;
        let address = elf.section_by_name(".AsyncioDebug")?.address();
        Some(bias(mapping, &elf)?.wrapping_add(address))
    })
}

/// The address of the symbol `name` in process `pid`, among mapped files whose name contains `part`.
#[must_use]
pub fn symbol(pid: u32, part: &str, name: &str) -> Option<u64> {
    files(pid).ok()?.iter().filter(|mapping| file_name(&mapping.module.path).contains(part)).find_map(|mapping| {
        let cache = ReadCache::new(open(pid, mapping)?);
        let elf = Elf::parse(&cache).ok()?;
        let [found] = symbols(&elf, [name])?;
        Some(bias(mapping, &elf)?.wrapping_add(found))
    })
}

/// A 64-bit ELF file that is read piece by piece.
type Elf<'data> = ElfFile64<'data, object::Endianness, &'data ReadCache<File>>;

/// The files that a process maps executable.
fn files(pid: u32) -> io::Result<Vec<Mapping>> {
    let mut mappings = modules::executable(pid)?;
    mappings.retain(|mapping| mapping.inode != 0 && mapping.module.path.starts_with('/'));
    Ok(mappings)
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Order of the search: the shared library first, then an executable called python, then other executables, which may
/// embed Python, then other libraries.
fn rank(name: &str) -> u8 {
    match () {
        () if name.starts_with("libpython") => 0,
        () if name.starts_with("python") => 1,
        () if !name.contains(".so") => 2,
        () => 3,
    }
}

/// The difference between an address in the process and the address in the file.
fn bias(mapping: &Mapping, elf: &Elf<'_>) -> Option<u64> {
    let module = &mapping.module;
    let length = module.end.saturating_sub(module.start);
    // Whole pages are mapped, so the segment may begin after the mapping's first byte.
    let mapped = module.offset..module.offset.saturating_add(length);
    let segment = elf.segments().find(|segment| {
        let executable = matches!(segment.flags(), SegmentFlags::Elf { p_flags } if p_flags & object::elf::PF_X != 0);
        executable && mapped.contains(&segment.file_range().0)
    })?;
    let (offset, _) = segment.file_range();
    Some(module.start.wrapping_add(offset).wrapping_sub(module.offset).wrapping_sub(segment.address()))
}

fn interpreter(pid: u32, mapping: &Mapping) -> Option<Runtime> {
    let cache = ReadCache::new(open(pid, mapping)?);
    let elf = Elf::parse(&cache).ok()?;
    let [runtime, code_type, version] = symbols(&elf, ["_PyRuntime", "PyCode_Type", "Py_Version"])?;
    let bias = bias(mapping, &elf)?;
    // An `unsigned long` constant, whose value is in the file.
    let raw = elf.segments().find_map(|segment| segment.data_range(version, 8).ok().flatten())?;
    let version = u64::from_ne_bytes(raw.try_into().ok()?);
    let path = &mapping.module.path;
    Some(Runtime {
        runtime: bias.wrapping_add(runtime),
        code_type: bias.wrapping_add(code_type),
        version: u32::try_from(version).ok()?,
        image: path.strip_suffix(DELETED).unwrap_or(path).into(),
    })
}

/// True for a CPython without `Py_Version`, so older than 3.11.
fn is_older(pid: u32, mapping: &Mapping) -> bool {
    let Some(file) = open(pid, mapping) else { return false };
    let cache = ReadCache::new(file);
    Elf::parse(&cache).is_ok_and(|elf| symbols(&elf, ["_PyRuntime", "PyCode_Type"]).is_some())
}

/// The version in a file name: `3.8` of `python3.8` and `libpython3.8.so.1.0`.
fn version_in(name: &str) -> Option<String> {
    let (_, version) = name.split_once("python")?;
    let end = version.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(version.len());
    let version = version[..end].trim_end_matches('.');
    version.contains('.').then(|| version.to_owned())
}

/// The addresses in the file of the symbols `names`; `None` if any is missing.
fn symbols<const N: usize>(elf: &Elf<'_>, names: [&str; N]) -> Option<[u64; N]> {
    let mut found = [None; N];
    for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
        if symbol.is_undefined() {
            continue;
        }
        let Ok(name) = symbol.name() else { continue };
        for (slot, _) in found.iter_mut().zip(names).filter(|(slot, wanted)| slot.is_none() && *wanted == name) {
            *slot = Some(symbol.address());
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    let mut all = [0; N];
    for (address, slot) in all.iter_mut().zip(found) {
        *address = slot?;
    }
    Some(all)
}

/// Opens the file of a mapping. First by its path in the process' root. Then by its path in the root of this process,
/// because after a chroot the kernel prints paths from there. If both paths now have another file, by the mapping
/// itself.
fn open(pid: u32, mapping: &Mapping) -> Option<File> {
    let module = &mapping.module;
    let paths = [format!("/proc/{pid}/root{}", module.path), module.path.clone()];
    let same = |path: String| {
        let file = File::open(path).ok()?;
        file.metadata().is_ok_and(|meta| meta.ino() == mapping.inode).then_some(file)
    };
    paths
        .into_iter()
        .find_map(same)
        .or_else(|| File::open(format!("/proc/{pid}/map_files/{:x}-{:x}", module.start, module.end)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_library_is_searched_before_the_executable() {
        assert!(rank("libpython3.12.so.1.0") < rank("python3.12"));
        assert!(rank("python3.12") < rank("uwsgi"));
        assert!(rank("uwsgi") < rank("libc.so.6"));
        assert_eq!(file_name("/opt/a b/python3.12"), "python3.12");
        assert_eq!(version_in("libpython3.8.so.1.0").as_deref(), Some("3.8"));
        assert_eq!(version_in("python3"), None);
    }

    #[test]
    fn a_symbol_of_this_process_is_where_the_linker_put_it() {
        let found = symbol(std::process::id(), "libc.so", "getpid").expect("libc has it");
        assert_eq!(found, libc::getpid as *const () as u64);
    }

    #[test]
    fn a_process_without_python_is_reported_as_such() {
        let error = Runtime::locate(std::process::id()).unwrap_err();
        assert!(error.to_string().starts_with("cannot find a Python interpreter in process"), "{error}");
    }
}
