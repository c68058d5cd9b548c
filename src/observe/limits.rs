//! Nearness of a process to a limit of its memory.
//!
//! Job: compare used memory with allowed memory, for three limits: the process' address space (`ulimit -v`), its
//! cgroups (version 1 or 2, its own and their ancestors), and the machine. Invariant: only files are read. A limit is
//! reported again only after the use has grown by `STEP`, so a process at its limit causes a handful of events. Page
//! cache that the kernel can reclaim does not count as used. Neighbours: `remote` calls [`Limits::look`], `profile`
//! then notes which lines own the memory.

use std::fs;
use std::path::{Path, PathBuf};

use crate::transport::event::{Limit, NearLimit};

/// A limit is near from this share of it on.
const NEAR_SHARE: f64 = 0.9;
/// Growth, as a share of the limit, after which the limit is reported again.
const STEP: f64 = 0.02;
/// Nanoseconds between two looks; the second number holds near a limit. A look costs about 30 µs.
const PAUSE_NS: u64 = 100_000_000;
const SHORT_PAUSE_NS: u64 = 20_000_000;
/// A process below this size never fills a machine.
const SMALL: u64 = 64 << 20;
/// Share of a limit from which on looks follow each other at the short distance.
const UNDER_WATCH: f64 = 0.6;
/// A process whose cgroups have no limit is asked again after this number of nanoseconds.
const FREE_NS: u64 = 5_000_000_000;

/// The limits of one process.
#[derive(Debug)]
pub struct Limits {
    pid: u32,
    /// `/`; another folder in tests.
    root: PathBuf,
    due_ns: u64,
    cgroups_due_ns: u64,
    /// Share of the limit at the last event, by kind of limit.
    reported: [f64; 3],
}

