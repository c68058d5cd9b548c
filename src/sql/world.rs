//! All books of this process, and what they share.
//!
//! Job: one lock around sites, statements and books. Invariant: whoever holds the lock calls nothing of the interpreter,
//! so that it may be taken with and without the GIL; a forked child finds it free (`pthread_atfork`). Neighbours: `book`
//! counts, `ledger` and `sqlite` come in here.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};

use rustc_hash::{FxHashMap, FxHashSet};

use super::book::{Book, Place, Site, Slot};
use super::frames::Sites;
use super::nodes::Nodes;
use super::normal::normal_form;
use super::tap::{Layer, Tap};
use crate::lines::clock;
use crate::profile::build::scope::{Scope, ScopeRules};

/// Statements whose normal form is remembered.
const MOST_TEXTS: usize = 8_192;

/// Books that are open, and one more where a launcher listens: hooks do nothing while there are none.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Does anything count in this process?
#[inline(always)]
pub(super) fn listening() -> bool {
    OPEN.load(Relaxed) != 0
}

/// Does a launcher hear of all executions?
static FOLLOWED: AtomicBool = AtomicBool::new(false);

/// Does a launcher hear of all executions of this process?
#[inline(always)]
pub(super) fn followed() -> bool {
    FOLLOWED.load(Relaxed)
}

/// What the lock guards.
#[derive(Default)]
pub(super) struct World {
    books: FxHashMap<u64, Shelf>,
    /// The book of all executions that no other book asks for.
    root: Option<u64>,
    /// The launcher, where it wants all executions.
    tap: Option<Tap>,
    next: u64,
    pub(super) sites: Sites,
    scope: Option<Scope>,
    /// By text: where double quotes hold names, and where they hold strings.
    texts: [FxHashMap<Box<str>, Arc<str>>; 2],
    normals: FxHashSet<Arc<str>>,
    /// Statements of sqlite that run, or ran and may run on.
    pub(super) nodes: Nodes,
}

/// A book and the one around it.
struct Shelf {
    book: Book,
    parent: Option<u64>,
}

static WORLD: Mutex<Option<World>> = Mutex::new(None);

thread_local! {
    /// The lock, while this thread forks.
    static HELD: RefCell<Option<MutexGuard<'static, Option<World>>>> = const { RefCell::new(None) };
}

extern "C" fn before_fork() {
    let mut held = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    // What has passed so far is the parent's.
    if let Some(world) = held.as_mut().filter(|world| world.tap.is_some()) {
        world.settle();
    }
    HELD.with(|place| *place.borrow_mut() = Some(held));
}

extern "C" fn after_fork() {
    HELD.with(|place| drop(place.borrow_mut().take()));
}

/// The child's own book of the whole process is empty.
extern "C" fn after_fork_in_child() {
    HELD.with(|place| {
        let mut held = place.borrow_mut();
        let Some(Some(world)) = held.as_deref_mut() else { return };
        if let Some(shelf) = world.root.and_then(|root| world.books.get_mut(&root)) {
            shelf.book = Book::default();
        }
        if let Some(tap) = &mut world.tap {
            tap.begin_child();
        }
    });
    after_fork();
}

/// Runs `work` on the world. It must not call the interpreter.
pub(super) fn with<R>(work: impl FnOnce(&mut World) -> R) -> R {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the handlers are functions of this library, which is never unloaded.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork_in_child)) };
    });
    let mut world = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    work(world.get_or_insert_with(World::default))
}

/// Nanoseconds of ticks.
pub(super) fn nanoseconds(ticks: u64) -> u64 {
    static RATE: OnceLock<f64> = OnceLock::new();
    let rate = *RATE.get_or_init(|| clock::seconds(1_000_000) * 1e3);
    (ticks as f64 * rate) as u64
}

impl World {
    /// Writes what was measured of a statement since its last row in a book.
    fn write(&mut self, key: usize, failed: bool, ended: bool) {
        let Some(known) = self.nodes.known.get(&key) else { return };
        let (rows, ticks) = (known.node.rows.swap(0, Relaxed), known.node.ticks.swap(0, Relaxed));
        let (slots, own) = (known.slots.clone(), known.own);
        if rows == 0 && ticks == 0 && !ended {
            return;
        }
        if own {
            self.end(&slots, nanoseconds(ticks), Some(rows), failed);
        } else {
            self.add_rows(&slots, rows);
        }
    }

    /// Books an execution of a statement that has ended.
    pub(super) fn end_statement(&mut self, key: usize, failed: bool) {
        self.write(key, failed, true);
    }

    /// Books an execution so far: `sqlite3_reset` may have left it before its end.
    pub(super) fn settle_statement(&mut self, key: usize) {
        self.write(key, false, false);
    }

    /// Books all executions so far, before a book is read.
    pub(super) fn settle(&mut self) {
        let running: Vec<usize> = self.nodes.known.keys().copied().collect();
        for key in running {
            self.settle_statement(key);
        }
    }

    /// Whose lines are the user's from now on.
    pub(super) fn set_scope(&mut self, scope: Scope) {
        self.scope = Some(scope);
        self.sites.clear();
    }

    /// A new book inside of `parent`.
    pub(super) fn open(&mut self, parent: Option<u64>) -> u64 {
        self.next += 1;
        self.books.insert(self.next, Shelf { book: Book::default(), parent });
        self.listen();
        self.next
    }

