//! Queries of databases, by the lines that sent them.
//!
//! Job: add up the records of queries by line and statement, and find the statements that a line repeats. Invariant:
//! repeats are counted within a request, if the program names its requests, otherwise within the process. A number of
//! rows that no layer could count is unknown, not 0. Neighbours: `process` feeds records, `book::queries` adds
//! processes up, `labels` knows the key-value pairs of numbers.

use std::sync::Arc;

use rscalene_wire as wire;
use rustc_hash::FxHashMap;
use wire::QueryMark;

use crate::profile::book::Book;
use crate::profile::book::intern::{FrameId, FunctionId};
use crate::profile::book::labels::Pairs;
use crate::profile::book::queries::{Marks, QueryKey, QueryRecord};

/// From this number of executions on, a statement on a line counts as N+1 or as duplicates.
const THRESHOLD: u64 = 5;
/// A query is the cause of an N+1 only if it returned rows for at least this share of the executions.
const CAUSE_SHARE: f64 = 0.8;
/// Most pairs of line and statement with sums of their own, for each process or request.
const MOST_KEYS: usize = 20_000;
/// Most requests at the same time with sums of their own.
const MOST_UNITS: usize = 4_096;
/// The name of statements whose text was lost, or that exceed the limit.
const OTHERS: &str = "(other statements)";

/// A line, and the number of a statement.
type Key = (FrameId, u32);

/// The queries of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queries {
    /// True if the process reported that it counts its queries.
    ready: bool,
    /// The sums of ended requests.
    sums: FxHashMap<Key, Sum>,
    /// The sums of each open request; 0 is the process itself.
    open: FxHashMap<u32, FxHashMap<Key, Sum>>,
    /// Nanoseconds in ORMs, by line.
    built: FxHashMap<FrameId, u64>,
    begun: u64,
}

/// Executions of a statement on a line.
#[derive(Clone, Debug, Default)]
struct Sum {
    record: QueryRecord,
    first: u64,
    sets: Sets,
    /// The functions in scope on the stack of the line.
    callers: Arc<[FunctionId]>,
    /// The query whose rows the line iterates over, and the number of rows.
    cause: Option<(Key, u64)>,
}

/// Hashes of the parameters of executions: the first hash, and whether others differ.
#[derive(Clone, Copy, Debug, Default)]
struct Sets {
    first: u32,
    differ: bool,
}

impl Sets {
    fn add(&mut self, hash: u32) {
        if self.first == 0 {
            self.first = hash;
        }
        self.differ |= hash != 0 && hash != self.first;
    }
}

impl Sum {
    fn add(&mut self, other: Self) {
        if self.record.count == 0 {
            (self.first, self.callers) = (other.first, other.callers.clone());
        }
        self.cause = self.cause.or(other.cause);
        self.record.add(&other.record);
    }
}

impl Queries {
    /// Takes in a record. `unit`: the number of its request; 0: none. `callers`: the functions in scope on the stack of
    /// `owner`.
    pub(crate) fn record(
        &mut self,
        query: &wire::Query,
        unit: u32,
        owner: FrameId,
        callers: impl FnOnce() -> Arc<[FunctionId]>,
    ) {
        match query.mark {
            QueryMark::READY => self.ready = true,
            QueryMark::BUILT => *self.built.entry(owner).or_default() += query.wall_ns,
            _ => self.execution(query, unit, owner, callers),
        }
    }

    fn execution(
        &mut self,
        query: &wire::Query,
        unit: u32,
        owner: FrameId,
        callers: impl FnOnce() -> Arc<[FunctionId]>,
    ) {
        let full = self.open.len() >= MOST_UNITS && !self.open.contains_key(&unit);
        let sums = self.open.entry(if full { 0 } else { unit }).or_default();
        let key = (owner, query.name);
        let key = if sums.len() < MOST_KEYS || sums.contains_key(&key) { key } else { (FrameId::NONE, 0) };
        let begun = self.begun;
        let sum = sums.entry(key).or_insert_with(|| Sum { first: begun, callers: callers(), ..Sum::default() });
        if query.mark == QueryMark::BEGIN {
            self.begun += 1;
            sum.record.count += 1;
            sum.sets.add(query.parameters);
            return;
        }
        sum.record.ns = sum.record.ns.saturating_add(query.wall_ns);
        let so_far = (u64::from(query.parameters) * 1_000).saturating_add(query.wall_ns);
        sum.record.longest_ns = sum.record.longest_ns.max(so_far);
        sum.record.errors += u64::from(query.mark == QueryMark::FAILED);
        if query.rows != wire::UNKNOWN_ROWS {
            sum.record.rows = Some(sum.record.rows.unwrap_or(0).saturating_add(query.rows));
        }
    }

