//! Who may use whom: data flows one way, so no room names a room that comes after it.

mod arrows;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use arrows::files;

/// Rooms of `src`, and files that lie directly in it, by floor: each may use lower floors, and no others.
const FLOORS: [&[&str]; 13] = [
    &["source", "units"],
    &["transport"],
    &["observe", "profile"],
    &["report"],
    &["push"],
    &["cli"],
    &["launch", "save"],
    &["commands"],
    &["bindings"],
    &["lines"],
    &["inprocess", "requests"],
    &["sql"],
    &["lib"],
];

/// The same, inside of `src/profile`.
const PROFILE: [&[&str]; 5] = [&["model"], &["book"], &["write"], &["build"], &["compare", "merge"]];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn every_folder_and_file_has_its_level() {
    for (folder, floors) in [("", FLOORS.as_slice()), ("profile", &PROFILE)] {
        let names = fs::read_dir(src().join(folder)).expect("the folder is there").flatten();
        let names = names.map(|entry| entry.path().file_stem().expect("a name").to_string_lossy().into_owned());
        let found: BTreeSet<String> = names.filter(|name| name != "mod").collect();
        assert_eq!(found, floors.iter().flat_map(|floor| floor.iter().map(|room| (*room).to_owned())).collect());
    }
}

#[test]
fn every_folder_uses_only_lower_levels() {
    let arrows = arrows::arrows(&src());
    for (folder, floors) in [("", FLOORS.as_slice()), ("profile::", &PROFILE)] {
        let room = |module: &str| module.strip_prefix(folder)?.split("::").next().map(str::to_owned);
        let floor = |room: &str| floors.iter().position(|floor| floor.contains(&room));
        for (module, used) in &arrows {
            let Some(from) = room(module) else { continue };
            for to in used.iter().filter_map(|used| room(used)).filter(|to| *to != from) {
                assert!(floor(&to) < floor(&from), "`{module}` uses `{folder}{to}`, which is not on a lower floor");
            }
        }
    }
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let circle = arrows::circle(&arrows::arrows(&src()));
    assert!(circle.is_empty(), "these files of src use each other: {circle:#?}");
}

#[test]
fn a_circle_is_found() {
    let files = |texts: &[(&str, &str)]| {
        let modules = texts.iter().map(|(name, _)| (*name).to_owned()).collect();
        let text = |(name, text): &(&str, &str)| ((*name).to_owned(), arrows::used(name, text, &modules));
        arrows::circle(&texts.iter().map(text).collect())
    };
    let line = ("a::b", "use super::c::{D, e::F};");
    assert!(files(&[line, ("a::c", "fn f() { other() }"), ("a", "mod b; pub use b::X;")]).is_empty());
    assert_eq!(files(&[line, ("a::c", "use crate::{a::b as x, y};"), ("z", "use crate::a::c;")]).len(), 2);
    assert_eq!(files(&[("a", "mod b; fn f() { b::f() }"), ("a::b", "fn f() { super::f() }")]).len(), 2);
    assert!(files(&[line, ("a::c", "//! [`super::b`]\n#[cfg(test)]\nmod tests { use super::super::b; }")]).is_empty());
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
