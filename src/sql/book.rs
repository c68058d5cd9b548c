//! Executions of SQL statements, by line.
//!
//! Job: count executions by (call site, statement), and find N+1s and duplicates and their causes. Invariants: the book
//! keeps no parameter, only a hash of the first set and a flag whether a later set differed. Rows that no layer could
//! count are unknown, not 0. Pure: no clock, no interpreter. Neighbours: `normal` makes the statements, `ledger` fills
//! books and passes them to Python.

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::normal::{CALL, is_transaction, is_write};

/// A key with at least this many executions is an N+1 or a duplicate.
pub const THRESHOLD: u64 = 5;
/// A query can be the cause of an N+1 if its rows are at least this share of the N+1's executions.
const CAUSE_SHARE: f64 = 0.8;
/// Most keys of a book; executions of later keys are counted together.
const MOST_KEYS: usize = 20_000;
/// Most executions to keep in order.
const LONGEST_LOG: usize = 20_000;
/// Most sets of parameters to compare for a key.
const MOST_SETS: u32 = 64;

/// One line of the user's code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// File, absolute.
    pub file: Arc<str>,
    /// Line number from 1; 0 if the interpreter has no line.
    pub line: u32,
    /// Qualified name of the function.
    pub function: Arc<str>,
}

/// The user's lines on the stack of a statement, the innermost first; empty if only libraries are on the stack.
pub type Site = Arc<[Place]>;

/// The comparison of the parameters of a key's executions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    first: Option<u64>,
    compared: u32,
    differ: bool,
}

impl Sets {
    /// Whether the hash of another set could change the result.
    #[must_use]
    pub fn wanted(self) -> bool {
        !self.differ && self.compared < MOST_SETS
    }

    /// Adds the parameters' hash of another execution.
    pub fn add(&mut self, hash: u64) {
        self.compared += 1;
        match self.first {
            None => self.first = Some(hash),
            Some(first) => self.differ |= first != hash,
        }
    }

    fn merge(&mut self, other: Self) {
        self.differ |= other.differ || matches!((self.first, other.first), (Some(one), Some(two)) if one != two);
        self.first = self.first.or(other.first);
        self.compared = self.compared.saturating_add(other.compared);
    }
}

/// Executions of one statement from one site.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The user's lines on the stack.
    pub site: Site,
    /// Normal form.
    pub statement: Arc<str>,
    /// Whether the statement is no query: it controls a transaction, as `COMMIT` does, or is a [`CALL`] such as `redis:
    /// GET`.
    pub transaction: bool,
    /// Executions.
    pub count: u64,
    /// Executions that failed.
    pub errors: u64,
    /// Nanoseconds in the driver.
    pub ns: u64,
    /// Nanoseconds of the longest execution.
    pub longest_ns: u64,
    /// Rows returned, or changed if the statement returns no rows; `None` if the rows of no execution are known.
    pub rows: Option<u64>,
    /// Comparison of the parameters.
    pub sets: Sets,
    /// Number of the first execution in the book.
    pub first: u64,
}

/// Index of an entry, valid as long as the book.
pub type EntryId = u32;

/// Where an execution is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Counted in a book: number of the book, entry in the book, and position in the book's log.
    Book {
        /// Number of the book.
        book: u64,
        /// The entry.
        entry: EntryId,
        /// The position.
        at: u32,
    },
    /// Counted by the launcher: the stack and the label at the beginning, and the number of the statement.
    Launcher {
        /// Hash of the stack.
        stack: u64,
        /// Number of the label.
        label: u32,
        /// Number of the statement.
        name: u32,
    },
}

/// A part of an execution: the time and rows since the last part, or all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Nanoseconds in the driver.
    pub ns: u64,
    /// Nanoseconds of the earlier parts of the same execution.
    pub before_ns: u64,
    /// Rows; `None` if unknown.
    pub rows: Option<u64>,
    /// Whether the execution failed.
    pub failed: bool,
}

/// An N+1 or a duplicate: all entries of one innermost line and statement, whatever the outer lines are.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The innermost line; `None` if only libraries are on the stack.
    pub place: Option<Place>,
    /// Normal form.
    pub statement: Arc<str>,
    /// Executions.
    pub count: u64,
    /// `true`: N+1 (the parameters differ); `false`: duplicate (they are equal, or there are none).
    pub n_plus_one: bool,
    /// The query over whose rows the program iterated: its place, its statement and its rows.
    pub cause: Option<(Place, Arc<str>, u64)>,
    /// Number of the first execution in the book.
    pub first: u64,
}

