//! The screen of `rscalene top`.
//!
//! Job: draw figures, and change the view by key. Invariants: the screen depends on the figures and the keys alone, so
//! a test can check its text; the screen names every key. Neighbour: `super` passes figures and keys.

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line as Text;
use ratatui::widgets::{Cell, Clear, Paragraph, Row, Table, TableState};

use crate::observe::outside::window::Place;
use crate::units;

/// Length of the window in wall seconds.
pub(super) const WINDOW_S: f64 = 10.0;

/// The rows of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Lines,
    Functions,
    Threads,
}

/// A row of lines or functions. All shares are per cent of wall time, so 100 is one core.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) own: f64,
    pub(super) total: f64,
    pub(super) kinds: [f64; 5],
    pub(super) source: String,
}

/// The figures to show.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) pid: u32,
    pub(super) command: String,
    pub(super) engine: &'static str,
    pub(super) kinds: [f64; 5],
    pub(super) threads: Vec<((u32, u32), String, [f64; 5])>,
    pub(super) lines: Vec<Line>,
    pub(super) rss_bytes: u64,
    pub(super) rss_course: Vec<u64>,
    /// Cost of observing, in per cent of a core.
    pub(super) own: f64,
    pub(super) seconds: f64,
    pub(super) alive: bool,
}

/// An action for `super`, asked for by a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wish {
    Reset,
    /// Length in seconds; `None`: everything since the start.
    Window(Option<f64>),
    Dump,
    Save,
}

const COLUMNS: [&str; 6] = ["own %", "total %", "python", "native", "system", "wait"];

/// The state of the screen.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) view: View,
    /// Show the rows of libraries too.
    pub(super) all: bool,
    pub(super) paused: bool,
    pub(super) quit: bool,
    pub(super) figures: Figures,
    pub(super) note: String,
    /// A text shown in place of the table.
    pub(super) overlay: Option<String>,
    sort: usize,
    filter: String,
    typing: bool,
    whole: bool,
    selected: usize,
    scroll: u16,
}

impl Screen {
    pub(super) fn new(view: View, all: bool) -> Self {
        Self {
            view,
            all,
            paused: false,
            quit: false,
            figures: Figures::default(),
            note: String::new(),
            overlay: None,
            sort: 0,
            filter: String::new(),
            typing: false,
            whole: false,
            selected: 0,
            scroll: 0,
        }
    }

    /// Handles a key. Returns the action that the screen cannot do itself.
    pub(super) fn press(&mut self, key: KeyCode) -> Option<Wish> {
        self.note.clear();
        if self.typing {
            match key {
                KeyCode::Enter => self.typing = false,
                KeyCode::Esc => (self.typing, self.filter) = (false, String::new()),
                KeyCode::Backspace => drop(self.filter.pop()),
                KeyCode::Char(letter) => self.filter.push(letter),
                _ => {}
            }
            return None;
        }
        if self.overlay.is_some() {
            match key {
                KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
                KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
                KeyCode::PageDown | KeyCode::Char(' ') => self.scroll = self.scroll.saturating_add(20),
                KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(20),
                _ => (self.overlay, self.scroll) = (None, 0),
            }
            return None;
        }
        match key {
            KeyCode::Char('q') | KeyCode::Esc => self.quit = true,
            KeyCode::Char('l') => self.view = View::Lines,
            KeyCode::Char('f') => self.view = View::Functions,
            KeyCode::Char('t') => self.view = View::Threads,
            KeyCode::Char('a') => self.all = !self.all,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('<') | KeyCode::Left => self.sort = (self.sort + COLUMNS.len() - 1) % COLUMNS.len(),
            KeyCode::Char('>') | KeyCode::Right => self.sort = (self.sort + 1) % COLUMNS.len(),
            KeyCode::Char(digit @ '1'..='6') => self.sort = digit as usize - '1' as usize,
            KeyCode::Down | KeyCode::Char('j') => self.selected += 1,
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Char('?') => self.overlay = Some(HELP.to_owned()),
            KeyCode::Char('r') => return Some(Wish::Reset),
            KeyCode::Char('w') => {
                self.whole = !self.whole;
                return Some(Wish::Window(if self.whole { None } else { Some(WINDOW_S) }));
            }
            KeyCode::Char('d') => return Some(Wish::Dump),
            KeyCode::Char('s') => return Some(Wish::Save),
            _ => {}
        }
        None
    }