    /// A book that nobody has any more.
    pub(super) fn close(&mut self, book: u64) -> Option<Book> {
        let shelf = self.books.remove(&book);
        if self.root == Some(book) {
            self.root = None;
        }
        self.listen();
        shelf.map(|shelf| shelf.book)
    }

    fn listen(&self) {
        OPEN.store(self.books.len() + usize::from(self.tap.is_some()), Relaxed);
    }

    /// Says all executions to the launcher from now on; false where there is none.
    pub(super) fn follow(&mut self) -> bool {
        if self.tap.is_none() {
            self.tap = Tap::find();
            FOLLOWED.store(self.tap.is_some(), Relaxed);
            self.listen();
        }
        self.tap.is_some()
    }

    /// Make it the book of the whole process.
    pub(super) fn set_root(&mut self, book: Option<u64>) {
        self.root = book;
    }

    /// Is everything counted, whether a ledger was asked for or not?
    pub(super) fn counts_all(&self) -> bool {
        self.root.is_some() || self.tap.is_some()
    }

    pub(super) fn book(&mut self, book: u64) -> Option<&mut Book> {
        self.books.get_mut(&book).map(|shelf| &mut shelf.book)
    }

    /// Where this thread is.
    pub(super) fn here(&mut self, tstate: usize) -> Site {
        if self.scope.is_none() {
            self.scope = Scope::new(ScopeRules::default()).ok();
        }
        match &self.scope {
            Some(scope) => self.sites.here(scope, tstate),
            None => Site::from([]),
        }
    }

    /// The same, or the lines of `elsewhere` where this thread's own are all of libraries; and whether it is those.
    pub(super) fn here_or(&mut self, tstate: usize, elsewhere: Option<Vec<Place>>) -> (Site, bool) {
        let site = self.here(tstate);
        match elsewhere.filter(|found| site.is_empty() && !found.is_empty()) {
            Some(found) => (self.sites.intern(None, found.into()), true),
            None => (site, false),
        }
    }

    /// The absolute name of a file, where the lines of this function are the user's.
    pub(super) fn in_scope(&self, file: &str, function: &str, first_line: u32) -> Option<Arc<str>> {
        let scope = self.scope.as_ref()?;
        let file = scope.absolute(file);
        scope.holds(&file, function, first_line).then(|| file.as_ref().into())
    }

    /// The normal form of a statement.
    pub(super) fn statement(&mut self, sql: &str, strings: bool) -> Arc<str> {
        let texts = &mut self.texts[usize::from(strings)];
        if let Some(known) = texts.get(sql) {
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
        if texts.len() >= MOST_TEXTS {
            texts.clear();
        }
        texts.insert(sql.into(), made.clone());
        made
    }

    /// An execution begins: it is counted in `book`, the ones around it, the process' own, and by the launcher. Made by
    /// `layer`; at `place` where no frame of this thread is the user's.
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
        slots.extend(self.tap.as_mut().and_then(|tap| tap.begin(statement, layer, place)));
        slots
    }

    /// An ORM took so long at `site`, beside the driver: for `book`, the ones around it, the process' own, and the launcher.
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
        if let Some(tap) = &mut self.tap {
            tap.built(is_elsewhere.then_some(site), ns);
        }
    }

    /// It has begun; `parameters` is the hash of its parameters, where they tell anything.
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
                Slot::Tap { stack, label, name } => {
                    if let Some(tap) = &mut self.tap {
                        tap.begun(stack, label, *name, parameters);
                    }
                }
            }
        }
    }

    /// It has ended.
    pub(super) fn end(&mut self, slots: &[Slot], ns: u64, rows: Option<u64>, failed: bool) {
        for slot in slots {
            match *slot {
                Slot::Book { book, entry, at } => {
                    if let Some(shelf) = self.books.get_mut(&book) {
                        shelf.book.end(entry, at, ns, rows, failed);
                    }
                }
                Slot::Tap { stack, label, name } => {
                    if let Some(tap) = &self.tap {
                        tap.end(stack, label, name, ns, rows, failed);
                    }
                }
            }
        }
    }

    /// More rows came in.
    pub(super) fn add_rows(&mut self, slots: &[Slot], rows: u64) {
        for slot in slots {
            match *slot {
                Slot::Book { book, entry, .. } => {
                    if let Some(shelf) = self.books.get_mut(&book) {
                        shelf.book.add_rows(entry, Some(rows));
                    }
                }
                Slot::Tap { stack, label, name } => {
                    if let Some(tap) = self.tap.as_ref().filter(|_| rows > 0) {
                        tap.end(stack, label, name, 0, Some(rows), false);
                    }
                }
            }
        }
    }

    /// Would the parameters of this execution tell anything?
    pub(super) fn wants_parameters(&self, slots: &[Slot]) -> bool {
        slots.iter().any(|slot| match *slot {
            Slot::Book { book, entry, .. } => {
                let entry = self.books.get(&book).and_then(|shelf| shelf.book.entries.get(entry as usize));
                entry.is_some_and(|entry| entry.sets.wanted())
            }
            Slot::Tap { name, .. } => self.tap.as_ref().is_some_and(|tap| tap.wants_parameters(name)),
        })
    }
}