impl Limits {
    /// The limits of process `pid`.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self::under(Path::new("/"), pid)
    }

    /// The limits of process `pid`, which this process has just forked: the child was no nearer to its limits than its
    /// parent.
    #[must_use]
    pub fn of_child(&self, pid: u32, now_ns: u64) -> Self {
        let (due_ns, cgroups_due_ns) = (now_ns + SHORT_PAUSE_NS, self.cgroups_due_ns);
        Self { due_ns, cgroups_due_ns, ..Self::under(&self.root, pid) }
    }

    /// The limits, with `/proc` and `/sys` below another folder.
    #[must_use]
    pub fn under(root: &Path, pid: u32) -> Self {
        Self { pid, root: root.to_owned(), due_ns: 0, cgroups_due_ns: 0, reported: [0.0; 3] }
    }

    /// The limits that have come near since the last look.
    pub fn look(&mut self, now_ns: u64) -> Vec<NearLimit> {
        if now_ns < self.due_ns {
            return Vec::new();
        }
        let status = self.read(&format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let cgroups = if now_ns >= self.cgroups_due_ns { self.cgroups() } else { None };
        if cgroups.is_none() && now_ns >= self.cgroups_due_ns {
            self.cgroups_due_ns = now_ns + FREE_NS;
        }
        let kinds = [
            (Limit::AddressSpace, self.address_space(&status)),
            (Limit::Cgroup, cgroups),
            (Limit::Machine, self.machine(&status)),
        ];
        let mut moments = Vec::new();
        self.due_ns = now_ns + PAUSE_NS;
        for ((limit, found), reported) in kinds.into_iter().zip(&mut self.reported) {
            let Some((used, most)) = found.filter(|(_, most)| *most > 0) else { continue };
            let share = used as f64 / most as f64;
            if share >= UNDER_WATCH {
                self.due_ns = now_ns + SHORT_PAUSE_NS;
            }
            if share >= NEAR_SHARE && share >= *reported + STEP {
                *reported = share;
                moments.push(NearLimit { time_ns: now_ns, limit, used_bytes: used, limit_bytes: most });
            }
        }
        moments
    }

    fn read(&self, path: &str) -> Option<String> {
        // Reads bytes, because the name of a process need not be UTF-8.
        let bytes = fs::read(self.root.join(path.trim_start_matches('/'))).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn address_space(&self, status: &str) -> Option<(u64, u64)> {
        let limits = self.read(&format!("/proc/{}/limits", self.pid))?;
        let row = limits.lines().find_map(|row| row.strip_prefix("Max address space"))?;
        let most = row.split_ascii_whitespace().next()?.parse().ok()?;
        Some((kib(status, "VmSize:")?, most))
    }

    /// Used and allowed bytes of the fullest cgroup around the process.
    fn cgroups(&self) -> Option<(u64, u64)> {
        let groups = self.read(&format!("/proc/{}/cgroup", self.pid))?;
        let found = groups.lines().flat_map(|row| {
            let mut parts = row.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
            let (folder, files) = if controllers.is_empty() {
                ("/sys/fs/cgroup", ["memory.max", "memory.current", "inactive_file "])
            } else if controllers.split(',').any(|controller| controller == "memory") {
                ("/sys/fs/cgroup/memory", ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "])
            } else {
                return Vec::new();
            };
            let folders = Path::new(path).ancestors().map(|part| format!("{folder}{}", part.display()));
            folders.filter_map(|folder| self.cgroup(&folder, files)).collect()
        });
        found.max_by(|(used, most), (used2, most2)| {
            (*used as f64 / *most as f64).total_cmp(&(*used2 as f64 / *most2 as f64))
        })
    }

    fn cgroup(&self, folder: &str, [most, used, cache]: [&str; 3]) -> Option<(u64, u64)> {
        // Version 2 writes "max" for no limit; version 1 writes a number larger than any machine.
        let most = self.read(&format!("{folder}/{most}"))?.trim().parse().ok().filter(|most| *most < 1 << 60)?;
        let used: u64 = self.read(&format!("{folder}/{used}"))?.trim().parse().ok()?;
        let stat = self.read(&format!("{folder}/memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|row| row.strip_prefix(cache)?.trim().parse().ok()).unwrap_or(0);
        Some((used.saturating_sub(cache), most))
    }

    fn machine(&self, status: &str) -> Option<(u64, u64)> {
        // A process with less than a quarter of the memory is not reported: another program may have filled the
        // machine.
        let resident = kib(status, "VmRSS:").filter(|bytes| *bytes >= SMALL)?;
        let info = self.read("/proc/meminfo")?;
        let (all, available) = (kib(&info, "MemTotal:")?, kib(&info, "MemAvailable:")?);
        (resident >= all / 4).then_some((all.saturating_sub(available), all))
    }
}

/// The bytes of a row of `/proc` in kB.
fn kib(text: &str, name: &str) -> Option<u64> {
    let row = text.lines().find_map(|row| row.strip_prefix(name))?;
    Some(row.split_ascii_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn shown(moments: &[NearLimit]) -> Vec<(Limit, u64, u64)> {
        moments.iter().map(|at| (at.limit, at.used_bytes, at.limit_bytes)).collect()
    }

    #[test]
    fn the_tightest_cgroup_counts_without_its_page_cache() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        put(root, "proc/7/cgroup", "0::/outer/inner\n");
        put(root, "sys/fs/cgroup/outer/memory.max", "1000000\n");
        put(root, "sys/fs/cgroup/outer/memory.current", "950000\n");
        put(root, "sys/fs/cgroup/outer/memory.stat", "anon 1\ninactive_file 20000\n");
        put(root, "sys/fs/cgroup/outer/inner/memory.max", "max\n");
        put(root, "sys/fs/cgroup/outer/inner/memory.current", "940000\n");
        let mut limits = Limits::under(root, 7);
        assert_eq!(shown(&limits.look(SECOND)), [(Limit::Cgroup, 930_000, 1_000_000)]);
        // No second report before the use has grown, and no look before its time.
        assert_eq!(limits.look(2 * SECOND), []);
        put(root, "sys/fs/cgroup/outer/memory.current", "990000\n");
        assert_eq!(limits.look(2 * SECOND + 1), []);
        assert_eq!(shown(&limits.look(3 * SECOND)), [(Limit::Cgroup, 970_000, 1_000_000)]);
    }

    #[test]
    fn cgroups_of_version_1_are_understood() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        put(root, "proc/7/cgroup", "9:cpu,memory:/job\n0::/\n");
        put(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        put(root, "sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n");
        put(root, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1000000\n");
        put(root, "sys/fs/cgroup/memory/job/memory.usage_in_bytes", "999000\n");
        put(root, "sys/fs/cgroup/memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 50000\n");
        assert_eq!(shown(&Limits::under(root, 7).look(SECOND)), [(Limit::Cgroup, 949_000, 1_000_000)]);
    }

    #[test]
    fn the_machines_limit_counts_only_for_processes_that_fill_the_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        put(root, "proc/meminfo", "MemTotal:       100000 kB\nMemFree: 1 kB\nMemAvailable:     5000 kB\n");
        put(root, "proc/7/status", "Name:\tx\nVmSize:\t 99 kB\nVmRSS:\t 10000 kB\n");
        assert_eq!(Limits::under(root, 7).look(SECOND), []);
        put(root, "proc/7/status", "Name:\tx\nVmSize:\t 99900 kB\nVmRSS:\t 80000 kB\n");
        let whole = (Limit::Machine, 95_000 * 1024, 100_000 * 1024);
        assert_eq!(shown(&Limits::under(root, 7).look(SECOND)), [whole]);
        put(root, "proc/7/limits", "Limit  Soft  Hard  Units\nMax address space   104857600   unlimited   bytes\n");
        assert_eq!(
            shown(&Limits::under(root, 7).look(SECOND)),
            [(Limit::AddressSpace, 99_900 * 1024, 100 << 20), whole]
        );
    }

    #[test]
    fn no_limit_and_no_files_are_no_news() {
        assert_eq!(Limits::under(Path::new("/no/such/folder"), 7).look(SECOND), []);
    }
}