    /// A request ended: looks for repeats, and adds its sums to the process.
    pub(crate) fn end_request(&mut self, number: u32, pairs_by_label: &FxHashMap<u32, Pairs>) {
        let Some(mut sums) = self.open.remove(&number) else { return };
        mark(&mut sums, pairs_by_label);
        for (key, sum) in sums {
            let full = self.sums.len() >= MOST_KEYS && !self.sums.contains_key(&key);
            let key = if full { (FrameId::NONE, 0) } else { key };
            self.sums.entry(key).or_default().add(sum);
        }
    }

    /// Books all sums. `trusted`: the frames of the process can be trusted.
    pub(crate) fn settle(
        &mut self,
        row: usize,
        trusted: bool,
        pairs_by_label: &FxHashMap<u32, Pairs>,
        book: &mut Book,
    ) {
        let mut open: Vec<u32> = self.open.keys().copied().collect();
        open.sort_unstable();
        open.iter().for_each(|&number| self.end_request(number, pairs_by_label));
        if self.ready || !self.sums.is_empty() {
            book.queries.counted = true;
        }
        let place = |owner: FrameId| if trusted { owner } else { FrameId::NONE };
        let text =
            |name: u32| pairs_by_label.get(&name).and_then(|pairs| pairs.get("sql")).map_or(OTHERS, String::as_str);
        let key = |(owner, name): Key| QueryKey { owner: place(owner), statement: text(name).to_owned() };
        let mut sums: Vec<(Key, Sum)> = std::mem::take(&mut self.sums).into_iter().collect();
        sums.sort_unstable_by_key(|(_, sum)| sum.first);
        for (at, sum) in sums {
            let said = |word: &str| pairs_by_label.get(&at.1).and_then(|pairs| pairs.get(word));
            let record = QueryRecord {
                transaction: said("transaction").is_some(),
                by: said("by").cloned().unwrap_or_default(),
                cause: sum.cause.map(|(cause, rows)| (key(cause), rows)),
                ..sum.record
            };
            book.add_query(row, key(at), &record);
        }
        for (owner, ns) in std::mem::take(&mut self.built) {
            book.add_built(row, place(owner), ns);
        }
    }
}

/// Marks N+1 queries and duplicates among the executions of a request or process.
fn mark(sums: &mut FxHashMap<Key, Sum>, pairs_by_label: &FxHashMap<u32, Pairs>) {
    let is_query = |name: u32| pairs_by_label.get(&name).is_none_or(|pairs| !pairs.contains_key("transaction"));
    let mut marked = Vec::new();
    for (&key, sum) in sums.iter() {
        let count = sum.record.count;
        if count < THRESHOLD || key.1 == 0 || !is_query(key.1) {
            continue;
        }
        let enough = count as f64 * CAUSE_SHARE;
        let cause = sums
            .iter()
            .filter(|((owner, name), before)| before.first < sum.first && owner.some().is_some() && is_query(*name))
            .filter(|((_, name), _)| pairs_by_label.get(name).is_some_and(|pairs| !pairs.contains_key("writes")))
            .filter(|(_, before)| before.record.rows.is_some_and(|rows| rows as f64 >= enough))
            .filter(|(_, before)| before.callers.first().is_some_and(|function| sum.callers.contains(function)))
            .max_by_key(|(_, before)| before.first)
            .and_then(|(key, before)| Some((*key, before.record.rows?)));
        marked.push((key, cause));
    }
    for (key, cause) in marked {
        let Some(sum) = sums.get_mut(&key) else { continue };
        let count = sum.record.count;
        sum.record.marks = match sum.sets {
            Sets { differ: true, .. } => Marks { n_plus_one: count, ..Marks::default() },
            Sets { first: 0, .. } => Marks { unknown: count, ..Marks::default() },
            Sets { .. } => Marks { duplicates: count, ..Marks::default() },
        };
        sum.cause = cause.filter(|_| sum.record.marks.duplicates == 0);
    }
}
