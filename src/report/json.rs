//! The profile as JSON, format 1.
//!
//! Job: write a profile to a file and read the profile back. Invariants: the same profile always gives the same bytes;
//! keys stand in the order of the model; every number is finite. After reading, every index is valid, so reports need
//! not check. No input causes a panic, not even a hostile file. Unknown keys and newer minor versions are accepted, a
//! newer major version is refused. Neighbours: `profile::model` defines the keys, `docs/profile-format.md` explains
//! them.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Write};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::error::Category;

use crate::profile::model::{
    FORMAT_MAJOR, FORMAT_MINOR, FORMAT_NAME, Format, Member, Memory, Merge, Notice, Profile, Stacks, Time, codes,
};

/// Larger files are refused. The limit is two hundred times the size of a profile of 100,000 lines.
pub const MAX_BYTES: u64 = 4 << 30;

/// The layout of JSON text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// A single line, for machines.
    #[default]
    Compact,
    /// Indented, for people.
    Pretty,
}

/// The reason why a file could not be read as a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// The failure, the file, and the reason.
    pub message: String,
    /// A remedy for the user.
    pub hint: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nhint: {}", self.message, self.hint)
    }
}

impl std::error::Error for ReadError {}

/// Writes the profile, with a newline at its end.
///
/// # Errors
/// The errors of `out`.
pub fn write(profile: &Profile, layout: Layout, mut out: impl Write) -> io::Result<()> {
    let profile = finite(profile);
    match layout {
        Layout::Compact => serde_json::to_writer(&mut out, profile.as_ref())?,
        Layout::Pretty => serde_json::to_writer_pretty(&mut out, profile.as_ref())?,
    }
    out.write_all(b"\n")
}

/// Reads a profile from `source`; messages call it `name`.
///
/// # Errors
/// `source` fails, or does not hold a complete profile that this build understands.
pub fn read(name: &str, source: impl Read) -> Result<Profile, ReadError> {
    read_bytes(name, &all_bytes(name, source)?)
}

/// All bytes of `source`, if they are not too many.
pub(super) fn all_bytes(name: &str, source: impl Read) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    if let Err(error) = source.take(MAX_BYTES + 1).read_to_end(&mut bytes) {
        return Err(refuse(name, &error.to_string(), "check the path and its permissions"));
    }
    if bytes.len() as u64 > MAX_BYTES {
        let why = format!("it is larger than {}", crate::units::bytes(MAX_BYTES));
        return Err(refuse(name, &why, "a profile is never that large; give the JSON that rscalene wrote"));
    }
    Ok(bytes)
}

/// Reads a profile from memory; messages call it `name`.
///
/// # Errors
/// `bytes` do not hold a complete profile that this build understands.
pub fn read_bytes(name: &str, bytes: &[u8]) -> Result<Profile, ReadError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(refuse(name, "it is empty", RECORD_AGAIN));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let why = format!("it is not UTF-8 text (byte {})", error.valid_up_to());
        refuse(name, &why, "give the JSON that rscalene wrote, not a compressed or binary file")
    })?;
    let profile: Profile = match serde_json::from_str(text) {
        Ok(profile) => profile,
        Err(error) => {
            // Report a wrong format before any other error: the shape of all other keys depends on the format.
            check_format(name, text)?;
            return Err(broken(name, text, &error));
        }
    };
    // serde also accepts a list in place of a struct, with the fields as its items.
    if !is_known(&profile.format) || !text.trim_start().starts_with('{') {
        check_format(name, text)?;
    }
    check_indices(&profile).map_err(|why| refuse(name, &why, RECORD_AGAIN))?;
    Ok(profile)
}

const RECORD_AGAIN: &str = "record again with `rscalene run -o NAME.json ...`";

pub(super) fn refuse(name: &str, why: &str, hint: &str) -> ReadError {
    ReadError { message: format!("cannot read `{name}`: {why}"), hint: hint.to_owned() }
}

