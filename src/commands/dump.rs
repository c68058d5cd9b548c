//! `rscalene dump`: prints the present stack of every thread of a running process.
//!
//! Invariant: the command looks once and prints to stdout; without `--native` it does not stop the process. Neighbours:
//! `observe::outside::now` looks, `attach` makes the errors.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::attach::{Facts, refused};
use crate::cli::error::Error;
use crate::cli::flags::Dump;
use crate::cli::messages::{print, tell};
use crate::observe::outside::now::{FrameNow, Now, ThreadNow, now};
use crate::observe::proc;

/// Runs the command; returns the exit code.
pub(crate) fn dump(flags: &Dump) -> Result<i32, Error> {
    let mut pids = vec![flags.pid];
    let first = now(flags.pid, flags.native).map_err(refused)?;
    let mut all = vec![first];
    let mut at = 0;
    while flags.subprocesses && at < pids.len() {
        for child in proc::children(pids[at]) {
            pids.push(child);
            // Leave out a child that does not run Python.
            all.extend(now(child, flags.native).ok());
        }
        at += 1;
    }
    if flags.json {
        let processes: Vec<Value> = all.iter().map(as_json).collect();
        print(
            format!(
                "{}\n",
                json!({"format": {"name": "rscalene-dump", "major": 1, "minor": 0}, "processes": processes})
            )
            .as_bytes(),
        )?;
    } else {
        all.iter().try_for_each(|now| print(as_text(now, &Facts::of(now.pid)).as_bytes()))?;
    }
    if all.iter().flat_map(|now| &now.threads).any(|thread| thread.approximate) && !flags.json {
        tell("rscalene: the stacks of threads that run may be torn; `--native` stops each thread for a moment");
    }
    Ok(0)
}

/// The threads of a process as text.
pub(super) fn as_text(now: &Now, facts: &Facts) -> String {
    let version = format!("{}.{}.{}", now.version >> 24, now.version >> 16 & 0xff, now.version >> 8 & 0xff);
    let mut out = format!("Process {}: {}\nPython {version}\n", now.pid, facts.command.join(" "));
    for thread in &now.threads {
        let _ = writeln!(out, "\nThread {} \"{}\"  {}", thread.tid, thread.name, state(thread));
        rows(&mut out, &thread.frames, facts);
        for task in &thread.tasks {
            let _ = writeln!(out, "  Task");
            rows(&mut out, task, facts);
        }
        if thread.frames.is_empty() {
            let _ = writeln!(out, "    (no Python frame)");
        }
    }
    out
}

fn state(thread: &ThreadNow) -> String {
    let mut facts = vec![thread.doing.as_str()];
    facts.extend(thread.holds_gil.then_some("holds the GIL"));
    facts.extend(thread.approximate.then_some("approximate"));
    facts.retain(|fact| !fact.is_empty());
    facts.join(", ")
}

fn rows(out: &mut String, frames: &[FrameNow], facts: &Facts) {
    let place = |frame: &FrameNow| match frame.line {
        Some(line) => format!("{}:{line}", frame.file),
        None => frame.file.clone(),
    };
    for frame in frames {
        let text = frame.line.and_then(|line| facts.source_line(&frame.file, line));
        let shown = match (frame.line, text) {
            (None, _) => format!("    {} ({})", frame.function, frame.file),
            (Some(_), Some(text)) => format!("  {}  {}  {text}", frame.function, place(frame)),
            (Some(_), None) => format!("  {}  {}", frame.function, place(frame)),
        };
        let _ = writeln!(out, "  {shown}");
    }
}

fn as_json(now: &Now) -> Value {
    let frame = |frame: &FrameNow| {
        let native = frame.line.is_none();
        json!({"function": frame.function, "file": frame.file, "line": frame.line, "native": native})
    };
    let frames = |frames: &[FrameNow]| frames.iter().map(frame).collect::<Vec<_>>();
    let thread = |thread: &ThreadNow| {
        json!({
            "tid": thread.tid,
            "name": thread.name,
            "state": thread.doing,
            "holds_gil": thread.holds_gil,
            "waits_for_gil": thread.waits_for_gil,
            "approximate": thread.approximate,
            "frames": frames(&thread.frames),
            "tasks": thread.tasks.iter().map(|task| frames(task)).collect::<Vec<_>>(),
        })
    };
    let version = format!("{}.{}.{}", now.version >> 24, now.version >> 16 & 0xff, now.version >> 8 & 0xff);
    json!({
        "pid": now.pid,
        "command": proc::command_line(now.pid).unwrap_or_default(),
        "python": version,
        "threads": now.threads.iter().map(thread).collect::<Vec<_>>(),
    })
}
