//! Source strings that a program executes: a distinct name for each string, even if several have the same file name.
//!
//! CPython gives the code of every `exec(source)` the file name `<string>`, so the lines of two strings would be added
//! up. This file tells strings apart by their content: each string has a single line table for each of its functions.
//! The first string of a file name keeps the name; the next strings are `<string> (2)`, `<string> (3)`.
//!
//! Job: choose the source string to which a code object belongs. Invariant: two code objects of the same name, the same
//! first line and different line tables never share a string, unless [`MOST_SOURCES`] is reached: strings beyond the
//! limit share the name `<string> (others)`. Neighbours: `builder` asks for each code object of a pseudo file, `inline`
//! names the programs of command lines.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::Arc;

use rscalene_interp::linetable::locations;
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use crate::profile::model::Profile;
use crate::transport::event::CodeDef;

/// Most source strings of a file name that get names of their own.
const MOST_SOURCES: usize = 256;
/// Most code objects whose name is remembered.
const MOST_CODES: usize = 16_384;

/// A code object by its content: file name, qualified name, first line, and the hash of its line table.
type Content = (Arc<str>, Arc<str>, u32, u64);

/// The source strings, by file name.
#[derive(Debug, Default)]
pub(crate) struct Executed {
    sources: FxHashMap<Arc<str>, Vec<Source>>,
    known: FxHashMap<Content, Arc<str>>,
}

/// Facts about a source string.
#[derive(Debug)]
struct Source {
    name: Arc<str>,
    /// Qualified name and first line of its code objects.
    codes: FxHashSet<(Arc<str>, u32)>,
    /// Lines of its `<module>` code object; `None` before that code object was seen.
    lines: Option<FxHashSet<u32>>,
}

impl Executed {
    /// The name of the source string to which the code object with this file name belongs.
    pub(crate) fn name(&mut self, filename: &str, code: &CodeDef) -> Arc<str> {
        let first_line = code.def.first_line.max(1);
        let table = BuildHasherDefault::<FxHasher>::default().hash_one(&code.table);
        let (file, qualname): (Arc<str>, Arc<str>) = (Arc::from(filename), Arc::from(code.qualname.as_str()));
        let content = (Arc::clone(&file), Arc::clone(&qualname), first_line, table);
        if let Some(name) = self.known.get(&content) {
            return Arc::clone(name);
        }
        let sources = self.sources.entry(file).or_default();
        let is_module = &*qualname == "<module>";
        let is_nested = qualname.contains(".<locals>.");
        let lines: FxHashSet<u32> = match is_module {
            true => locations(&code.table, first_line).filter_map(|place| place.line).collect(),
            false => FxHashSet::default(),
        };
        let fits = |source: &Source| match (&source.lines, is_module) {
            _ if source.codes.contains(&(Arc::clone(&qualname), first_line)) => false,
            // A module has an instruction on the line of each function that the module defines.
            (Some(lines), false) => is_nested || lines.contains(&first_line),
            (None, true) => source.codes.iter().all(|(name, line)| name.contains(".<locals>.") || lines.contains(line)),
            (None, false) => true,
            (Some(_), true) => false,
        };
        // A string whose module is known to define the function comes before a string whose module was not seen.
        let found = sources.iter().position(|source| source.lines.is_some() && fits(source));
        let at = match found.or_else(|| sources.iter().position(fits)) {
            Some(at) => at,
            None if sources.len() < MOST_SOURCES => {
                let number = sources.len() + 1;
                let name = if number == 1 { filename.to_owned() } else { format!("{filename} ({number})") };
                sources.push(Source { name: Arc::from(name), codes: FxHashSet::default(), lines: None });
                sources.len() - 1
            }
            None => return Arc::from(format!("{filename} (others)")),
        };
        let source = &mut sources[at];
        source.codes.insert((qualname, first_line));
        if is_module {
            source.lines = Some(lines);
        }
        if self.known.len() < MOST_CODES {
            self.known.insert(content, Arc::clone(&source.name));
        }
        Arc::clone(&source.name)
    }