    /// Draws the whole screen.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(5), Constraint::Min(3), Constraint::Length(1)]).areas(frame.area());
        let lines: Vec<Text<'_>> = self.figures.head().into_iter().map(Text::from).collect();
        frame.render_widget(Paragraph::new(lines), head);
        let (header, rows, widths) = self.table();
        let count = rows.len();
        self.selected = self.selected.min(count.saturating_sub(1));
        let table = Table::new(rows, widths)
            .header(header_row(header).style(Style::new().add_modifier(Modifier::BOLD)))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        let mut state = TableState::default().with_selected((count > 0).then_some(self.selected));
        frame.render_stateful_widget(table, body, &mut state);
        frame.render_widget(Paragraph::new(self.foot()), foot);
        if let Some(text) = &self.overlay {
            let area = frame.area();
            frame.render_widget(Clear, area);
            frame.render_widget(Paragraph::new(text.as_str()).scroll((self.scroll, 0)), area);
        }
    }

    fn foot(&self) -> String {
        if self.typing {
            return format!("filter: {}_   (Enter keeps, Esc clears)", self.filter);
        }
        if !self.note.is_empty() {
            return self.note.clone();
        }
        let window = if self.whole { "all" } else { "10 s" };
        let paused = if self.paused { "PAUSED · " } else { "" };
        let filter = if self.filter.is_empty() { String::new() } else { format!(" · filter {}", self.filter) };
        format!(
            "{paused}[l]ines [f]unctions [t]hreads · sort {} < > · [w]indow {window} · [a]ll [p]ause [r]eset [/]filter \
             [d]ump [s]ave [?] [q]uit{filter}",
            COLUMNS[self.sort]
        )
    }

    fn table(&self) -> (Vec<String>, Vec<Row<'static>>, Vec<Constraint>) {
        let right = |value: f64| Cell::from(Text::from(percent(value)).right_aligned());
        let numbers = || {
            COLUMNS
                .iter()
                .enumerate()
                .map(|(at, name)| if at == self.sort { format!("{name}↓") } else { (*name).to_owned() })
        };
        if self.view == View::Threads {
            let mut threads = self.figures.threads.clone();
            threads.sort_by(|a, b| thread_key(&b.2, self.sort).total_cmp(&thread_key(&a.2, self.sort)));
            let shown = threads.into_iter().filter(|(_, name, _)| name.contains(&self.filter));
            let rows = shown.map(|((_, tid), name, kinds)| {
                let mut cells =
                    vec![Cell::from(format!("{tid} {name}")), right(kinds[..3].iter().sum()), right(kinds[4])];
                cells.extend(kinds[..4].iter().map(|kind| right(*kind)));
                Row::new(cells)
            });
            let mut header = vec!["Thread".to_owned()];
            header.extend(numbers().map(|name| name.replace("total %", "gil wait")));
            let mut widths = vec![Constraint::Min(24)];
            widths.extend([Constraint::Length(8); 6]);
            return (header, rows.collect(), widths);
        }
        let mut lines: Vec<&Line> = self.figures.lines.iter().filter(|line| line.matches(&self.filter)).collect();
        lines.sort_by(|a, b| b.key(self.sort).total_cmp(&a.key(self.sort)));
        let longest = lines.iter().take(40).map(|line| line.name().chars().count()).max().unwrap_or(0).clamp(10, 44);
        let rows = lines.into_iter().take(500).map(|line| {
            let mut cells = vec![Cell::from(line.name()), right(line.own), right(line.total)];
            cells.extend(line.kinds[..4].iter().map(|kind| right(*kind)));
            cells.push(Cell::from(if line.place.line == 0 { line.place.file.clone() } else { line.source.clone() }));
            Row::new(cells)
        });
        let mut header = vec![if self.view == View::Lines { "Line" } else { "Function" }.to_owned()];
        header.extend(numbers());
        header.push(if self.view == View::Lines { "Source" } else { "File" }.to_owned());
        let mut widths = vec![Constraint::Length(u16::try_from(longest).unwrap_or(44))];
        widths.extend([Constraint::Length(8); 6]);
        widths.push(Constraint::Min(10));
        (header, rows.collect(), widths)
    }
}