fn broken(name: &str, text: &str, error: &serde_json::Error) -> ReadError {
    let place = format!("line {} column {}", error.line(), error.column());
    // JSON that ends within a number is a syntax error at the very end, not `Category::Eof`.
    let text = text.trim_end();
    let last = text.rsplit('\n').next().unwrap_or_default();
    let at_end = error.line() > text.matches('\n').count() && error.column() >= last.len();
    match error.classify() {
        Category::Syntax if at_end => refuse(name, &format!("it ends in the middle ({place})"), RECORD_AGAIN),
        Category::Eof => refuse(name, &format!("it ends in the middle ({place})"), RECORD_AGAIN),
        Category::Syntax | Category::Io => refuse(name, &format!("it is not JSON: {error}"), RECORD_AGAIN),
        Category::Data => refuse(name, &format!("it is not a whole profile: {error}"), RECORD_AGAIN),
    }
}

fn is_known(format: &Format) -> bool {
    format.name == FORMAT_NAME && (1..=FORMAT_MAJOR).contains(&format.major)
}

/// Reads the key `format` alone, which every version has. Refuses a format unknown to this build.
fn check_format(name: &str, text: &str) -> Result<(), ReadError> {
    #[derive(Deserialize)]
    struct Head {
        format: Option<serde_json::Value>,
    }
    let foreign = |why: &str| refuse(name, why, "give the JSON that `rscalene run -o NAME.json` wrote");
    if !text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        return Err(foreign("it is JSON, but not a profile"));
    }
    let head: Head = serde_json::from_str(text).map_err(|error| broken(name, text, &error))?;
    let Some(format) = head.format.and_then(|value| Format::deserialize(value).ok()) else {
        return Err(foreign("it is JSON, but not a profile (it has no `format`)"));
    };
    if format.name != FORMAT_NAME {
        return Err(foreign(&format!("its format is `{}`, not `{FORMAT_NAME}`", format.name.escape_debug())));
    }
    if !(1..=FORMAT_MAJOR).contains(&format.major) {
        let Format { major, minor, .. } = format;
        let why = format!(
            "it was written in format {major}.{minor}, this build reads 1.0 up to {FORMAT_MAJOR}.{FORMAT_MINOR}"
        );
        return Err(refuse(name, &why, "`pip install -U rscalene`, or record again with this version"));
    }
    Ok(())
}

/// Checks that every index is valid, and that a caller's node stands before the nodes of its callees.
fn check_indices(profile: &Profile) -> Result<(), String> {
    let Stacks { frames, nodes, other_files, by_thread, by_process } = &profile.stacks;
    let files = profile.files.len() + other_files.len();
    for (index, frame) in frames.iter().enumerate() {
        if frame.file >= files {
            return Err(format!("`stacks.frames[{index}].file` is {}, there are {files} files", frame.file));
        }
    }
    for (index, node) in nodes.iter().enumerate() {
        if node.frame >= frames.len() {
            return Err(format!("`stacks.nodes[{index}].frame` is {}, there are {} frames", node.frame, frames.len()));
        }
        if let Some(parent) = node.parent.filter(|parent| *parent >= index) {
            return Err(format!("`stacks.nodes[{index}].parent` is {parent}, which is not before it"));
        }
    }
    let (threads, processes) = (profile.threads.len(), profile.processes.len());
    for (index, share) in by_thread.iter().enumerate() {
        if share.node >= nodes.len() || share.thread >= threads {
            let there = format!("there are {} nodes and {threads} threads", nodes.len());
            let at = format!("`stacks.by_thread[{index}]` is of node {}", share.node);
            return Err(format!("{at} and thread {}, {there}", share.thread));
        }
    }
    for (index, share) in by_process.iter().enumerate() {
        if share.node >= nodes.len() || share.process >= processes {
            let there = format!("there are {} nodes and {processes} processes", nodes.len());
            let at = format!("`stacks.by_process[{index}]` is of node {}", share.node);
            return Err(format!("{at} and process {}, {there}", share.process));
        }
    }
    for (file_index, file) in profile.files.iter().enumerate() {
        for (line_index, line) in file.lines.iter().enumerate() {
            let place = || format!("`files[{file_index}].lines[{line_index}]");
            if let Some((index, part)) = line.by_thread.iter().enumerate().find(|(_, part)| part.thread >= threads) {
                let thread = part.thread;
                return Err(format!("{}.by_thread[{index}].thread` is {thread}, there are {threads} threads", place()));
            }
            if let Some((index, part)) = line.by_process.iter().enumerate().find(|(_, part)| part.process >= processes)
            {
                let process = part.process;
                let there = format!("there are {processes} processes");
                return Err(format!("{}.by_process[{index}].process` is {process}, {there}", place()));
            }
        }
    }
    for (index, near) in profile.near_limits.iter().enumerate() {
        if near.process >= processes {
            return Err(format!("`near_limits[{index}].process` is {}, there are {processes} processes", near.process));
        }
        let files = profile.files.len();
        if let Some(held) = near.lines.iter().find(|held| held.file >= files) {
            return Err(format!("`near_limits[{index}].lines[].file` is {}, there are {files} files", held.file));
        }
    }
    for (index, section) in profile.sections.iter().enumerate() {
        let files = profile.files.len();
        if let Some((at, line)) = section.lines.iter().enumerate().find(|(_, line)| line.file >= files) {
            return Err(format!("`sections[{index}].lines[{at}].file` is {}, there are {files} files", line.file));
        }
    }
    for (index, label) in profile.labels.iter().enumerate() {
        let files = profile.files.len();
        if let Some((at, line)) = label.lines.iter().enumerate().find(|(_, line)| line.file >= files) {
            return Err(format!("`labels[{index}].lines[{at}].file` is {}, there are {files} files", line.file));
        }
    }
    for (index, row) in profile.sql.iter().flat_map(|sql| &sql.statements).enumerate() {
        let files = profile.files.len();
        let cause = row.cause.as_ref().map(|cause| cause.file);
        if let Some(file) = row.file.into_iter().chain(cause).find(|&file| file >= files) {
            return Err(format!("`sql.statements[{index}]` names file {file}, there are {files} files"));
        }
    }
    for (index, leak) in profile.leaks.iter().flatten().enumerate() {
        if leak.file >= profile.files.len() {
            return Err(format!("`leaks[{index}].file` is {}, there are {} files", leak.file, profile.files.len()));
        }
    }
    profile.merge.as_deref().map_or(Ok(()), |merge| check_merge(profile, merge))
}

