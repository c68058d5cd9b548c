//! `rscalene doctor`: checks whether rscalene works on this machine.
//!
//! Job: profile a small program under each interpreter, exactly as `run` would, and print the result with a hint for
//! each failure. Invariant: a verdict depends on the trial's result. Settings of the system, such as
//! `perf_event_paranoid`, only explain a verdict. Neighbours: `trial` runs the small program; `shim`, `program` and
//! `report::style` make the other checks.

mod trial;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::trial::{Engine, Trial};
use rscalene_wire as wire;

use crate::cli::error::Error;
use crate::cli::flags::Doctor;
use crate::cli::messages;
use crate::launch::preload::{Shim, refuse_foreign_proc};
use crate::launch::program;
use crate::launch::python_version::{SUPPORTED, name_if_unsupported};
use crate::report::style::{ColorChoice, Output, Style};

/// Interpreters to look for on PATH besides the chosen interpreter.
const NAMES: [&str; 5] = ["python3.11", "python3.12", "python3.13", "python3.14", "python3.15"];

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The feature works.
    Good,
    /// The feature works with a limitation.
    Weak,
    /// The feature does not work.
    Bad,
}

/// One line of the output.
#[derive(Clone, Debug)]
struct Check {
    verdict: Verdict,
    what: &'static str,
    found: String,
    hint: String,
}

impl Check {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Good, what, found: found.into(), hint: String::new() }
    }

    fn weak(what: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Weak, what, found: found.into(), hint: hint.into() }
    }

    fn bad(what: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, what, found: found.into(), hint: hint.into() }
    }
}