impl Line {
    fn name(&self) -> String {
        let file = self.place.file.rsplit('/').next().unwrap_or(&self.place.file);
        if self.place.line == 0 { self.place.function.clone() } else { format!("{file}:{}", self.place.line) }
    }

    fn matches(&self, filter: &str) -> bool {
        filter.is_empty()
            || [&self.place.file, &self.place.function, &self.source].iter().any(|text| text.contains(filter))
    }

    fn key(&self, column: usize) -> f64 {
        match column {
            0 => self.own,
            1 => self.total,
            kind => self.kinds[kind - 2],
        }
    }
}

/// The headings: left-aligned over text, right-aligned over numbers.
fn header_row(names: Vec<String>) -> Row<'static> {
    let numbers = 1..=COLUMNS.len();
    let cell = |(at, name): (usize, String)| {
        let text = Text::from(name);
        Cell::from(if numbers.contains(&at) { text.right_aligned() } else { text })
    };
    Row::new(names.into_iter().enumerate().map(cell))
}

fn thread_key(kinds: &[f64; 5], column: usize) -> f64 {
    match column {
        0 => kinds[..3].iter().sum(),
        1 => kinds[4],
        kind => kinds[kind - 2],
    }
}

fn percent(value: f64) -> String {
    if value < 0.05 { "·".to_owned() } else { format!("{value:.1}") }
}

impl Figures {
    fn head(&self) -> Vec<String> {
        let [python, native, system, wait, gil] = self.kinds;
        let cpu = python + native + system;
        let ended = if self.alive { "" } else { " · ENDED" };
        let running = self.threads.iter().filter(|(_, _, kinds)| kinds[..3].iter().sum::<f64>() > 1.0).count();
        vec![
            format!(
                "rscalene top {} · {} · outside ({}) · looking takes {:.1} % of a core{ended}",
                self.pid, self.command, self.engine, self.own
            ),
            format!(
                "  cpu {cpu:5.0} %  {}  █ python {python:.0} · ▓ native {native:.0} · ▒ system {system:.0} %",
                bar([python, native, system], 32)
            ),
            format!(
                "  gil  {:.0} % of the threads' waiting is for it   threads {}: {running} run",
                if wait > 0.0 { 100.0 * gil / wait } else { 0.0 },
                self.threads.len()
            ),
            format!("  rss {}  {}", units::bytes(self.rss_bytes), course(&self.rss_course, 40)),
            String::new(),
        ]
    }
}

/// A bar of `cells` cells for parts of one core, or of as many cores as the parts use.
fn bar(parts: [f64; 3], cells: usize) -> String {
    let whole = parts.iter().sum::<f64>().max(100.0);
    let mut bar = String::new();
    let mut filled = 0;
    let mut upto = 0.0;
    for (part, texture) in parts.into_iter().zip(['█', '▓', '▒']) {
        upto += part;
        let end = (upto / whole * cells as f64).round() as usize;
        bar.extend(std::iter::repeat_n(texture, end.saturating_sub(filled)));
        filled = filled.max(end);
    }
    bar.extend(std::iter::repeat_n('░', cells.saturating_sub(filled)));
    bar
}

/// The last points as a row of block characters; the lowest is zero.
fn course(points: &[u64], cells: usize) -> String {
    let last = &points[points.len().saturating_sub(cells)..];
    let most = last.iter().copied().max().unwrap_or(0).max(1);
    last.iter().map(|point| ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][(point * 7 / most) as usize]).collect()
}

/// The table as text, for pipes and files.
pub(super) fn plain(figures: &Figures, view: View) -> String {
    let mut out = figures.head().join("\n");
    let what = if view == View::Functions { "function" } else { "line" };
    let _ = writeln!(
        out,
        "\n{:>7} {:>7} {:>7} {:>7} {:>7} {:>7}  {what}",
        "own %", "total %", "python", "native", "system", "wait"
    );
    for line in
        figures.lines.iter().filter(|line| line.own >= 0.05 || line.total >= 0.05 || line.kinds[3] >= 0.05).take(40)
    {
        let [python, native, system, wait, _] = line.kinds.map(percent);
        let (own, total) = (percent(line.own), percent(line.total));
        let place = if line.place.line == 0 { line.place.file.clone() } else { line.source.clone() };
        let _ = writeln!(
            out,
            "{own:>7} {total:>7} {python:>7} {native:>7} {system:>7} {wait:>7}  {}  {place}",
            line.name()
        );
    }
    out
}

