//! All books of this process, and their common data.
//!
//! Job: guard sites, statements and books with one lock. Invariants: a thread that holds the lock calls no function of
//! the interpreter, so the lock may be taken with or without the GIL; in a forked child the lock is free
//! (`pthread_atfork`). Neighbours: `book` counts, `ledger` and `sqlite` call this file.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};

use rustc_hash::{FxHashMap, FxHashSet};

use super::book::{Book, Place, Site, Slot, Stretch};
use super::frames::Sites;
use super::nodes::Nodes;
use super::normal::{CALL, normal_form};
use super::to_launcher::{Launcher, Layer};
use crate::lines::clock;
use crate::profile::build::scope::{Scope, ScopeRules};

/// Most statements with a remembered normal form.
const MOST_TEXTS: usize = 8_192;

/// Number of open books, plus one if a launcher receives executions. At 0, hooks do nothing.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Whether any book is open or a launcher receives executions.
#[inline(always)]
pub(super) fn counting() -> bool {
    OPEN.load(Relaxed) != 0
}

/// Whether a launcher receives all executions.
static FOLLOWED: AtomicBool = AtomicBool::new(false);

/// Whether a launcher receives all executions of this process.
#[inline(always)]
pub(super) fn followed() -> bool {
    FOLLOWED.load(Relaxed)
}

/// The data under the lock.
#[derive(Default)]
pub(super) struct State {
    books: FxHashMap<u64, Shelf>,
    /// The book of the whole process, if there is one.
    root: Option<u64>,
    /// The connection to the launcher, if it wants all executions.
    launcher: Option<Launcher>,
    next: u64,
    pub(super) sites: Sites,
    scope: Option<Scope>,
    /// Normal forms by text: one map for double quotes around names, one for double quotes around strings.
    normal_by_text: [FxHashMap<Box<str>, Arc<str>>; 2],
    /// Texts of calls that are no SQL, by name.
    calls: FxHashMap<Box<str>, Arc<str>>,
    normals: FxHashSet<Arc<str>>,
    /// Statements of sqlite, running or able to run again.
    pub(super) nodes: Nodes,
}

/// A book, and its enclosing book.
struct Shelf {
    book: Book,
    parent: Option<u64>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

thread_local! {
    /// The lock, held by this thread during a fork.
    static HELD: RefCell<Option<MutexGuard<'static, Option<State>>>> = const { RefCell::new(None) };
}

extern "C" fn before_fork() {
    let mut held = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    // Report the parent's executions before the fork, so that the child does not report them again.
    if let Some(state) = held.as_mut().filter(|state| state.launcher.is_some()) {
        state.settle();
    }
    HELD.with(|place| *place.borrow_mut() = Some(held));
}

extern "C" fn after_fork() {
    HELD.with(|place| drop(place.borrow_mut().take()));
}

/// Empties the child's book of the whole process, and frees the lock.
extern "C" fn after_fork_in_child() {
    HELD.with(|place| {
        let mut held = place.borrow_mut();
        let Some(Some(state)) = held.as_deref_mut() else { return };
        if let Some(shelf) = state.root.and_then(|root| state.books.get_mut(&root)) {
            shelf.book = Book::default();
        }
        if let Some(launcher) = &mut state.launcher {
            launcher.begin_child();
        }
    });
    after_fork();
}

/// Runs `work` with the lock held. `work` must not call the interpreter.
pub(super) fn with<R>(work: impl FnOnce(&mut State) -> R) -> R {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the handlers are functions of this library, which is never unloaded.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork_in_child)) };
    });
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    work(state.get_or_insert_with(State::default))
}

/// Converts ticks to nanoseconds.
pub(super) fn nanoseconds(ticks: u64) -> u64 {
    static RATE: OnceLock<f64> = OnceLock::new();
    let rate = *RATE.get_or_init(|| clock::seconds(1_000_000) * 1e3);
    (ticks as f64 * rate) as u64
}

impl State {
    /// Adds the rows and time of a statement since the last call to its books.
    fn write(&mut self, key: usize, failed: bool, ended: bool) {
        let Some(known) = self.nodes.known.get_mut(&key) else { return };
        let (rows, ticks) = (known.node.rows.swap(0, Relaxed), known.node.ticks.swap(0, Relaxed));
        if rows == 0 && ticks == 0 && !ended {
            return;
        }
        let stretch = Stretch { ns: nanoseconds(ticks), before_ns: known.spent_ns, rows: Some(rows), failed };
        known.spent_ns += stretch.ns;
        let (slots, own) = (known.slots.clone(), known.own);
        if own {
            self.end(&slots, &stretch);
        } else {
            self.add_rows(&slots, rows);
        }
    }