/// Runs the command; returns the exit code: 1 if the chosen interpreter cannot be profiled.
pub(crate) fn doctor(flags: &Doctor, interpreter: &Path) -> Result<i32, Error> {
    let style = Style::resolve(
        Output {
            is_terminal: messages::stdout_is_terminal(),
            columns: messages::terminal_size().map(|(columns, _)| columns),
        },
        |name| std::env::var(name).ok(),
        ColorChoice::Auto,
        None,
    );
    refuse_foreign_proc()?;
    let chosen = flags.python.as_deref().unwrap_or(interpreter);
    let mut groups = Vec::new();
    let chosen_checks = match Shim::find() {
        Ok(shim) => {
            let checks = interpreter_checks(&shim, chosen);
            groups.push((format!("python: {}", chosen.display()), checks.clone()));
            for other in others(chosen) {
                groups.push((format!("also on PATH: {}", other.display()), interpreter_checks(&shim, &other)));
            }
            checks
        }
        Err(error) => vec![Check::bad("preload", error.message, error.hint)],
    };
    groups.push(("output".to_owned(), output_checks(style)));
    let mut text =
        format!("rscalene {} on {}-{}\n", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    for (title, checks) in &groups {
        let _ = write!(text, "\n{title}\n");
        checks.iter().for_each(|check| render(check, style, &mut text));
    }
    let works = chosen_checks.iter().all(|check| check.verdict != Verdict::Bad);
    text.push_str(if works { "\nprograms can be profiled here\n" } else { "\nprograms cannot be profiled here\n" });
    messages::print(text.as_bytes())?;
    Ok(i32::from(!works))
}

fn render(check: &Check, style: Style, text: &mut String) {
    let (word, color) = match check.verdict {
        Verdict::Good => ("ok", 32),
        Verdict::Weak => ("weak", 33),
        Verdict::Bad => ("FAIL", 31),
    };
    let word = if style.color { format!("\x1b[{color}m{word:<4}\x1b[0m") } else { format!("{word:<4}") };
    let _ = writeln!(text, "  {word}  {:<10}  {}", check.what, check.found);
    if !check.hint.is_empty() {
        let _ = writeln!(text, "                    hint: {}", check.hint);
    }
}

/// Other interpreters on PATH, each once. Names that do not start are left out: version managers leave such names.
fn others(chosen: &Path) -> Vec<PathBuf> {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let mut seen: HashSet<PathBuf> = program::find(chosen.as_os_str()).iter().map(|path| real(path)).collect();
    let found = NAMES.iter().filter_map(|name| program::find(name.as_ref()).ok());
    found.filter(|path| seen.insert(real(path)) && starts(path)).collect()
}

fn starts(interpreter: &Path) -> bool {
    let mut command = Command::new(interpreter);
    command.args(["-c", ""]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn interpreter_checks(shim: &Shim, interpreter: &Path) -> Vec<Check> {
    let executable = match program::find(interpreter.as_os_str()) {
        Ok(executable) => executable,
        Err(error) => return vec![Check::bad("starts", error.message, "`--python` names the interpreter")],
    };
    if let Some((why, hint)) = program::unreachable(&executable) {
        return vec![Check::bad("preload", why, hint)];
    }
    if let Some(found) = name_if_unsupported(&executable) {
        return vec![unsupported(&found)];
    }
    let trial = match Trial::run(shim, &executable) {
        Ok(trial) => trial,
        Err(error) => return vec![Check::bad("starts", format!("the trial did not run: {error}"), "run it by hand")],
    };
    let Some(version) = trial.version.filter(|_| trial.succeeded) else {
        return vec![silent(&trial)];
    };
    if !version.is_supported() {
        return vec![unsupported(&format!("Python {version}"))];
    }
    let mut checks = vec![Check::good("preload", format!("CPython {version} starts with the preloaded library"))];
    checks.push(frames(&trial));
    checks.push(cpu(&trial));
    checks.push(memory(&trial));
    checks.push(waits(&trial));
    checks.extend(trial::reads_without_rights(&executable).map(rights));
    checks
}

fn unsupported(found: &str) -> Check {
    let hint = format!("{SUPPORTED}: `--python PATH` names another interpreter");
    Check::bad("version", format!("{found} is not supported"), hint)
}

/// The check for a trial in which no process announced itself, whether or not the program ran.
fn silent(trial: &Trial) -> Check {
    let said = trial.stderr.lines().last().unwrap_or_default();
    if trial.succeeded {
        Check::bad("preload", "the preloaded library found no interpreter it knows", SUPPORTED)
    } else {
        Check::bad("starts", format!("the trial failed: {said}"), "does it run without rscalene?")
    }
}

fn frames(trial: &Trial) -> Check {
    match trial.self_test {
        Some(wire::Verdict::PASSED) => Check::good("frames", "our frame walk agrees with the interpreter's own answer"),
        Some(wire::Verdict::FAILED) => Check::bad(
            "frames",
            "our frame walk differs from the interpreter's own answer: only totals are reported",
            "please report it, with the version of this interpreter",
        ),
        _ => Check::weak("frames", "the self-test could not run", "samples are checked one by one all the same"),
    }
}

fn cpu(trial: &Trial) -> Check {
    let samples = trial.cpu_samples;
    match trial.engine {
        _ if samples == 0 => {
            Check::bad("cpu", "no CPU sample arrived", "is SIGURG blocked, or timer_create forbidden?")
        }
        Engine::Perf => Check::good("cpu", format!("perf task-clock, {samples} samples in the trial")),
        Engine::Timer => {
            let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
            let level = paranoid.trim();
            let hint = match level.parse::<i32>() {
                Ok(number) if number > 2 => format!(
                    "perf_event_paranoid is {number}: `sysctl kernel.perf_event_paranoid=2` allows perf for everybody"
                ),
                _ => "a container or sandbox forbids perf_event_open: allow it in its seccomp profile".to_owned(),
            };
            Check::weak("cpu", format!("per-thread timers, {samples} samples in the trial; perf does not open"), hint)
        }
        Engine::Unknown => Check::good("cpu", format!("{samples} samples in the trial")),
    }
}

fn memory(trial: &Trial) -> Check {
    match (&trial.allocator, trial.allocations) {
        (_, 0) => Check::bad(
            "memory",
            "no allocation was seen",
            "another allocator may be in the way: see LD_PRELOAD; `--cpu-only` works all the same",
        ),
        (Some(library), count) => {
            Check::good("memory", format!("{count} allocation samples in the trial, blocks of `{library}`"))
        }
        (None, count) => Check::good("memory", format!("{count} allocation samples in the trial")),
    }
}

fn waits(trial: &Trial) -> Check {
    if trial.waits {
        return Check::good("waits", "the time of a sleep was found, on its line");
    }
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let hint = match scope.trim() {
        "2" | "3" => {
            format!("yama's ptrace_scope is {}: `sysctl kernel.yama.ptrace_scope=1` lets a parent read", scope.trim())
        }
        _ => "a container or sandbox forbids process_vm_readv: allow it in its seccomp profile".to_owned(),
    };
    Check::weak("waits", "the sleeping program could not be read: waiting is not reported by line", hint)
}

fn rights(readable: bool) -> Check {
    if readable {
        return Check::good("rights", "a process that gave its rights away can be read, too");
    }
    Check::weak(
        "rights",
        "what a process waits for is unknown once it gives its rights away (as servers that are started as root do)",
        "give the launcher CAP_SYS_PTRACE, for example `docker run --cap-add SYS_PTRACE`",
    )
}

fn output_checks(style: Style) -> Vec<Check> {
    let unicode = if style.unicode {
        Check::good("characters", "UTF-8")
    } else {
        Check::weak("characters", "ASCII only", "set LANG to a UTF-8 locale, e.g. `LANG=C.UTF-8`")
    };
    let color = if style.color { "on" } else { "off (no terminal, or switched off)" };
    vec![unicode, Check::good("colors", color), Check::good("width", format!("{} columns", style.width))]
}