const HELP: &str = "\
rscalene top: what a running process does, from outside. All figures are percent of one core.

  l f t     lines, functions, threads
  < >  1-6  sort by another column
  w         the last 10 seconds, or all since the start (or since r)
  a         libraries too, or the program's own code alone
  /         show what contains a word
  p         pause the screen; r forgets what was seen
  d         print what every thread does now
  s         save the table as text
  q         leave; the process goes on

Time that library code takes is its caller's, as in every report. Press a key.";

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn figures() -> Figures {
        let line = |line, own, wait, source: &str| Line {
            place: Place { file: "/src/app.py".to_owned(), function: "work".to_owned(), line },
            own,
            total: own + 10.0,
            kinds: [own, 0.0, 0.0, wait, 0.0],
            source: source.to_owned(),
        };
        Figures {
            pid: 4711,
            command: "python app.py".to_owned(),
            engine: "perf",
            kinds: [31.0, 12.0, 7.0, 100.0, 4.0],
            threads: vec![((4711, 4711), "MainThread".to_owned(), [31.0, 12.0, 7.0, 100.0, 4.0])],
            lines: vec![
                line(88, 21.4, 2.1, "rows = [parse(line) for line in chunk]"),
                line(41, 9.8, 61.0, "cursor.execute(query)"),
            ],
            rss_bytes: 412 << 20,
            rss_course: vec![1, 2, 4],
            own: 0.9,
            seconds: 10.0,
            alive: true,
        }
    }

    fn drawn(screen: &mut Screen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, 10)).expect("a test terminal");
        terminal.draw(|frame| screen.draw(frame)).expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_shows_head_rows_and_keys() {
        let mut screen = Screen::new(View::Lines, false);
        screen.figures = figures();
        let text = drawn(&mut screen);
        let row = text.lines().find(|line| line.contains("app.py:88")).expect("a row");
        assert!(["21.4", "31.4", "2.1", "rows = [parse"].iter().all(|cell| row.contains(cell)), "{text}");
        assert!(text.contains("rscalene top 4711 · python app.py · outside (perf)"), "{text}");
        assert!(text.contains("412 MiB") && text.contains("▂▄█"), "{text}");
        assert!(text.contains("own %↓"), "{text}");
    }

    #[test]
    fn keys_sort_filter_pause_and_leave() {
        let mut screen = Screen::new(View::Lines, false);
        screen.figures = figures();
        screen.press(KeyCode::Char('6'));
        let text = drawn(&mut screen);
        assert!(text.find("app.py:41") < text.find("app.py:88"), "{text}");
        screen.press(KeyCode::Char('/'));
        for letter in "parse".chars() {
            let _ = screen.press(KeyCode::Char(letter));
        }
        screen.press(KeyCode::Enter);
        assert!(!drawn(&mut screen).contains("app.py:41"));
        screen.press(KeyCode::Char('p'));
        assert!(screen.paused && drawn(&mut screen).contains("PAUSED"));
        assert_eq!(screen.press(KeyCode::Char('r')), Some(Wish::Reset));
        assert_eq!(screen.press(KeyCode::Char('w')), Some(Wish::Window(None)));
        screen.press(KeyCode::Char('t'));
        screen.press(KeyCode::Char('/'));
        screen.press(KeyCode::Esc);
        assert!(drawn(&mut screen).contains("4711 MainThread"));
        screen.press(KeyCode::Char('q'));
        assert!(screen.quit);
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar([50.0, 25.0, 25.0], 8), "████▓▓▒▒");
        assert_eq!(bar([0.0, 0.0, 0.0], 4), "░░░░");
        assert_eq!(bar([400.0, 0.0, 0.0], 4), "████");
    }
}