/// The executions of one request, test or block.
#[derive(Debug, Default)]
pub struct Book {
    /// All entries, in the order of their first execution.
    pub entries: Vec<Entry>,
    index: FxHashMap<(usize, usize), EntryId>,
    /// Entries in the order of executions, each with the execution's nanoseconds.
    pub log: Vec<(EntryId, u64)>,
    /// Executions so far.
    pub executions: u64,
    /// Nanoseconds in ORMs by site, without the driver's time.
    pub builds: Vec<(Site, u64)>,
    built: FxHashMap<usize, usize>,
    /// Executions after the book was full. They are counted in the entry without a site.
    pub folded: u64,
}

impl Book {
    /// Counts a new execution. Sites and statements must be interned: equal ones have the same address.
    pub fn begin(&mut self, site: &Site, statement: &Arc<str>) -> (EntryId, u32) {
        let key = (site.as_ptr() as usize, statement.as_ptr() as usize);
        let id = match self.index.get(&key) {
            Some(&id) => id,
            None => self.enter(key, site, statement),
        };
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.count += 1;
        }
        self.executions += 1;
        let at = u32::try_from(self.log.len()).unwrap_or(u32::MAX);
        if self.log.len() < LONGEST_LOG {
            self.log.push((id, 0));
        }
        (id, at)
    }

    fn enter(&mut self, key: (usize, usize), site: &Site, statement: &Arc<str>) -> EntryId {
        let full = self.entries.len() >= MOST_KEYS;
        if full {
            self.folded += 1;
            if let Some(last) = self.entries.last()
                && last.site.is_empty()
                && &*last.statement == OTHERS
            {
                return self.entries.len() as u32 - 1;
            }
        }
        let (site, statement) =
            if full { (Site::from([]), Arc::from(OTHERS)) } else { (site.clone(), statement.clone()) };
        let id = self.entries.len() as EntryId;
        self.entries.push(Entry {
            transaction: is_transaction(&statement) || statement.starts_with(CALL),
            site,
            statement,
            count: 0,
            errors: 0,
            ns: 0,
            longest_ns: 0,
            rows: None,
            sets: Sets::default(),
            first: self.executions,
        });
        if !full {
            self.index.insert(key, id);
        }
        id
    }

    /// Adds the time and rows of a part of an execution. `at` is the execution's position in the log.
    pub fn add(&mut self, id: EntryId, at: u32, stretch: &Stretch) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        let so_far = stretch.before_ns + stretch.ns;
        entry.ns += stretch.ns;
        entry.longest_ns = entry.longest_ns.max(so_far);
        entry.errors += u64::from(stretch.failed);
        self.add_rows(id, stretch.rows);
        if let Some(logged) = self.log.get_mut(at as usize) {
            logged.1 = so_far;
        }
    }

    /// Adds rows to an entry.
    pub fn add_rows(&mut self, id: EntryId, rows: Option<u64>) {
        if let (Some(entry), Some(rows)) = (self.entries.get_mut(id as usize), rows) {
            *entry.rows.get_or_insert(0) += rows;
        }
    }

    /// Adds time of an ORM at a site. Sites must be interned.
    pub fn add_build(&mut self, site: &Site, ns: u64) {
        let next = self.builds.len();
        let at = *self.built.entry(site.as_ptr() as usize).or_insert(next);
        match self.builds.get_mut(at) {
            Some((_, sum)) => *sum += ns,
            None => self.builds.push((site.clone(), ns)),
        }
    }

    /// Number of queries: executions that neither control transactions nor are calls of another kind.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.entries.iter().filter(|entry| !entry.transaction).map(|entry| entry.count).sum()
    }

    /// N+1s and duplicates of at least `threshold` executions, ordered by their first execution.
    #[must_use]
    pub fn findings(&self, threshold: u64) -> Vec<Finding> {
        let mut groups: HashMap<(Option<&Place>, &str), Group> = HashMap::new();
        for (at, entry) in self.entries.iter().enumerate() {
            if !entry.transaction && &*entry.statement != OTHERS {
                let group = groups.entry((entry.site.first(), &entry.statement)).or_default();
                group.sets.merge(entry.sets);
                group.members.push(at);
            }
        }
        let mut found: Vec<Finding> = groups
            .into_values()
            .filter_map(|Group { sets, members }| {
                let entries = || members.iter().filter_map(|&at| self.entries.get(at));
                let count: u64 = entries().map(|entry| entry.count).sum();
                let first = entries().min_by_key(|entry| entry.first)?;
                (count >= threshold.max(2)).then(|| Finding {
                    place: first.site.first().cloned(),
                    statement: first.statement.clone(),
                    count,
                    n_plus_one: sets.differ,
                    cause: if sets.differ { self.cause(first, count) } else { None },
                    first: first.first,
                })
            })
            .collect();
        found.sort_by_key(|finding| finding.first);
        found
    }

    /// The last query before `of` that returned rows for most of its `count` executions. The query's line must be in
    /// the function of `of` or in a caller.
    fn cause(&self, of: &Entry, count: u64) -> Option<(Place, Arc<str>, u64)> {
        let enough = count as f64 * CAUSE_SHARE;
        let in_caller =
            |place: &Place| of.site.iter().any(|caller| caller.file == place.file && caller.function == place.function);
        let before = self.entries.iter().filter(|entry| entry.first < of.first && !entry.transaction);
        let read = before.filter(|entry| !is_write(&entry.statement));
        let with_rows = read.filter(|entry| entry.rows.is_some_and(|rows| rows as f64 >= enough));
        let chosen =
            with_rows.filter(|entry| entry.site.first().is_some_and(in_caller)).max_by_key(|entry| entry.first)?;
        Some((chosen.site.first()?.clone(), chosen.statement.clone(), chosen.rows?))
    }
}