    /// Numbers the strings of each file name again, strings with lines first. Otherwise the numbers would depend on
    /// chance: `site` executes a string for each `.pth` file, and samples may or may not have seen it.
    pub(crate) fn number_again(&self, profile: &mut Profile) {
        let with_lines: FxHashSet<String> =
            profile.files.iter().filter(|file| !file.lines.is_empty()).map(|file| file.path.clone()).collect();
        let mut names: FxHashMap<&str, &str> = FxHashMap::default();
        for sources in self.sources.values() {
            let all = || sources.iter().map(|source| &*source.name);
            let first = all().filter(|name| with_lines.contains(*name));
            let then = all().filter(|name| !with_lines.contains(*name));
            names.extend(first.chain(then).zip(all()));
        }
        let paths = profile.files.iter_mut().map(|file| &mut file.path).chain(&mut profile.stacks.other_files);
        for path in paths {
            if let Some(name) = names.get(path.as_str()) {
                *path = (*name).to_owned();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rscalene_wire as wire;

    use super::*;

    /// A code object whose line table has one instruction a line, from its first line on.
    fn code(qualname: &str, first_line: u32, lines: u8) -> CodeDef {
        // Entry: code 13 (no column), one unit; a line delta of 0 or 1 as a signed varint.
        let table = (0..lines).flat_map(|at| [0x80 | 13 << 3, if at == 0 { 0 } else { 2 }]).collect();
        let def = wire::CodeDef { first_line, ..wire::CodeDef::default() };
        CodeDef { def, filename: "<string>".to_owned(), qualname: qualname.to_owned(), table }
    }

    fn name(executed: &mut Executed, code: &CodeDef) -> String {
        executed.name("<string>", code).to_string()
    }

    #[test]
    fn two_sources_of_one_file_name_get_different_names_and_equal_sources_get_the_same_name() {
        let mut executed = Executed::default();
        let (short, long) = (code("<module>", 1, 2), code("<module>", 1, 3));
        assert_eq!(name(&mut executed, &short), "<string>");
        assert_eq!(name(&mut executed, &long), "<string> (2)");
        assert_eq!(name(&mut executed, &short), "<string>");
        assert_eq!(executed.name("<rules>", &short).as_ref(), "<rules>");
    }

    #[test]
    fn a_function_belongs_to_the_text_that_makes_it() {
        let mut executed = Executed::default();
        name(&mut executed, &code("<module>", 1, 2));
        name(&mut executed, &code("<module>", 1, 9));
        assert_eq!(name(&mut executed, &code("f", 7, 1)), "<string> (2)");
        assert_eq!(name(&mut executed, &code("g", 2, 1)), "<string>");
        // Another body with the same name and line belongs to another string.
        assert_eq!(name(&mut executed, &code("g", 2, 2)), "<string> (2)");
        assert_eq!(name(&mut executed, &code("g", 2, 3)), "<string> (3)");
    }

    #[test]
    fn a_source_with_lines_has_the_name_without_a_number() {
        let mut executed = Executed::default();
        name(&mut executed, &code("<module>", 1, 2));
        name(&mut executed, &code("<module>", 1, 3));
        let file = |path: &str, lines| crate::profile::model::File { path: path.into(), lines, ..Default::default() };
        let files = vec![file("<string>", vec![]), file("<string> (2)", vec![Default::default()])];
        let mut profile = Profile { files, ..Profile::default() };
        executed.number_again(&mut profile);
        assert_eq!(profile.files.iter().map(|file| &*file.path).collect::<Vec<_>>(), ["<string> (2)", "<string>"]);
    }

    #[test]
    fn sources_beyond_the_limit_share_a_name() {
        let mut executed = Executed::default();
        for number in 0..MOST_SOURCES + 10 {
            let mut source = code("<module>", 1, 1);
            source.table.extend_from_slice(&(number as u32).to_le_bytes().map(|byte| 0x80 | byte & 7));
            source.table.extend(std::iter::repeat_n(0x80 | 13 << 3, number / 512));
            source.table.push(number as u8);
            name(&mut executed, &source);
        }
        assert!(executed.sources[&Arc::from("<string>") as &Arc<str>].len() <= MOST_SOURCES);
    }
}
