//! Who may use whom: data flows one way, so no room names a room that comes after it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms of `src`, and files that lie directly in it, by floor: each may use what stands on a lower one, and no more.
const FLOORS: [&[&str]; 12] = [
    &["source", "units"],
    &["transport"],
    &["observe", "profile"],
    &["report"],
    &["cli"],
    &["launch", "save"],
    &["commands"],
    &["bindings"],
    &["lines"],
    &["inprocess", "requests"],
    &["sql"],
    &["lib"],
];

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}

/// Names behind `crate::` in the code of a room: a folder, or a file.
fn named(room: &str) -> BTreeSet<String> {
    let folder = src().join(room);
    let files = if folder.is_dir() { files(&folder, "rs") } else { vec![src().join(format!("{room}.rs"))] };
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("source is text");
        for rest in text.split("crate::").skip(1) {
            let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
            names.insert(rest[..end].to_owned());
        }
    }
    names
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn every_room_and_file_has_its_floor() {
    let found: BTreeSet<String> = fs::read_dir(src())
        .expect("src is there")
        .flatten()
        .map(|entry| entry.path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, FLOORS.iter().flat_map(|floor| floor.iter().map(|room| (*room).to_owned())).collect());
}

#[test]
fn no_room_uses_one_beside_it_or_above_it() {
    for (at, floor) in FLOORS.iter().enumerate() {
        for room in *floor {
            let named = named(room);
            let others = FLOORS[at..].iter().flat_map(|floor| floor.iter()).filter(|other| *other != room);
            let wrong: Vec<_> = others.filter(|other| named.contains(**other)).collect();
            assert!(wrong.is_empty(), "src/{room} uses {wrong:?}");
        }
    }
}

#[test]
fn profiles_are_made_of_decoded_events_alone() {
    for file in files(&src().join("profile"), "rs") {
        let text = fs::read_to_string(&file).expect("source is text");
        for rest in text.split("crate::transport::").skip(1) {
            assert!(rest.starts_with("event"), "{}: transport::{:.30}", file.display(), rest);
        }
        for outside in ["std::fs", "std::time", "std::net", "std::process::Command", "std::env"] {
            assert!(!text.contains(outside), "{} reaches for {outside}", file.display());
        }
    }
}

#[test]
fn the_extension_module_never_links_the_shim() {
    let manifest = fs::read_to_string(src().join("../Cargo.toml")).expect("the manifest is there");
    let linked = manifest.split("[target.'cfg(any())'.dependencies]").next().expect("never empty");
    let dependencies = linked.split("[dependencies]").nth(1).expect("there are some");
    assert!(!dependencies.contains("rscalene-shim"), "the shim's malloc would come along");
}
