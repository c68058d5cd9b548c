//! Queries of a process that `rscalene run --sql` profiles, said to the launcher as they happen.
//!
//! Job: one record where an execution begins and one for each stretch of it, so that an end by `os._exit` or a signal
//! loses only the rows and the time of executions that have not ended. Invariant: a statement is its normal form, and
//! parameters are a hash under a key that is drawn for each process tree and never written. A forked child says again
//! what its numbers mean, since it has records of its own. Neighbours: `world` calls, `wire::tap` is the contract, `profile`
//! adds the records up.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use rscalene_wire::{Query, QueryMark, TAP_SYMBOL, TAP_VERSION, TapTable, UNKNOWN_ROWS};
use rustc_hash::FxHashMap;

use super::book::{Place, Slot};
use super::normal::{is_transaction, is_write};
use crate::bindings::symbols;
use crate::requests::labels;

/// Statements of a process that have numbers; those that come later are counted together.
const MOST_NUMBERS: usize = 4_000;
/// Executions of a statement in a stack whose parameters are compared.
const MOST_COMPARED: u32 = 256;
/// Pairs of stack and statement whose compared executions are counted.
const MOST_COUNTS: usize = 20_000;
/// What stands for statements without a number.
const OTHERS: &str = "(other statements)";

/// What stands for a line of which no statement is meant.
const LINE: &str = "(line)";

/// Which library makes the queries of a statement: what can be done about many of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Layer {
    /// The program itself, with a driver.
    #[default]
    Driver,
    Django,
    SqlAlchemy,
}

impl Layer {
    /// The layer of a name.
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

/// What a number means: by the addresses of the statement and of the place, which are kept.
type Key = (usize, Layer, usize);

/// A number, and what keeps the addresses of its key.
struct Known {
    number: u32,
    _statement: Arc<str>,
    _place: Option<Arc<[Place]>>,
}

/// The way to the launcher.
pub(super) struct Tap {
    table: &'static TapTable,
    numbers: FxHashMap<Key, Known>,
    compared: FxHashMap<u32, u32>,
    key: RandomState,
}

impl Tap {
    /// The way to the launcher that profiles this process; `None` where there is none.
    pub(super) fn find() -> Option<Self> {
        let symbol = symbols::address(TAP_SYMBOL);
        if symbol.is_null() {
            return None;
        }
        // SAFETY: the symbol is a function of this type in every version of the shim that exports it.
        let answer: extern "C" fn() -> *const TapTable =
            unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> *const TapTable>(symbol) };
        // SAFETY: the shim returns a static.
        let table = unsafe { &*answer() };
        if table.version != TAP_VERSION {
            return None;
        }
        let tap =
            Self { table, numbers: FxHashMap::default(), compared: FxHashMap::default(), key: RandomState::new() };
        tap.ready().then_some(tap)
    }

    /// Says that this process counts its queries; false where nothing records.
    fn ready(&self) -> bool {
        self.send(&mut Query { mark: QueryMark::READY, rows: UNKNOWN_ROWS, ..Query::default() })
    }

    /// A forked child has records of its own.
    pub(super) fn begin_child(&mut self) {
        self.numbers.clear();
        self.compared.clear();
        self.ready();
    }

    /// An execution of `statement` begins, made by `layer`; at `place` where no frame of this thread is the user's.
    pub(super) fn begin(&mut self, statement: &Arc<str>, layer: Layer, place: Option<&Arc<[Place]>>) -> Option<Slot> {
        let name = self.number(statement, layer, place)?;
        Some(Slot::Tap { stack: 0, label: 0, name })
    }

    /// Would the parameters tell anything?
    pub(super) fn wants_parameters(&self, name: u32) -> bool {
        self.compared.get(&name).is_none_or(|&count| count < MOST_COMPARED)
    }

    /// Says that the execution has begun, with this hash of its parameters. Fills in where it is.
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

    /// Says what has passed of an execution since its last record.
    pub(super) fn end(&self, stack: u64, label: u32, name: u32, ns: u64, rows: Option<u64>, failed: bool) {
        let mark = if failed { QueryMark::FAILED } else { QueryMark::END };
        let rows = rows.unwrap_or(UNKNOWN_ROWS);
        self.send(&mut Query { stack, label, name, wall_ns: ns, rows, mark, ..Query::default() });
    }

    /// Says what an ORM took beside the driver, on the line where the thread is, or at `place`.
    pub(super) fn built(&mut self, place: Option<&Arc<[Place]>>, ns: u64) {
        let line = |place| self.number(&Arc::from(LINE), Layer::Driver, Some(place));
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
        if is_transaction(statement) {
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
        // SAFETY: the text is valid for the call, and this runs in no allocator.
        if unsafe { (self.table.define_label)(number, text.as_ptr(), text.len()) } == 0 {
            return None;
        }
        self.numbers.insert(key, Known { number, _statement: statement.clone(), _place: place.cloned() });
        Some(number)
    }

    fn send(&self, query: &mut Query) -> bool {
        // SAFETY: the record is valid and ours, and this runs in no allocator.
        (unsafe { (self.table.query)(query) }) != 0
    }
}
