//! `rscalene top`: shows the load of a running process by line, as it changes.
//!
//! Invariant: rscalene only observes the process, and restores the terminal on every kind of exit. If stdout is no
//! terminal, or with `--once`, the command prints a table and ends. Neighbours: `observe::outside` observes, its
//! `window` sums, `screen` draws.

mod screen;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event as Typed, KeyCode, KeyEventKind, KeyModifiers};
use serde_json::json;

use self::screen::{Figures, Line, Screen, View, WINDOW_S};
use super::attach::{Facts, asked_to_end, heed_requests_to_end, named, refused, scope};
use crate::cli::error::{EXIT_NO_PROFILE, Error};
use crate::cli::flags::Top;
use crate::cli::messages::{print, stdout_is_terminal};
use crate::observe::outside::window::{InScope, Window, cpu};
use crate::observe::outside::{Outside, Settings, now};
use crate::observe::proc;
use crate::profile::build::scope::Scope;
use crate::transport::event::{CodeDef, Event};

/// Longest time until a key takes effect.
const STEP: Duration = Duration::from_millis(50);

/// Runs the command; returns the exit code.
pub(crate) fn top(flags: &Top) -> Result<i32, Error> {
    let facts = Facts::of(flags.pid);
    let settings = Settings { interval: flags.interval, children: flags.subprocesses, perf: true };
    let mut events = Vec::new();
    let outside = Outside::attach(flags.pid, settings, &mut events).map_err(refused)?;
    heed_requests_to_end();
    let once = flags.once || flags.json || !stdout_is_terminal();
    let length = if once { None } else { Some(WINDOW_S) };
    let mut look = Look {
        scope: scope(&facts, &flags.scope)?,
        facts,
        outside,
        window: Window::new(length),
        begun: Instant::now(),
        alive: true,
    };
    look.take(&mut events);
    if once { print_once(look, flags) } else { show(look, flags) }
}

/// A process, and the observations of it.
struct Look {
    facts: Facts,
    scope: Scope,
    outside: Outside,
    window: Window,
    begun: Instant,
    alive: bool,
}

impl Look {
    fn take(&mut self, events: &mut Vec<Event>) {
        events.drain(..).for_each(|event| self.window.feed(&event));
    }

    fn step(&mut self, longest: Duration, events: &mut Vec<Event>) {
        if self.alive {
            self.alive = self.outside.step(longest, events);
            self.take(events);
        } else {
            std::thread::sleep(longest);
        }
    }

    fn figures(&self, view: View, all: bool) -> Figures {
        let now_ns = proc::monotonic_ns();
        let seconds = match self.window.seconds(now_ns) {
            // A slice begins with its first event, so the observed time may be up to 0.5 s longer than `seconds`, but not
            // longer than the time since the start.
            seconds if self.alive => seconds.max(self.begun.elapsed().as_secs_f64().min(seconds + 0.5)),
            seconds => seconds,
        };
        let held = |code: &CodeDef| {
            let path = self.scope.absolute(&code.filename);
            all || self.scope.holds(&path, &code.qualname, code.def.first_line.max(1))
        };
        let in_scope: InScope<'_> = &held;
        let rows = match view {
            View::Lines | View::Functions => self.window.rows(view == View::Functions, in_scope),
            View::Threads => Vec::new(),
        };
        let share = |seconds_of: f64| 100.0 * seconds_of / seconds;
        let mut lines: Vec<Line> = rows
            .into_iter()
            .map(|row| Line {
                place: row.place.clone(),
                own: share(cpu(&row.cost.own)),
                total: share(row.cost.total_s),
                kinds: row.cost.own.map(share),
                source: String::new(),
            })
            .collect();
        lines.sort_by(|a, b| b.own.total_cmp(&a.own).then_with(|| a.place.file.cmp(&b.place.file)));
        for line in lines.iter_mut().take(200).filter(|line| line.place.line > 0) {
            line.source = self.facts.source_line(&line.place.file, line.place.line).unwrap_or_default();
        }
        let (rss_bytes, course) = self.window.resident();
        Figures {
            pid: self.facts.pid,
            command: self.facts.title(),
            engine: named(self.outside.engine()),
            kinds: self.window.kinds().map(share),
            threads: self
                .window
                .threads()
                .into_iter()
                .map(|(key, name, kinds)| (key, name, kinds.map(share)))
                .collect(),
            lines,
            rss_bytes,
            rss_course: course.collect(),
            own: 100.0 * proc::whole_cpu().as_secs_f64() / self.begun.elapsed().as_secs_f64().max(0.1),
            seconds,
            alive: self.alive,
        }
    }
}