    /// Adds an ended execution to its books.
    pub(super) fn end_statement(&mut self, key: usize, failed: bool) {
        self.write(key, failed, true);
    }

    /// Adds the rows and time so far of an execution to its books. `sqlite3_reset` may have ended the execution early.
    pub(super) fn settle_statement(&mut self, key: usize) {
        self.write(key, false, false);
    }

    /// Adds all executions so far to their books, before a book is read.
    pub(super) fn settle(&mut self) {
        let running: Vec<usize> = self.nodes.known.keys().copied().collect();
        for key in running {
            self.settle_statement(key);
        }
    }

    /// Sets the scope: the rules for the user's lines.
    pub(super) fn set_scope(&mut self, scope: Scope) {
        self.scope = Some(scope);
        self.sites.clear();
    }

    /// Opens a new book inside `parent`.
    pub(super) fn open(&mut self, parent: Option<u64>) -> u64 {
        self.next += 1;
        self.books.insert(self.next, Shelf { book: Book::default(), parent });
        self.listen();
        self.next
    }

    /// Removes a book without an owner.
    pub(super) fn close(&mut self, book: u64) -> Option<Book> {
        let shelf = self.books.remove(&book);
        if self.root == Some(book) {
            self.root = None;
        }
        self.listen();
        shelf.map(|shelf| shelf.book)
    }

    fn listen(&self) {
        OPEN.store(self.books.len() + usize::from(self.launcher.is_some()), Relaxed);
    }

    /// Reports all executions to the launcher from now on; false without a launcher.
    pub(super) fn follow(&mut self) -> bool {
        if self.launcher.is_none() {
            self.launcher = Launcher::find();
            FOLLOWED.store(self.launcher.is_some(), Relaxed);
            self.listen();
        }
        self.launcher.is_some()
    }

    /// Makes `book` the book of the whole process.
    pub(super) fn set_root(&mut self, book: Option<u64>) {
        self.root = book;
    }

    /// Whether every execution is counted, even without a ledger in its context.
    pub(super) fn counts_all(&self) -> bool {
        self.root.is_some() || self.launcher.is_some()
    }

    pub(super) fn book(&mut self, book: u64) -> Option<&mut Book> {
        self.books.get_mut(&book).map(|shelf| &mut shelf.book)
    }

    /// The site of this thread.
    pub(super) fn here(&mut self, tstate: usize) -> Site {
        if self.scope.is_none() {
            self.scope = Scope::new(ScopeRules::default()).ok();
        }
        match &self.scope {
            Some(scope) => self.sites.here(scope, tstate),
            None => Site::from([]),
        }
    }

    /// The site of this thread, or the site with the lines of `elsewhere` if this thread's stack holds only libraries.
    /// Returns true in the latter case.
    pub(super) fn here_or(&mut self, tstate: usize, elsewhere: Option<Vec<Place>>) -> (Site, bool) {
        let site = self.here(tstate);
        match elsewhere.filter(|found| site.is_empty() && !found.is_empty()) {
            Some(found) => (self.sites.intern(None, found.into()), true),
            None => (site, false),
        }
    }

    /// The absolute path of a file, if the lines of this function are the user's.
    pub(super) fn in_scope(&self, file: &str, function: &str, first_line: u32) -> Option<Arc<str>> {
        let scope = self.scope.as_ref()?;
        let file = scope.absolute(file);
        scope.holds(&file, function, first_line).then(|| file.as_ref().into())
    }

    /// The text of a call that is no SQL.
    pub(super) fn call(&mut self, name: &str) -> Arc<str> {
        let calls = &mut self.calls;
        if let Some(known) = calls.get(name) {
            return known.clone();
        }
        if calls.len() >= MOST_TEXTS {
            calls.clear();
        }
        let made: Arc<str> = format!("{CALL}{name}").into();
        calls.insert(name.into(), made.clone());
        made
    }

    /// The normal form of a statement.
    pub(super) fn statement(&mut self, sql: &str, strings: bool) -> Arc<str> {
        let known_forms = &mut self.normal_by_text[usize::from(strings)];
        if let Some(known) = known_forms.get(sql) {
            return known.clone();
        }
        let made: Arc<str> = normal_form(sql, strings).into();
        if self.normals.len() > MOST_TEXTS {
            self.normals.clear();
        }
        let made = match self.normals.get(&made) {
            Some(known) => known.clone(),
            None => {
                self.normals.insert(made.clone());
                made
            }
        };
        if known_forms.len() >= MOST_TEXTS {
            known_forms.clear();
        }
        known_forms.insert(sql.into(), made.clone());
        made
    }

