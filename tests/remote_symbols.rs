//! Names of native functions out of real files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object, ObjectSegment, ObjectSymbol};
use rscalene::observe::modules;
use rscalene::observe::symbols::Symbols;
use rscalene::profile::build::symbolize::{AddressMap, demangle, object_name};

const SOURCE: &str = r#"
#include <stdlib.h>
static __attribute__((noinline)) int hidden(int n) { volatile int i = n; while (i > 7) i--; return i; }
__attribute__((noinline)) int shown(int n) { return hidden(n) + atoi(getenv("HOME")); }
"#;

/// A folder of this test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rscalene-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

fn compile(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("small.c"), folder.join("libsmall.so"));
    std::fs::write(&source, SOURCE).expect("a file");
    run(Command::new("cc")
        .args(["-O1", "-fPIC", "-shared", "-Wl,-z,lazy", "-Wl,--build-id", "-o"])
        .args([&library, &source]));
    library
}

/// File offsets of functions, by name, as `object` reads them from an unstripped file.
fn offsets(library: &Path) -> HashMap<String, (u64, u64)> {
    let bytes = std::fs::read(library).expect("readable");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    let offset = |address: u64| {
        let segment =
            file.segments().find(|segment| (segment.address()..segment.address() + segment.size()).contains(&address));
        segment.map(|segment| address - segment.address() + segment.file_range().0)
    };
    let functions = file.symbols().filter(|symbol| symbol.size() > 0 && symbol.is_definition());
    functions
        .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), (offset(symbol.address())?, symbol.size()))))
        .collect()
}

fn name(library: &Path, offset: u64) -> Option<String> {
    Symbols::new(HashMap::new()).function(library.to_str().expect("UTF-8"), offset).map(str::to_owned)
}

#[test]
fn every_byte_of_a_function_has_its_name_and_the_next_byte_has_not() {
    let folder = Folder::new("names");
    let library = compile(&folder.0);
    let offsets = offsets(&library);
    for function in ["hidden", "shown"] {
        let (start, size) = offsets[function];
        for offset in start..start + size {
            assert_eq!(name(&library, offset).as_deref(), Some(function), "{:#x}", offset - start);
        }
        assert_ne!(name(&library, start + size).as_deref(), Some(function));
        assert_ne!(name(&library, start - 1).as_deref(), Some(function));
    }
}

#[test]
fn a_stripped_file_gives_exported_names_only() {
    let folder = Folder::new("stripped");
    let library = compile(&folder.0);
    let offsets = offsets(&library);
    run(Command::new("strip").arg(&library));
    assert_eq!(name(&library, offsets["shown"].0).as_deref(), Some("shown"));
    assert_eq!(name(&library, offsets["hidden"].0), None);
}

#[test]
fn a_separate_debug_file_gives_back_the_names_if_it_is_of_the_same_build() {
    let folder = Folder::new("debug");
    let library = compile(&folder.0);
    let offsets = offsets(&library);
    let debug = folder.0.join("libsmall.debug");
    run(Command::new("objcopy").arg("--only-keep-debug").args([&library, &debug]));
    run(Command::new("strip").arg(&library));
    let mut link = std::ffi::OsString::from("--add-gnu-debuglink=");
    link.push(&debug);
    run(Command::new("objcopy").arg(link).arg(&library));
    let hidden = offsets["hidden"].0;
    assert_eq!(name(&library, hidden).as_deref(), Some("hidden"));
    run(Command::new("objcopy").args(["--remove-section", ".note.gnu.build-id"]).arg(&debug));
    assert_eq!(name(&library, hidden), None, "a debug file of another build");
}

#[test]
fn a_stub_is_named_after_the_function_it_calls() {
    let folder = Folder::new("stubs");
    let library = compile(&folder.0);
    let listing =
        Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(&library).output().expect("objdump runs");
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let stubs: Vec<(u64, String)> = listing
        .lines()
        .filter_map(|line| line.strip_suffix(">:")?.split_once(" <"))
        .filter(|(_, name)| name.ends_with("@plt") && !name.starts_with('*'))
        .map(|(address, name)| (u64::from_str_radix(address, 16).expect("hexadecimal"), name.to_owned()))
        .collect();
    assert!(stubs.iter().any(|(_, name)| name == "getenv@plt"), "{listing}");
    // Code of a library this small lies in the file where it lies in memory.
    for (address, stub) in stubs.iter().filter(|(_, name)| name != "__cxa_finalize@plt") {
        assert_eq!(name(&library, *address).as_deref(), Some(stub.as_str()));
    }
}

#[test]
fn addresses_of_this_process_are_named_through_its_own_mappings() {
    let mut map = AddressMap::default();
    let mappings = modules::executable(std::process::id()).expect("alive");
    map.update(&mappings.into_iter().map(|mapping| mapping.module).collect::<Vec<_>>());
    let mut symbols = Symbols::new(HashMap::new());
    let mut place = |pc: u64| {
        let module = map.find(pc).expect("mapped");
        let function = symbols.function(&module.path, pc - module.start + module.offset).map(demangle);
        (object_name(&module.path).to_owned(), function.expect("covered"))
    };
    let (object, function) = place(libc::malloc as *const () as u64);
    assert!(object.starts_with("libc"), "{object}");
    assert_eq!(function, "malloc");
    let (object, function) = place(compile as *const () as u64);
    assert!(object.starts_with("remote_symbols"), "{object}");
    assert_eq!(function, "remote_symbols::compile");
}