/// The entries of one innermost line and statement.
#[derive(Default)]
struct Group {
    sets: Sets,
    members: Vec<usize>,
}

/// Text in place of the statements after the book was full.
const OTHERS: &str = "(other statements)";

#[cfg(test)]
mod tests {
    use super::*;

    fn site(lines: &[(u32, &str)]) -> Site {
        let place = |&(line, function): &(u32, &str)| Place { file: "/a.py".into(), line, function: function.into() };
        lines.iter().map(place).collect()
    }

    fn run(book: &mut Book, site: &Site, statement: &Arc<str>, set: u64, rows: u64) {
        let (id, at) = book.begin(site, statement);
        book.entries[id as usize].sets.add(set);
        book.add(id, at, &Stretch { ns: 1_000, rows: Some(rows), ..Stretch::default() });
    }

    #[test]
    fn differing_parameters_make_an_n_plus_one_and_equal_ones_duplicates() {
        let mut book = Book::default();
        let (outer, inner) = (site(&[(3, "f")]), site(&[(9, "g"), (4, "f")]));
        let (users, groups): (Arc<str>, Arc<str>) = ("SELECT user".into(), "SELECT groups".into());
        run(&mut book, &outer, &users, 0, 6);
        for set in 0..6 {
            run(&mut book, &inner, &groups, set, 2);
        }
        for _ in 0..5 {
            run(&mut book, &outer, &groups, 7, 1);
        }
        let found = book.findings(THRESHOLD);
        assert_eq!(found.len(), 2);
        assert!(found[0].n_plus_one && found[0].count == 6);
        let cause = found[0].cause.clone().expect("the users' rows are the cause");
        assert_eq!((cause.0.line, &*cause.1, cause.2), (3, "SELECT user", 6));
        assert!(!found[1].n_plus_one && found[1].count == 5 && found[1].cause.is_none());
    }

    #[test]
    fn words_of_transactions_are_neither_queries_nor_findings() {
        let mut book = Book::default();
        let here = site(&[(1, "f")]);
        let word: Arc<str> = "SAVEPOINT ?".into();
        for set in 0..9 {
            run(&mut book, &here, &word, set, 0);
        }
        assert_eq!(book.queries(), 0);
        assert_eq!(book.executions, 9);
        assert!(book.findings(THRESHOLD).is_empty());
    }

    #[test]
    fn uncounted_rows_are_unknown() {
        let mut book = Book::default();
        let (id, at) = book.begin(&site(&[(1, "f")]), &Arc::from("SELECT ?"));
        book.add(id, at, &Stretch { ns: 5, ..Stretch::default() });
        assert_eq!(book.entries[0].rows, None);
    }

    #[test]
    fn the_stretches_of_an_execution_are_one_execution() {
        let mut book = Book::default();
        let (id, at) = book.begin(&site(&[(1, "f")]), &Arc::from("SELECT ?"));
        book.add(id, at, &Stretch { ns: 300, rows: Some(2), ..Stretch::default() });
        book.add(id, at, &Stretch { ns: 200, before_ns: 300, rows: Some(1), ..Stretch::default() });
        let entry = &book.entries[0];
        assert_eq!((entry.count, entry.ns, entry.longest_ns, entry.rows), (1, 500, 500, Some(3)));
        assert_eq!(book.log, [(id, 500)]);
    }

    #[test]
    fn calls_of_another_kind_are_neither_queries_nor_findings() {
        let mut book = Book::default();
        let (here, call) = (site(&[(1, "f")]), Arc::from("redis: GET"));
        (0..9).for_each(|set| run(&mut book, &here, &call, set, 0));
        assert_eq!((book.queries(), book.executions, book.findings(THRESHOLD).len()), (0, 9, 0));
    }

    #[test]
    fn executions_beyond_the_last_key_are_counted_together() {
        let mut book = Book::default();
        let here = site(&[(1, "f")]);
        for number in 0..MOST_KEYS + 7 {
            let statement: Arc<str> = format!("SELECT {number}").into();
            let _ = book.begin(&here, &statement);
        }
        assert_eq!(book.entries.iter().map(|entry| entry.count).sum::<u64>(), (MOST_KEYS + 7) as u64);
        assert_eq!(book.folded, 7);
    }
}