    /// Begins an execution: counts it in `book`, in the enclosing books, in the book of the process, and for the
    /// launcher. `layer` made the query. `place` is set if this thread's stack holds no line of the user.
    pub(super) fn begin(
        &mut self,
        book: Option<u64>,
        site: &Site,
        statement: &Arc<str>,
        layer: Layer,
        place: Option<&Arc<[Place]>>,
    ) -> Vec<Slot> {
        let mut slots = Vec::with_capacity(2);
        let mut next = book;
        let mut root = self.root;
        while let Some(id) = next {
            let Some(shelf) = self.books.get_mut(&id) else { break };
            let (entry, at) = shelf.book.begin(site, statement);
            slots.push(Slot::Book { book: id, entry, at });
            if root == Some(id) {
                root = None;
            }
            next = shelf.parent;
        }
        if let Some(id) = root
            && let Some(shelf) = self.books.get_mut(&id)
        {
            let (entry, at) = shelf.book.begin(site, statement);
            slots.push(Slot::Book { book: id, entry, at });
        }
        slots.extend(self.launcher.as_mut().and_then(|launcher| launcher.begin(statement, layer, place)));
        slots
    }

    /// Adds time of an ORM at `site`, without the driver's time: to `book`, the enclosing books, the book of the
    /// process, and for the launcher.
    pub(super) fn built(&mut self, book: Option<u64>, site: &Site, is_elsewhere: bool, ns: u64) {
        let mut next = book;
        let mut root = self.root;
        while let Some(shelf) = next.and_then(|id| self.books.get_mut(&id)) {
            shelf.book.add_build(site, ns);
            root = root.filter(|root| next != Some(*root));
            next = shelf.parent;
        }
        if let Some(shelf) = root.and_then(|id| self.books.get_mut(&id)) {
            shelf.book.add_build(site, ns);
        }
        if let Some(launcher) = &mut self.launcher {
            launcher.built(is_elsewhere.then_some(site), ns);
        }
    }

    /// Records the start of an execution. `parameters` is a hash of its parameters, if they are to be compared.
    pub(super) fn begun(&mut self, slots: &mut [Slot], parameters: Option<u64>) {
        for slot in slots {
            match slot {
                Slot::Book { book, entry, .. } => {
                    let shelf = self.books.get_mut(book);
                    let entry = shelf.and_then(|shelf| shelf.book.entries.get_mut(*entry as usize));
                    if let (Some(entry), Some(hash)) = (entry, parameters) {
                        entry.sets.add(hash);
                    }
                }
                Slot::Launcher { stack, label, name } => {
                    if let Some(launcher) = &mut self.launcher {
                        launcher.begun(stack, label, *name, parameters);
                    }
                }
            }
        }
    }

    /// Adds a part of an execution, or all of it.
    pub(super) fn end(&mut self, slots: &[Slot], stretch: &Stretch) {
        for slot in slots {
            match *slot {
                Slot::Book { book, entry, at } => {
                    if let Some(shelf) = self.books.get_mut(&book) {
                        shelf.book.add(entry, at, stretch);
                    }
                }
                Slot::Launcher { stack, label, name } => {
                    if let Some(launcher) = &self.launcher {
                        launcher.end(stack, label, name, stretch);
                    }
                }
            }
        }
    }

    /// Adds rows to an execution.
    pub(super) fn add_rows(&mut self, slots: &[Slot], rows: u64) {
        for slot in slots {
            match *slot {
                Slot::Book { book, entry, .. } => {
                    if let Some(shelf) = self.books.get_mut(&book) {
                        shelf.book.add_rows(entry, Some(rows));
                    }
                }
                Slot::Launcher { stack, label, name } => {
                    if let Some(launcher) = self.launcher.as_ref().filter(|_| rows > 0) {
                        launcher.end(stack, label, name, &Stretch { rows: Some(rows), ..Stretch::default() });
                    }
                }
            }
        }
    }

    /// Whether to compare the parameters of this execution.
    pub(super) fn wants_parameters(&self, slots: &[Slot]) -> bool {
        slots.iter().any(|slot| match *slot {
            Slot::Book { book, entry, .. } => {
                let entry = self.books.get(&book).and_then(|shelf| shelf.book.entries.get(entry as usize));
                entry.is_some_and(|entry| entry.sets.wanted())
            }
            Slot::Launcher { name, .. } => {
                self.launcher.as_ref().is_some_and(|launcher| launcher.wants_parameters(name))
            }
        })
    }
}