/// Checks the indices and counts of merged profiles.
fn check_merge(profile: &Profile, merge: &Merge) -> Result<(), String> {
    let files = profile.files.len();
    let rows =
        |of: fn(&Member) -> usize| merge.members.iter().fold(0_usize, |sum, member| sum.saturating_add(of(member)));
    if rows(|member| member.processes) != profile.processes.len() {
        return Err("`merge.members[].processes` are not as many as `processes`".to_owned());
    }
    if let Some(index) = merge.members.iter().position(|member| member.processes == 0) {
        return Err(format!("`merge.members[{index}].processes` is 0"));
    }
    if rows(|member| member.threads) > profile.threads.len() {
        return Err("`merge.members[].threads` are more than `threads`".to_owned());
    }
    if merge.peak_member >= merge.members.len() {
        let members = merge.members.len();
        return Err(format!("`merge.peak_member` is {}, there are {members} members", merge.peak_member));
    }
    if let Some((index, line)) = merge.parts.iter().enumerate().find(|(_, line)| line.file >= files) {
        return Err(format!("`merge.parts[{index}].file` is {}, there are {files} files", line.file));
    }
    if let Some(index) = merge.functions.iter().position(|(file, ..)| *file >= files) {
        return Err(format!("`merge.functions[{index}]` names a file that is not there"));
    }
    let groups = merge.spread.groups.len();
    for (index, line) in merge.spread.lines.iter().enumerate() {
        let highest = [line.cpu_s.map(|range| range.highest), line.wait_s.map(|range| range.highest)];
        let of_bytes = [line.alloc_bytes.map(|range| range.highest), line.peak_bytes.map(|range| range.highest)];
        if line.file >= files || highest.iter().chain(&of_bytes).flatten().any(|group| *group >= groups) {
            return Err(format!("`merge.spread.lines[{index}]` names a file or a group that is not there"));
        }
    }
    Ok(())
}

