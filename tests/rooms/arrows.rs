//! Which file uses which: the paths that the text of a module names, and circles of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The files below a folder whose names have this ending.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
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

/// What each file below `root` uses, both named as modules (`profile::book`).
pub(crate) fn arrows(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut texts = BTreeMap::new();
    for file in files(root, "rs") {
        let inside = file.strip_prefix(root).expect("it is below").with_extension("");
        let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).filter(|part| part != "mod").collect();
        texts.insert(parts.join("::"), fs::read_to_string(&file).expect("source is text"));
    }
    let modules: BTreeSet<String> = texts.keys().cloned().collect();
    texts.into_iter().map(|(name, text)| (name.clone(), used(&name, &text, &modules))).collect()
}

/// The modules that the text of a module names, its tests and its comments left out.
pub(crate) fn used(module: &str, text: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: String =
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut parts = code.split("pub(in ");
    // Who may see an item is not what it uses.
    let seen = parts.next().map(str::to_owned);
    let code: String = seen
        .into_iter()
        .chain(parts.map(|part| part.split_once(')').map_or("", |(_, rest)| rest).to_owned()))
        .collect();
    let mut found = BTreeSet::new();
    let letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    // Each path begins where a word begins that no `::` stands before.
    for (at, _) in code.match_indices(letter) {
        if code[..at].ends_with(letter) || code[..at].trim_end().ends_with("::") {
            continue;
        }
        for path in paths(&code[at..]).0 {
            found.extend(resolved(module, &path, modules));
        }
    }
    found.remove(module);
    found
}

/// The paths that a tree of a `use`, or an expression, begins with, and the bytes that it takes.
fn paths(text: &str) -> (Vec<Vec<String>>, usize) {
    let word = |text: &str| text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    let space = |text: &str| text.len() - text.trim_start().len();
    let length = word(text);
    let name = text[..length].to_owned();
    let Some(rest) = text[length..].strip_prefix("::") else { return (vec![vec![name]], length) };
    let mut at = length + 2;
    let mut inner = Vec::new();
    if let Some(list) = rest.strip_prefix('{') {
        at += 1;
        let mut list = list;
        while !list.is_empty() && !list.trim_start().starts_with('}') {
            let skipped = space(list);
            let (more, taken) = paths(&list[skipped..]);
            inner.extend(more);
            let end = list[skipped + taken..].find([',', '}']).map_or(list.len(), |end| skipped + taken + end);
            let end = end + usize::from(list[end..].starts_with(','));
            at += end;
            list = &list[end..];
        }
    } else {
        let (more, taken) = paths(rest);
        inner = more;
        at += taken;
    }
    let whole = |mut path: Vec<String>| {
        path.insert(0, name.clone());
        path
    };
    (inner.into_iter().map(whole).collect(), at)
}

/// The module that a path in `module` leads into.
fn resolved(module: &str, path: &[String], modules: &BTreeSet<String>) -> Option<String> {
    let mut at: Vec<&str> = module.split("::").collect();
    // A word alone is a name, or says who may see an item.
    let [first, _, ..] = path else { return None };
    let mut rest = path;
    match first.as_str() {
        "crate" => (at, rest) = (Vec::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|word| word == "super") {
                at.pop();
                rest = &rest[1..];
            }
        }
        child if modules.contains(&format!("{module}::{child}")) => {}
        _ => return None,
    }
    at.extend(rest.iter().map(String::as_str));
    (1..=at.len()).rev().map(|length| at[..length].join("::")).find(|name| modules.contains(name))
}

/// The files that use each other in a circle, if any do.
pub(crate) fn circle(arrows: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut left: BTreeSet<String> = arrows.keys().cloned().collect();
    loop {
        // What uses none of the others, or is used by none of them, is in no circle with them.
        let used: BTreeSet<&String> = left.iter().flat_map(|name| &arrows[name]).collect();
        let stays = |name: &&String| !arrows[*name].is_disjoint(&left) && used.contains(name);
        let next: BTreeSet<String> = left.iter().filter(stays).cloned().collect();
        if next.len() == left.len() {
            return left;
        }
        left = next;
    }
}
