//! From a builder to a profile.
//!
//! Job: settle the programs that still run, and write all tables of the profile. Invariant: a snapshot leaves the
//! builder as it is. Neighbours: `settled` has the sums, `profile::write` makes the tables.

use rustc_hash::FxHashMap;

use super::life::inherit;
use super::settled::Settled;
use super::{Context, ProfileBuilder};
use crate::profile::book::Book;
use crate::profile::build::interpreter::Python;
use crate::profile::build::native;
use crate::profile::build::notices;
use crate::profile::build::process::Process;
use crate::profile::build::stretch::Engine;
use crate::profile::model::{Clock, Exit, Profile, Settings, Target, Timeline};
use crate::profile::write::functions;
use crate::profile::write::leaks;
use crate::profile::write::lines::{self, Known};
use crate::profile::write::queries;
use crate::profile::write::tables;

impl ProfileBuilder {
    /// The profile of all events.
    #[must_use]
    pub fn finish(mut self, context: Context<'_>) -> Profile {
        let (running, settled) = (std::mem::take(&mut self.running), std::mem::take(&mut self.settled));
        self.write(running, settled, context)
    }

    /// The profile of the events so far, as [`ProfileBuilder::finish`] would return now. The builder itself stays
    /// unchanged.
    ///
    /// The cost is a copy of the sums (by line, stack and thread), never of the live blocks.
    #[must_use]
    pub fn snapshot(&self, context: Context<'_>) -> Profile {
        let running = self.running.iter().map(|(&pid, process)| (pid, process.sums())).collect();
        self.write(running, self.settled.clone(), context)
    }

    /// Settles the running programs, and writes the profile.
    fn write(&self, mut running: FxHashMap<u32, Process>, mut settled: Settled, context: Context<'_>) -> Profile {
        let mut pids: Vec<u32> = running.keys().copied().collect();
        pids.sort_unstable();
        pids.iter().for_each(|&pid| inherit(&mut running, pid));
        let mut peak = self.peak.clone();
        for (time_ns, pid) in &self.dying {
            running
                .get_mut(pid)
                .filter(|process| process.ended)
                .into_iter()
                .for_each(|gone| gone.go(*time_ns, &mut peak));
        }
        for pid in &pids {
            running.get_mut(pid).into_iter().for_each(|process| process.catch_up(u64::MAX, &mut peak));
        }
        for pid in pids {
            if let Some(mut process) = running.remove(&pid) {
                settled.settle(&mut process, true, self.now_ns, &peak);
            }
        }
        let book = &mut settled.book;
        std::mem::take(&mut settled.forks).settle(book);
        peak.settle(&settled.shares, book);
        book.name_overflow();
        let memory = !matches!(self.settings.settings.memory.mode.as_str(), "off" | "");
        let cpu = !matches!(self.settings.settings.cpu.source.as_str(), "off" | "");
        let copies = memory && !self.settings.in_process;
        let hidden = !book.processes.is_empty() && book.processes.iter().all(|process| process.hidden_waits);
        let waits = self.settings.waits && !hidden;
        // Sampling by looks alone does not separate kernel time.
        let system = cpu && (self.ticked || !self.engines.contains(&Engine::Looks));
        let known = Known { cpu, system, wait: waits, gil: waits && self.gil_known, memory, copies };
        let (names, book) = (&self.names, &settled.book);
        let sums = lines::totals(book);
        let with_callees = functions::cumulative(names, book, &self.tree);
        let mut files = lines::Files::of(names, &sums, functions::listed(names, &with_callees));
        let native_places = native::shares(book, context.lookup, |owner| files.line_of(names, owner));
        let mut source = |path: &str| self.inline.lines(path).or_else(|| (context.source)(path));
        files.fill(names, book, &sums, known, &mut source, native_places);
        functions::fill(&mut files, names, &with_callees, &sums, known);
        let sql = queries::write(names, book, &mut files);
        let mut totals = tables::totals(book, &sums, known, self.settings.start_ns);
        totals.cpu_samples = settled.samples.0;
        totals.alloc_samples = settled.samples.1;
        totals.lost_records = settled.lost;
        let leaks = memory.then(|| leaks::leaks(names, book, &self.tree, &files));
        let sections = tables::sections(names, book, &files, known, self.settings.start_ns);
        let labels = tables::labels(names, book, &files, known);
        let near_limits = lines::near_limits(names, book, &files, self.settings.start_ns);
        let stacks = tables::stacks(names, book, &self.tree, &files);
        let courses = if memory { lines::courses(names, book, &files, self.settings.start_ns) } else { Vec::new() };
        let mut profile = Profile {
            target: self.target(book, context.target),
            settings: self.used_settings(known),
            tool: context.tool,
            clock: self.clock(context.clock),
            totals,
            threads: tables::threads(book, known),
            processes: tables::processes(book, known),
            stacks,
            sections,
            labels,
            sql,
            leaks,
            near_limits,
            notices: [
                &settled.notices[..],
                &context.notices,
                &notices::left_out(book, (self.tree.folded, self.inline.left_out), settled.more_notices),
            ]
            .concat(),
            timeline: Timeline { rss: self.rss.points(), live: self.live.points(), lines: courses },
            files: files.files,
            ..Profile::default()
        };
        self.executed.number_again(&mut profile);
        let unseen = self.own_allocators.notices(&profile);
        profile.notices.extend(unseen);
        profile
    }

    /// The wall time of the recording. If the recording was cut off, the wall time of the program is added as
    /// `program_s`.
    fn clock(&self, clock: Clock) -> Clock {
        let Some(cut_ns) = self.cut_ns else { return clock };
        let recorded_s = cut_ns.saturating_sub(self.settings.start_ns) as f64 / 1e9;
        Clock { elapsed_s: recorded_s.min(clock.elapsed_s), program_s: Some(clock.elapsed_s), ..clock }
    }

    fn target(&self, book: &Book, mut target: Target) -> Target {
        if let Some(&Python { version, free_threaded, .. }) = self.python(target.pid) {
            target.free_threaded |= free_threaded;
            if target.python.is_none() && version != 0 {
                target.python = Some(notices::version(version));
            }
        }
        if target.exit == Exit::default()
            && let Some(process) = book.processes.iter().rfind(|process| process.row.pid == target.pid)
        {
            target.exit = process.row.exit;
        }
        target.allocator.clone_from(&self.allocator);
        target
    }

    fn used_settings(&self, known: Known) -> Settings {
        let mut settings = self.settings.settings.clone();
        let perf = self.engines.contains(&Engine::Perf) || self.engines.contains(&Engine::PerfWhole);
        let timer = self.engines.contains(&Engine::Timer) || self.engines.contains(&Engine::Looks);
        let used = match (perf, timer) {
            (true, true) => Some("mixed"),
            (true, false) => Some("perf"),
            (false, true) => Some("timer"),
            (false, false) => None,
        };
        if let Some(used) = used.filter(|_| known.cpu) {
            used.clone_into(&mut settings.cpu.source);
        }
        if let Some(median_ns) = self.distances.median_ns().filter(|_| known.cpu) {
            settings.cpu.interval_s = median_ns / 1e9;
        }
        if known.memory && settings.memory.mode == "sampled" {
            settings.memory.interval_bytes = self.memory_interval.or(settings.memory.interval_bytes);
        }
        settings
    }
}
