//! The block of facts in the summary: a name, then items that are wrapped at the style's width.
//!
//! Invariants: no row is wider than the style's width; no number is cut. Neighbour: `summary` has the facts.

use crate::report::style::{Role, Style};
use crate::report::text;

/// Cells of a fact's name and the space after it.
pub(super) const LABEL: usize = 9;

/// Appends facts, each with a name.
pub(super) struct Facts<'a> {
    pub(super) out: &'a mut String,
    pub(super) style: &'a Style,
}

impl Facts<'_> {
    /// Appends items with dots between them, wrapped between items; nothing if there are no items.
    pub(super) fn push(&mut self, label: &str, items: &[(Role, String)]) {
        self.wrapped(label, items, self.style.glyph(" \u{b7} ", ", "));
    }

    /// Appends words with spaces between them.
    pub(super) fn sentence(&mut self, label: &str, items: &[(Role, String)]) {
        self.wrapped(label, items, " ");
    }

    fn wrapped(&mut self, label: &str, items: &[(Role, String)], between: &str) {
        let width = self.style.width.saturating_sub(LABEL);
        let mut used = 0;
        for (place, (role, item)) in items.iter().enumerate() {
            if place == 0 {
                self.label(label);
            } else if used + text::width(between) + text::width(item) > width {
                self.next_row(&mut used);
            } else {
                self.style.paint(self.out, Role::Faint, between);
                used += text::width(between);
            }
            self.item(*role, item, width, &mut used);
        }
        if !items.is_empty() {
            self.out.push('\n');
        }
    }

    /// Appends an item. An item wider than a row is broken between words, and a word that is too long is cut at its
    /// front, so that no number is cut.
    fn item(&mut self, role: Role, item: &str, width: usize, used: &mut usize) {
        if text::width(item) <= width {
            self.style.paint(self.out, role, item);
            *used += text::width(item);
            return;
        }
        for (place, word) in item.split(' ').enumerate() {
            let word = text::fit_end(word, width, self.style);
            if place > 0 && *used + 1 + text::width(&word) > width {
                self.next_row(used);
            } else if place > 0 {
                self.out.push(' ');
                *used += 1;
            }
            self.style.paint(self.out, role, &word);
            *used += text::width(&word);
        }
    }

    fn next_row(&mut self, used: &mut usize) {
        self.out.push('\n');
        self.label("");
        *used = 0;
    }

    /// Appends a painted picture.
    pub(super) fn drawn(&mut self, label: &str, picture: &str) {
        self.label(label);
        self.out.push_str(picture.trim_end());
        self.out.push('\n');
    }

    pub(super) fn label(&mut self, label: &str) {
        self.style.paint(self.out, Role::Faint, &format!("{label:>0$} ", LABEL - 1));
    }
}
