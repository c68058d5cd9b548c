//! Who may use whom: data flows one way, so no room names a room that comes after it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A room of `src` and the rooms it may name. `error`, `source` and `units` are everybody's.
const MAY_USE: [(&str, &[&str]); 7] = [
    ("transport", &[]),
    ("capture", &["transport"]),
    ("profile", &["transport"]),
    ("report", &["profile"]),
    ("result", &["control", "profile", "report"]),
    ("lines", &["capture", "profile", "report", "result", "transport"]),
    ("control", &["capture", "profile", "report", "transport"]),
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

/// Names behind `crate::` in the code of a folder.
fn named(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files(folder, "rs") {
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
fn every_room_has_its_row() {
    let rooms: BTreeSet<String> = fs::read_dir(src())
        .expect("src is there")
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(rooms, MAY_USE.iter().map(|(room, _)| (*room).to_owned()).collect());
}

#[test]
fn no_room_names_a_room_that_it_may_not_use() {
    for (room, may_use) in MAY_USE {
        let others = MAY_USE.iter().map(|(other, _)| *other).filter(|other| *other != room && !may_use.contains(other));
        let named = named(&src().join(room));
        let wrong: Vec<_> = others.filter(|other| named.contains(*other)).collect();
        assert!(wrong.is_empty(), "src/{room} uses {wrong:?}");
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
