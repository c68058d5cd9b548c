//! The source text of the profile's files, if available.
//!
//! Job: hold the lines of each file: all lines if the file can still be read, else the lines recorded in the profile.
//! Invariant: a recorded line keeps its text of the run, even if the file has changed since. Callers: `payload` and
//! `source` read the text.

use crate::profile::model::File;

use super::highlight::{Highlighter, Run};

/// Lines of a file: ascending ranges that do not overlap.
#[derive(Default)]
pub(super) struct FileText {
    /// For each range, the number of its first line, and its lines.
    pub(super) ranges: Vec<(u32, Vec<String>)>,
    /// Whether the file on disk differs from the recorded lines.
    pub(super) changed: bool,
}

impl FileText {
    /// Uses the text on disk if there is any, else the lines in the profile.
    pub(super) fn new(file: &File, on_disk: Option<String>) -> Self {
        let mut text = Self::default();
        if let Some(whole) = on_disk {
            let lines = whole.lines().map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned()).collect();
            text.ranges.push((1, lines));
        }
        for line in &file.lines {
            let Some(kept) = &line.source else { continue };
            let kept = kept.lines().next().unwrap_or_default();
            match text.get(line.line) {
                Some(there) if there == kept => {}
                Some(_) => text.replace(line.line, kept),
                None => text.append(line.line, kept),
            }
        }
        text
    }

    /// The text of a line.
    pub(super) fn get(&self, line: u32) -> Option<&str> {
        let at = self.ranges.partition_point(|(start, _)| *start <= line).checked_sub(1)?;
        let (start, lines) = &self.ranges[at];
        lines.get((line - start) as usize).map(String::as_str)
    }

    /// Number of the last line; 0 if there are no lines.
    pub(super) fn last_line(&self) -> u32 {
        self.ranges.last().map_or(0, |(start, lines)| start + (lines.len() as u32).saturating_sub(1))
    }

    /// The runs of colour of every line, range by range.
    pub(super) fn highlighted(&self) -> Vec<Vec<Vec<Run>>> {
        self.ranges
            .iter()
            .map(|(_, lines)| {
                let mut highlighter = Highlighter::default();
                lines.iter().map(|line| highlighter.line(line)).collect()
            })
            .collect()
    }

    fn replace(&mut self, line: u32, kept: &str) {
        self.changed = true;
        let at = self.ranges.partition_point(|(start, _)| *start <= line) - 1;
        let (start, lines) = &mut self.ranges[at];
        kept.clone_into(&mut lines[(line - *start) as usize]);
    }

    /// Adds a recorded line after all others. Lines arrive in ascending order, so a missing line belongs at the end.
    fn append(&mut self, line: u32, kept: &str) {
        match self.ranges.last_mut() {
            Some((start, lines)) if u64::from(*start) + lines.len() as u64 == u64::from(line) => {
                lines.push(kept.to_owned())
            }
            Some((start, lines)) if u64::from(*start) + lines.len() as u64 > u64::from(line) => {}
            _ => self.ranges.push((line, vec![kept.to_owned()])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::Line;

    fn file(lines: &[(u32, &str)]) -> File {
        let lines = lines.iter().map(|&(line, source)| Line { line, source: Some(source.into()), ..Line::default() });
        File { path: "a.py".into(), lines: lines.collect(), ..File::default() }
    }

    #[test]
    fn the_profile_s_own_text_wins_over_a_file_that_changed() {
        let text = FileText::new(&file(&[(2, "b")]), Some("a\nX\r\nc".into()));
        assert!(text.changed);
        assert_eq!((text.get(1), text.get(2), text.get(3), text.get(4)), (Some("a"), Some("b"), Some("c"), None));
    }

    #[test]
    fn without_the_file_only_kept_lines_are_known() {
        let text = FileText::new(&file(&[(2, "b"), (3, "c"), (9, "i"), (u32::MAX, "z")]), None);
        assert!(!text.changed);
        assert_eq!((text.get(1), text.get(3), text.get(4), text.get(9)), (None, Some("c"), None, Some("i")));
        assert_eq!(text.last_line(), u32::MAX);
    }
}
