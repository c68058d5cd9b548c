//! The floors of the shim: a room of `shim/src` uses rooms below it, and no file uses one that uses it.
//!
//! Paths behind `crate::` are read from the text, in code of macros too. Neighbour: `rooms` (the same for `src`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, from the ground up. Rooms of one floor do not use each other.
const FLOORS: [&[&str]; 7] =
    [&["ground"], &["arena", "count"], &["python"], &["cpu"], &["memory", "signals"], &["life"], &["exports"]];

fn shim() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shim")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The files of `shim/src` by their module paths (`memory::tables::got`), without their comments.
fn modules() -> BTreeMap<String, String> {
    let root = shim().join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    let named = |path: &Path| {
        let name = path.strip_prefix(&root).expect("inside").with_extension("");
        let name = name.to_string_lossy().replace('/', "::");
        name.strip_suffix("::mod").map(str::to_owned).unwrap_or(name)
    };
    let code = |path: &Path| {
        let text = fs::read_to_string(path).expect("source is text");
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    };
    found.iter().map(|path| (named(path), code(path))).collect()
}

/// The paths of a tree such as `a::{b, c::{self, D}}`: `a::b`, `a::c`, `a::c::D`.
fn paths(tree: &str) -> Vec<String> {
    let end = tree.find(|letter: char| !letter.is_alphanumeric() && !"_:".contains(letter)).unwrap_or(tree.len());
    let (head, rest) = tree.split_at(end);
    let head = head.trim_end_matches(':');
    if !rest.starts_with('{') {
        return vec![head.trim_end_matches("::self").to_owned()];
    }
    let mut all = Vec::new();
    let (mut depth, mut from) = (0, 1);
    for (at, letter) in rest.char_indices() {
        depth += usize::from(letter == '{');
        depth -= usize::from(letter == '}');
        if depth == 0 || (depth == 1 && letter == ',') {
            let inner = rest[from..at].trim();
            from = at + 1;
            if !inner.is_empty() {
                all.extend(paths(inner).into_iter().map(|path| match path.as_str() {
                    "self" => head.to_owned(),
                    _ => format!("{head}::{path}"),
                }));
            }
        }
        if depth == 0 {
            break;
        }
    }
    all
}

/// Which modules each module names.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let modules = modules();
    let of = |name: &str, code: &str| {
        let named = code.split("crate::").skip(1).flat_map(paths);
        let module = named.filter_map(|mut path| {
            while !modules.contains_key(&path) {
                path.truncate(path.rfind("::")?);
            }
            (path != name).then_some(path)
        });
        module.collect()
    };
    modules.iter().map(|(name, code)| (name.clone(), of(name, code))).collect()
}

fn room(module: &str) -> &str {
    module.split("::").next().expect("never empty")
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn every_folder_of_the_shim_has_its_level() {
    let rooms: BTreeSet<String> = modules().keys().map(|module| room(module).to_owned()).collect();
    let known: BTreeSet<String> = FLOORS.concat().into_iter().chain(["lib"]).map(str::to_owned).collect();
    assert_eq!(rooms, known);
}

#[test]
fn a_folder_of_the_shim_uses_only_folders_below_it() {
    let mut seen = 0;
    for (module, uses) in uses() {
        for used in uses.iter().filter(|used| room(used) != room(&module)) {
            assert!(floor(room(used)) < floor(room(&module)), "{module} uses {used}");
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} uses were found");
}

#[test]
fn no_file_of_the_shim_uses_one_that_uses_it() {
    let mut left = uses();
    // Take away what uses nothing that is left, until that is all or a circle remains.
    loop {
        let free: BTreeSet<String> =
            left.iter().filter(|(_, uses)| uses.is_empty()).map(|(module, _)| module.clone()).collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module, _| !free.contains(module));
        left.values_mut().for_each(|uses| uses.retain(|used| !free.contains(used)));
    }
    assert!(left.is_empty(), "a circle among {left:#?}");
}

#[test]
fn wire_and_interp_use_no_other_crate_of_the_workspace() {
    for part in ["wire", "interp"] {
        let manifest = fs::read_to_string(shim().join(part).join("Cargo.toml")).expect("a manifest");
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        assert!(!dependencies.contains("rscalene"), "shim/{part}");
    }
}

#[test]
fn trees_of_paths_are_read_whole() {
    assert_eq!(paths("a::{self, b::{self, C}, d};\nuse e;"), ["a", "a::b", "a::b::C", "a::d"]);
    assert_eq!(paths("a::b as c;"), ["a::b"]);
}
