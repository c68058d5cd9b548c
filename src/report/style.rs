//! The look of a report on a given output: its width, with colours or without, Unicode or ASCII.
//!
//! Job: compute one [`Style`] from environment, terminal and options. Invariants: a report depends on the profile and
//! its style only, so equal inputs give equal bytes; colour only repeats facts of the text. Neighbours: `commands`
//! collects the input of [`Style::resolve`], `report::table` paints with the result.

use std::fmt::Write as _;

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// Decided by the environment and the terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The output that a report is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Whether it is a terminal.
    pub is_terminal: bool,
    /// Its width in display cells, if it has one.
    pub columns: Option<usize>,
}

/// How a report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Width of a line in display cells.
    pub width: usize,
    /// Paint with colours.
    pub color: bool,
    /// Draw with Unicode; ASCII otherwise.
    pub unicode: bool,
}

/// Width of a report that does not go to a terminal and has no `--width`. It fits a log viewer and the main columns.
pub const DEFAULT_WIDTH: usize = 120;
/// Least width: in fewer cells, numbers would have to be cut.
pub const LEAST_WIDTH: usize = 40;

impl Style {
    /// No colour, Unicode, the default width.
    pub const PLAIN: Self = Self { width: DEFAULT_WIDTH, color: false, unicode: true };

    /// The style for `output` under the environment `env`.
    ///
    /// Width: `width` (`--width`), else `COLUMNS`, else the terminal's. Colour: `color` (`--color`), else none if
    /// `NO_COLOR` is set, else colours if `FORCE_COLOR` is set, else none if `TERM` is `dumb`, else colours only on a
    /// terminal. Unicode: if the first set variable of `LC_ALL`, `LC_CTYPE` and `LANG` names UTF-8.
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

    /// `unicode`, or `ascii` if the style has no Unicode.
    #[must_use]
    pub fn glyph<T>(&self, unicode: T, ascii: T) -> T {
        if self.unicode { unicode } else { ascii }
    }

    /// Appends `text`, painted for `role`.
    pub(crate) fn paint(&self, out: &mut String, role: Role, text: &str) {
        if !self.color || text.is_empty() || role == Role::Plain {
            out.push_str(text);
            return;
        }
        let _ = write!(out, "{}", role.style().style(text));
    }

    /// `text`, painted for `role`.
    pub(crate) fn painted(&self, role: Role, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 10);
        self.paint(&mut out, role, text);
        out
    }
}

/// The purpose of a piece of text, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing special.
    Plain,
    /// A section's title.
    Title,
    /// A column's title.
    Heading,
    /// Of little importance: units, zeros, cold lines, rules.
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
    /// A report that data is missing or wrong.
    Warning,
    /// Replaces a character of the source that would control the terminal.
    StandIn,
}

impl Role {
    /// Colours of the terminal's own theme that are legible on dark and on light backgrounds. Bright colours are
    /// avoided: Solarized uses them for shades of its background.
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