/// The profile without figures that are not finite, because JSON cannot express them. Optional figures become unknown,
/// the others 0, and a notice gives the number of replaced figures.
fn finite(original: &Profile) -> Cow<'_, Profile> {
    let mut mended = original.clone();
    let profile = &mut mended;
    let mut mend = Mend(0);
    mend.plain(&mut profile.clock.elapsed_s);
    mend.plain(&mut profile.settings.cpu.interval_s);
    let totals = &mut profile.totals;
    mend.time(&mut totals.time);
    mend.time(&mut totals.outside_scope);
    mend.memory(&mut totals.memory);
    mend.memory(&mut totals.outside_scope_memory);
    mend.optional(&mut totals.unsampled_s);
    mend.optional(&mut totals.cpu_clock_s);
    mend.optional(&mut totals.sampled_cpu_s);
    for file in &mut profile.files {
        for line in &mut file.lines {
            mend.time(&mut line.time);
            mend.memory(&mut line.memory);
            mend.optional(&mut line.sql_s);
            mend.optional(&mut line.sql_build_s);
            line.native.iter_mut().for_each(|place| mend.plain(&mut place.s));
            line.by_thread.iter_mut().for_each(|part| mend.time(&mut part.time));
            for part in &mut line.by_process {
                mend.time(&mut part.time);
                mend.memory(&mut part.memory);
            }
        }
        for function in &mut file.functions {
            mend.time(&mut function.own);
            mend.optional(&mut function.cumulative.cpu_s);
            mend.optional(&mut function.cumulative.wall_s);
        }
    }
    for thread in &mut profile.threads {
        mend.time(&mut thread.time);
        mend.optional(&mut thread.cpu_clock_s);
    }
    for process in &mut profile.processes {
        mend.time(&mut process.time);
        mend.memory(&mut process.memory);
    }
    for node in &mut profile.stacks.nodes {
        mend.plain(&mut node.cpu_s);
        mend.plain(&mut node.wall_s);
    }
    for share in &mut profile.stacks.by_thread {
        mend.plain(&mut share.cpu_s);
        mend.plain(&mut share.wall_s);
    }
    for share in &mut profile.stacks.by_process {
        mend.plain(&mut share.cpu_s);
        mend.plain(&mut share.wall_s);
    }
    if let Some(sql) = &mut profile.sql {
        mend.plain(&mut sql.time_s);
        for row in &mut sql.statements {
            mend.plain(&mut row.time_s);
            mend.plain(&mut row.longest_s);
        }
    }
    for leak in profile.leaks.iter_mut().flatten() {
        mend.plain(&mut leak.bytes_per_s);
        mend.plain(&mut leak.confidence);
    }
    let of_lines = profile.timeline.lines.iter_mut().map(|row| &mut row.live);
    for series in [&mut profile.timeline.rss, &mut profile.timeline.live].into_iter().chain(of_lines) {
        series.iter_mut().for_each(|point| mend.plain(&mut point.0));
    }
    if mend.0 == 0 {
        return Cow::Borrowed(original);
    }
    let text = format!("{} figures were not finite numbers and are left out", mend.0);
    mended.notices.push(Notice::of_run(codes::NOT_FINITE, text));
    Cow::Owned(mended)
}

/// Replaces figures that are not finite, and counts them.
struct Mend(usize);

impl Mend {
    fn plain(&mut self, figure: &mut f64) {
        if !figure.is_finite() {
            *figure = 0.0;
            self.0 += 1;
        }
    }

    fn optional(&mut self, figure: &mut Option<f64>) {
        if figure.is_some_and(|value| !value.is_finite()) {
            *figure = None;
            self.0 += 1;
        }
    }

    fn time(&mut self, time: &mut Time) {
        let Time { python_s, native_s, system_s, wait_s, gil_wait_s, idle_s, helpers_s, gc_s, user_s, core_wait_s } =
            time;
        for figure in [python_s, native_s, system_s, wait_s, gil_wait_s, idle_s, helpers_s, gc_s, user_s, core_wait_s] {
            self.optional(figure);
        }
    }

    fn memory(&mut self, memory: &mut Memory) {
        for figure in [
            &mut memory.alloc_bytes_se,
            &mut memory.live_bytes_se,
            &mut memory.peak_bytes_se,
            &mut memory.copy_bytes_se,
        ] {
            self.optional(figure);
        }
    }
}