fn print_once(mut look: Look, flags: &Top) -> Result<i32, Error> {
    let end = Instant::now() + flags.duration;
    let mut events = Vec::new();
    while look.alive && !asked_to_end() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        look.step(left.min(STEP), &mut events);
    }
    let view = if flags.functions { View::Functions } else { View::Lines };
    let figures = look.figures(view, flags.scope.all);
    if flags.json {
        print(format!("{}\n", as_json(&figures)).as_bytes())?;
    } else {
        print(screen::plain(&figures, view).as_bytes())?;
    }
    Ok(0)
}

fn as_json(figures: &Figures) -> serde_json::Value {
    let kinds = |kinds: &[f64; 5]| json!({"python": kinds[0], "native": kinds[1], "system": kinds[2], "wait": kinds[3], "gil_wait": kinds[4]});
    json!({
        "format": {"name": "rscalene-top", "major": 1, "minor": 0},
        "pid": figures.pid,
        "command": figures.command,
        "engine": figures.engine,
        "seconds": figures.seconds,
        "percent": kinds(&figures.kinds),
        "rss_bytes": figures.rss_bytes,
        "lines": figures.lines.iter().map(|line| json!({
            "file": line.place.file, "function": line.place.function, "line": line.place.line,
            "own_percent": line.own, "total_percent": line.total, "percent": kinds(&line.kinds), "source": line.source,
        })).collect::<Vec<_>>(),
        "threads": figures.threads.iter().map(|((pid, tid), name, own)| json!({
            "pid": pid, "tid": tid, "name": name, "percent": kinds(own),
        })).collect::<Vec<_>>(),
    })
}

/// Restores the terminal when dropped.
struct Terminal(ratatui::DefaultTerminal);

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn show(mut look: Look, flags: &Top) -> Result<i32, Error> {
    let failed = |error: std::io::Error| {
        Error::new(EXIT_NO_PROFILE, format!("cannot draw on the terminal: {error}"), "`--once` prints a table")
    };
    // `try_init` also restores the terminal on a panic.
    let mut terminal = Terminal(ratatui::try_init().map_err(failed)?);
    let view = if flags.functions { View::Functions } else { View::Lines };
    let mut screen = Screen::new(view, flags.scope.all);
    let (mut events, mut due) = (Vec::new(), Instant::now());
    screen.figures = look.figures(screen.view, screen.all);
    while !asked_to_end() && !screen.quit {
        look.step(STEP, &mut events);
        while event::poll(Duration::ZERO).map_err(failed)? {
            match event::read().map_err(failed)? {
                Typed::Key(key) if key.kind == KeyEventKind::Press => {
                    if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
                        screen.quit = true;
                    }
                    press(&mut screen, &mut look, key.code);
                    due = Instant::now();
                }
                Typed::Resize(..) => due = Instant::now(),
                _ => {}
            }
        }
        if Instant::now() >= due {
            due = Instant::now() + flags.refresh;
            if !screen.paused {
                look.window.forget(proc::monotonic_ns());
                screen.figures = look.figures(screen.view, screen.all);
            }
            terminal.0.draw(|frame| screen.draw(frame)).map_err(failed)?;
        }
    }
    Ok(0)
}

/// Handles a key: changes the screen, and does the work that the screen cannot do.
fn press(screen: &mut Screen, look: &mut Look, key: KeyCode) {
    match screen.press(key) {
        Some(screen::Wish::Reset) => look.window.reset(),
        Some(screen::Wish::Window(length)) => look.window.set_length(length),
        Some(screen::Wish::Dump) => {
            screen.overlay = Some(match now::now(look.facts.pid, false) {
                Ok(now) => super::dump::as_text(&now, &look.facts),
                Err(refused) => format!("{}\nhint: {}", refused.message, refused.hint),
            });
        }
        Some(screen::Wish::Save) => {
            let path = PathBuf::from(format!("rscalene-top-{}.txt", look.facts.pid));
            let saved = crate::save::write_whole(&path, &|out| {
                out.write_all(screen::plain(&screen.figures, screen.view).as_bytes())
            });
            screen.note = match saved {
                Ok(()) => format!("saved {}", path.display()),
                Err(error) => format!("cannot write {}: {error}", path.display()),
            };
        }
        None => screen.figures = look.figures(screen.view, screen.all),
    }
}
