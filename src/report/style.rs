//! How a report may look on this terminal: its width, colours or none, Unicode or ASCII.
//!
//! Job: turn environment, terminal and options into one value, once. Invariant: [`Style`] is all that a report knows
//! of the outside, so the same profile and style give the same bytes; colour only ever repeats what text says.
//! Neighbours: `commands` gathers what [`Style::resolve`] asks for, `report::table` paints with the result.

use std::fmt::Write as _;

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// As the environment and the terminal say.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What is known of the place that a report is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// It is a terminal.
    pub is_terminal: bool,
    /// Its width in display cells, where it has one.
    pub columns: Option<usize>,
}

/// How a report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Display cells of a line.
    pub width: usize,
    /// Paint with colours.
    pub color: bool,
    /// Draw with Unicode; ASCII otherwise.
    pub unicode: bool,
}

/// Width of a report that goes neither to a terminal nor was given one: fits a log viewer, holds the main columns.
pub const DEFAULT_WIDTH: usize = 120;
/// Narrower than this, numbers would have to be cut.
pub const LEAST_WIDTH: usize = 40;

impl Style {
    /// No colour, Unicode, the default width.
    pub const PLAIN: Self = Self { width: DEFAULT_WIDTH, color: false, unicode: true };

    /// The style for `output` under the environment `env`.
    ///
    /// Width: `width` (`--width`), else `COLUMNS`, else the terminal's. Colour: `color` (`--color`), else none where
    /// `NO_COLOR` is set, else some where `FORCE_COLOR` is, else none where `TERM` is `dumb`, else as the output is a
    /// terminal. Unicode: where the first of `LC_ALL`, `LC_CTYPE`, `LANG` that is set names UTF-8.
    pub fn resolve(
        output: Output,
        env: impl Fn(&str) -> Option<String>,
        color: ColorChoice,
        width: Option<usize>,
    ) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let color = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if set("NO_COLOR").is_some() => false,
            ColorChoice::Auto if set("FORCE_COLOR").is_some() => true,
            ColorChoice::Auto => output.is_terminal && set("TERM").is_none_or(|term| term != "dumb"),
        };
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
        let columns = set("COLUMNS").and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
        let width = width.or(columns).or(output.columns.filter(|columns| *columns > 0)).unwrap_or(DEFAULT_WIDTH);
        Self { width: width.max(LEAST_WIDTH), color, unicode: locale.contains("utf-8") || locale.contains("utf8") }
    }

    /// `unicode` or its stand-in.
    #[must_use]
    pub fn glyph<T>(&self, unicode: T, ascii: T) -> T {
        if self.unicode { unicode } else { ascii }
    }

    /// Appends `text` painted for its `role`.
    pub(crate) fn paint(&self, out: &mut String, role: Role, text: &str) {
        if !self.color || text.is_empty() || role == Role::Plain {
            out.push_str(text);
            return;
        }
        let _ = write!(out, "{}", role.style().style(text));
    }

    /// `text` painted for its `role`.
    pub(crate) fn painted(&self, role: Role, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 10);
        self.paint(&mut out, role, text);
        out
    }
}

/// What a piece of text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing special.
    Plain,
    /// A section's title.
    Title,
    /// A column's title.
    Heading,
    /// Beside the point: units, zeros, cold lines, rules.
    Faint,
    /// The figure to look at.
    Strong,
    /// Python time.
    Python,
    /// Native time.
    Native,
    /// System time.
    System,
    /// Off-CPU time.
    Wait,
    /// Memory.
    Memory,
    /// Something is missing or wrong.
    Warning,
    /// Shown in place of a character of the source that would act on the terminal.
    StandIn,
}

impl Role {
    /// Colours of the terminal's own theme that are legible on dark and light. No bright ones: Solarized uses them for
    /// shades of its background.
    fn style(self) -> owo_colors::Style {
        let style = owo_colors::Style::new();
        match self {
            Self::Plain => style,
            Self::Title | Self::Strong => style.bold(),
            Self::Heading => style.dimmed(),
            Self::Faint => style.dimmed(),
            Self::Python => style.blue(),
            Self::Native => style.yellow(),
            Self::System => style.red(),
            Self::Wait => style.dimmed(),
            Self::Memory => style.cyan(),
            Self::Warning => style.bold().yellow(),
            Self::StandIn => style.reversed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: Output = Output { is_terminal: true, columns: Some(97) };
    const PIPE: Output = Output { is_terminal: false, columns: None };

    fn resolve(output: Output, env: &[(&str, &str)], color: ColorChoice, width: Option<usize>) -> Style {
        let find = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Style::resolve(output, find, color, width)
    }

    #[test]
    fn colour_follows_the_option_then_the_environment_then_the_terminal() {
        let auto = |output, env: &[(&str, &str)]| resolve(output, env, ColorChoice::Auto, None).color;
        assert!(auto(TERMINAL, &[]));
        assert!(!auto(PIPE, &[]));
        assert!(!auto(TERMINAL, &[("TERM", "dumb")]));
        assert!(!auto(TERMINAL, &[("NO_COLOR", "1")]));
        assert!(auto(TERMINAL, &[("NO_COLOR", "")]));
        assert!(auto(PIPE, &[("FORCE_COLOR", "1")]));
        assert!(auto(PIPE, &[("FORCE_COLOR", "1"), ("TERM", "dumb")]));
        assert!(!auto(TERMINAL, &[("NO_COLOR", "1"), ("FORCE_COLOR", "1")]));
        assert!(resolve(PIPE, &[("NO_COLOR", "1")], ColorChoice::Always, None).color);
        assert!(!resolve(TERMINAL, &[("FORCE_COLOR", "1")], ColorChoice::Never, None).color);
    }

    #[test]
    fn unicode_follows_the_first_locale_variable_that_is_set() {
        let unicode = |env: &[(&str, &str)]| resolve(TERMINAL, env, ColorChoice::Auto, None).unicode;
        assert!(unicode(&[("LANG", "ko_KR.UTF-8")]));
        assert!(unicode(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
        assert!(!unicode(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]));
        assert!(!unicode(&[]));
    }

    #[test]
    fn width_is_the_options_then_the_environments_then_the_terminals() {
        let width = |output, env: &[(&str, &str)], width| resolve(output, env, ColorChoice::Auto, width).width;
        assert_eq!(width(TERMINAL, &[("COLUMNS", "60")], Some(70)), 70);
        assert_eq!(width(TERMINAL, &[("COLUMNS", "60")], None), 60);
        assert_eq!(width(TERMINAL, &[("COLUMNS", "wide")], None), 97);
        assert_eq!(width(PIPE, &[("COLUMNS", "0")], None), DEFAULT_WIDTH);
        assert_eq!(width(TERMINAL, &[], Some(3)), LEAST_WIDTH);
    }
}
