//! Reports the queries of a process to the launcher, for `rscalene run --sql`.
//!
//! Job: send one record when an execution begins, and one for each later part. If the process ends by `os._exit` or a
//! signal, only the rows and the time of unfinished executions are lost. Invariants: a statement is sent in its normal
//! form. Parameters are sent as a hash with a random key; the key is drawn for each process tree and never written. A
//! forked child sends the meaning of its numbers again, because it has records of its own. Neighbours: `lock` calls,
//! `wire::tap` is the contract, `profile` sums the records.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

use rscalene_wire::{Query, QueryMark, TapTable, UNKNOWN_ROWS};
use rustc_hash::FxHashMap;

use super::book::{Place, Slot, Stretch};
use super::normal::{CALL, is_transaction, is_write};
use crate::requests::labels;

/// Most statements of a process with a number of their own. Later statements are counted together.
const MOST_NUMBERS: usize = 4_000;
/// Most executions of a statement with compared parameters.
const MOST_COMPARED: u32 = 256;
/// Most statements with a count of compared executions.
const MOST_COUNTS: usize = 20_000;
/// Text in place of statements without a number.
const OTHERS: &str = "(other statements)";

/// Text in place of a statement, for a record that only names a line. All such records share the text, because numbers
/// are found by its address.
static LINE: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("(line)"));

/// The library behind the queries of a statement. The advice for an N+1 depends on the library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Layer {
    /// The program itself, with a driver.
    #[default]
    Driver,
    Django,
    SqlAlchemy,
}

impl Layer {
    /// The layer called `name`.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "django" => Self::Django,
            "sqlalchemy" => Self::SqlAlchemy,
            _ => Self::Driver,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Driver => "",
            Self::Django => "django",
            Self::SqlAlchemy => "sqlalchemy",
        }
    }
}

/// Key of a number: the address of the statement, the layer, and the address of the place. [`Known`] keeps both alive.
type Key = (usize, Layer, usize);

/// A number, and the objects whose addresses are in its key.
struct Known {
    number: u32,
    _statement: Arc<str>,
    _place: Option<Arc<[Place]>>,
}

/// The connection to the launcher.
pub(super) struct Launcher {
    table: &'static TapTable,
    numbers: FxHashMap<Key, Known>,
    compared: FxHashMap<u32, u32>,
    key: RandomState,
}

impl Launcher {
    /// Connects to the launcher of this process; `None` if there is none.
    pub(super) fn find() -> Option<Self> {
        let table = labels::preloaded()?;
        let launcher =
            Self { table, numbers: FxHashMap::default(), compared: FxHashMap::default(), key: RandomState::new() };
        launcher.ready().then_some(launcher)
    }

    /// Reports that this process counts its queries. Returns false if no launcher records.
    fn ready(&self) -> bool {
        self.send(&mut Query { mark: QueryMark::READY, rows: UNKNOWN_ROWS, ..Query::default() })
    }

    /// Starts again in a forked child, which has records of its own.
    pub(super) fn begin_child(&mut self) {
        self.numbers.clear();
        self.compared.clear();
        self.ready();
    }

    /// Begins an execution of `statement`, made by `layer`. `place` is set if this thread's stack holds no line of the
    /// user.
    pub(super) fn begin(&mut self, statement: &Arc<str>, layer: Layer, place: Option<&Arc<[Place]>>) -> Option<Slot> {
        let name = self.number(statement, layer, place)?;
        Some(Slot::Launcher { stack: 0, label: 0, name })
    }

    /// Whether to compare the parameters of another execution.
    pub(super) fn wants_parameters(&self, name: u32) -> bool {
        self.compared.get(&name).is_none_or(|&count| count < MOST_COMPARED)
    }

    /// Reports that the execution has begun, with the hash of its parameters. Fills in the stack and the label.
    pub(super) fn begun(&mut self, stack: &mut u64, label: &mut u32, name: u32, parameters: Option<u64>) {
        let hashed = parameters.map_or(0, |hash| self.key.hash_one(hash) as u32 | 1);
        if hashed != 0 && (self.compared.len() < MOST_COUNTS || self.compared.contains_key(&name)) {
            *self.compared.entry(name).or_default() += 1;
        }
        let mark = QueryMark::BEGIN;
        let mut query = Query { name, parameters: hashed, rows: UNKNOWN_ROWS, mark, ..Query::default() };
        self.send(&mut query);
        (*stack, *label) = (query.stack, query.label);
    }

    /// Reports the time and rows of an execution since its last record.
    pub(super) fn end(&self, stack: u64, label: u32, name: u32, stretch: &Stretch) {
        let mark = if stretch.failed { QueryMark::FAILED } else { QueryMark::END };
        let (wall_ns, rows) = (stretch.ns, stretch.rows.unwrap_or(UNKNOWN_ROWS));
        let before = u32::try_from(stretch.before_ns / 1_000).unwrap_or(u32::MAX);
        self.send(&mut Query { stack, label, name, wall_ns, rows, parameters: before, mark, ..Query::default() });
    }

    /// Reports time of an ORM without the driver's time, for the thread's current line or for `place`.
    pub(super) fn built(&mut self, place: Option<&Arc<[Place]>>, ns: u64) {
        let line = |place| self.number(&LINE, Layer::Driver, Some(place));
        let name = place.and_then(line).unwrap_or(0);
        let mark = QueryMark::BUILT;
        self.send(&mut Query { name, wall_ns: ns, rows: UNKNOWN_ROWS, mark, ..Query::default() });
    }

    fn number(&mut self, statement: &Arc<str>, layer: Layer, place: Option<&Arc<[Place]>>) -> Option<u32> {
        let key = |statement: &Arc<str>| {
            (statement.as_ptr() as usize, layer, place.map_or(0, |place| place.as_ptr() as usize))
        };
        if let Some(known) = self.numbers.get(&key(statement)) {
            return Some(known.number);
        }
        if self.numbers.len() >= MOST_NUMBERS {
            if let Some(known) = self.numbers.get(&(0, Layer::Driver, 0)) {
                return Some(known.number);
            }
            return self.define((0, Layer::Driver, 0), &Arc::from(OTHERS), Layer::Driver, None);
        }
        self.define(key(statement), statement, layer, place)
    }

    fn define(&mut self, key: Key, statement: &Arc<str>, layer: Layer, place: Option<&Arc<[Place]>>) -> Option<u32> {
        let mut pairs = Vec::with_capacity(6);
        let mut pair = |key: &str, value: &str| pairs.push((key.to_owned(), value.to_owned()));
        if layer != Layer::Driver {
            pair("by", layer.name());
        }
        if is_transaction(statement) || statement.starts_with(CALL) {
            pair("transaction", "1");
        }
        if is_write(statement) {
            pair("writes", "1");
        }
        if let Some(place) = place.and_then(|place| place.first()) {
            pair("file", &place.file);
            pair("line", &place.line.to_string());
            pair("function", &place.function);
        }
        pair("sql", statement);
        let (number, text) = (labels::next(), labels::text(&pairs));
        // SAFETY: the text is valid for the call, and the caller is not inside an allocator.
        if unsafe { (self.table.define_label)(number, text.as_ptr(), text.len()) } == 0 {
            return None;
        }
        self.numbers.insert(key, Known { number, _statement: statement.clone(), _place: place.cloned() });
        Some(number)
    }

    fn send(&self, query: &mut Query) -> bool {
        // SAFETY: the record is valid and belongs to the caller, and the caller is not inside an allocator.
        (unsafe { (self.table.query)(query) }) != 0
    }
}
