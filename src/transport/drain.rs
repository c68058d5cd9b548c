//! The drain: takes records out of the rings, in order, while the targets run.
//!
//! Job: look at every claimed segment, turn committed records into events and free their slots. The drain reads the
//! segment of an ended process to the end (steps over reserved slots without a commit, and counts them) and releases
//! the segment. Invariant: a record is taken once; the drain never waits for writers; each look does bounded work,
//! whatever a hostile target writes. Neighbours: `arena`, `decode`, `commands::run` (starts and stops the drain).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rscalene_wire::{CodeFlags, EndedBy, MAX_SLOTS, ProcessStart, RecordHeader, SLOT};

use super::arena::Arena;
use super::decode;
use super::event::{Batch, Body, Event};
use super::line_table;

/// Pause between two looks while a target runs.
const PAUSE: Duration = Duration::from_millis(20);
/// Shortest time between two looks if shims ask for looks: a single look serves all requests within this time.
const SHORT_PAUSE: Duration = Duration::from_millis(2);
/// Events sent to the builder at a time: sending costs as much as handling an event.
const BATCH: usize = 256;
/// Time between two checks of the owners. The checks follow the clock, because every starting process causes a look.
const OWNERS: Duration = Duration::from_millis(100);
/// [`OWNERS`] if more than 15/16 of the segments are taken: a process without a free segment stays unprofiled.
const OWNERS_WHEN_FULL: Duration = Duration::from_millis(10);
/// Owners checked at a time, in turn, beside the owners that announced their end: a check costs 10 µs.
const ASKED: usize = 32;

/// The drain's state of a claimed segment.
#[derive(Debug)]
struct Ring {
    segment: u32,
    owner: u64,
    position: u64,
    malformed: u64,
    /// Bytes of line tables that the drain may still read from the owner's memory.
    tables: u64,
    /// True once the owner announced its end (`ProcessEnd`, exec excepted).
    ended: bool,
    /// True once the owner has claimed another ring: the process now runs another program.
    left: bool,
}

impl Ring {
    fn pid(&self) -> u32 {
        // The low half of the claim.
        (self.owner & u64::from(u32::MAX)).try_into().unwrap_or(0)
    }
}

/// The reader of an arena's rings.
#[derive(Debug)]
pub struct Reader {
    arena: Arc<Arena>,
    rings: Vec<Ring>,
    /// For each segment: true if the segment has a ring, or could not be freed.
    taken: Vec<bool>,
    buffer: Vec<u8>,
    asked: Instant,
    /// Index of the first ring of the next check of owners.
    turn: usize,
}

impl Reader {
    /// A reader that has read no record yet.
    #[must_use]
    pub fn new(arena: Arc<Arena>) -> Self {
        let taken = vec![false; arena.segments() as usize];
        Self { arena, rings: Vec::new(), taken, buffer: Vec::new(), asked: Instant::now(), turn: 0 }
    }

    /// Takes all committed records; `out` gets the events. Returns true if any ring advanced.
    pub fn look(&mut self, out: &mut impl FnMut(Event)) -> bool {
        self.find_claims();
        let full = self.rings.len() * 16 > self.arena.segments() as usize * 15;
        let ask_owners = self.asked.elapsed() >= if full { OWNERS_WHEN_FULL } else { OWNERS };
        let turn = self.turn..self.turn + ASKED;
        if ask_owners {
            self.asked = Instant::now();
            self.turn = if turn.end < self.rings.len() { turn.end } else { 0 };
        }
        // Records from before an exec come before the records of the next program.
        let mut any = self.take_where(|ring| ring.left, |ring, _| ring.left, out);
        // The check precedes the look: all records of a dead owner are in the ring by then.
        let dead = |ring: &Ring, place| ask_owners && (ring.ended || turn.contains(&place)) && !alive(ring.pid());
        any |= self.take_where(|_| true, dead, out);
        any
    }

    /// Takes the committed records of the `chosen` rings, and releases each chosen ring whose owner is `dead`.
    fn take_where(
        &mut self,
        chosen: impl Fn(&Ring) -> bool,
        dead: impl Fn(&Ring, usize) -> bool,
        out: &mut impl FnMut(Event),
    ) -> bool {
        let mut any = false;
        let mut place = 0;
        while let Some(ring) = self.rings.get_mut(place) {
            if !chosen(ring) {
                place += 1;
                continue;
            }
            let dead = dead(ring, place);
            any |= take(&self.arena, ring, &mut self.buffer, dead, out);
            if dead {
                let ring = self.rings.swap_remove(place);
                let body = Body::Counters(Box::new(self.arena.counters(ring.segment, ring.malformed)));
                out(Event { pid: ring.pid(), body });
                self.taken[ring.segment as usize] = !self.arena.release(ring.segment);
            } else {
                place += 1;
            }
        }
        any
    }

    /// Takes the rest of all rings, as if their owners were dead, and sends their counters.
    pub fn finish(mut self, out: &mut impl FnMut(Event)) {
        self.find_claims();
        for mut ring in std::mem::take(&mut self.rings) {
            take(&self.arena, &mut ring, &mut self.buffer, true, out);
            let body = Body::Counters(Box::new(self.arena.counters(ring.segment, ring.malformed)));
            out(Event { pid: ring.pid(), body });
        }
    }

    fn find_claims(&mut self) {
        for (segment, taken) in (0..).zip(&mut self.taken) {
            let owner = self.arena.owner(segment);
            // A segment with a ring keeps the ring, whatever becomes of the claim.
            if owner == 0 || *taken {
                continue;
            }
            *taken = true;
            let ring = Ring {
                segment,
                owner,
                position: 0,
                malformed: 0,
                tables: line_table::MOST_OF_A_PROCESS,
                ended: false,
                left: false,
            };
            self.rings.iter_mut().filter(|other| other.pid() == ring.pid()).for_each(|other| other.left = true);
            self.rings.push(ring);
        }
    }
}

/// True if a process with this id runs. A zombie counts as ended, unless other threads than the first still run.
fn alive(pid: u32) -> bool {
    /// Indices of the state and the number of threads among the fields after the name, which ends with the last
    /// parenthesis.
    const STATE: usize = 0;
    const THREADS: usize = 17;
    if pid == std::process::id() {
        return true;
    }
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: signal 0 only checks for existence.
    if unsafe { libc::kill(pid, 0) } == 0 {
        // Reads bytes, because the name of a process need not be UTF-8.
        let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { return false };
        let stat = String::from_utf8_lossy(&stat);
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ended = fields.get(STATE).is_none_or(|state| matches!(*state, "Z" | "X"));
        let threads = fields.get(THREADS).and_then(|threads| threads.parse().ok()).unwrap_or(1);
        return !ended || threads > 1;
    }
    std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Takes the committed records of a ring. `to_the_end`: steps over reserved slots without a commit.
fn take(arena: &Arena, ring: &mut Ring, buffer: &mut Vec<u8>, to_the_end: bool, out: &mut impl FnMut(Event)) -> bool {
    let slots = arena.slots();
    let head = arena.head(ring.segment);
    let first = ring.position;
    // A head more than a ring ahead is damaged or forged: take at most a ring's length.
    let head = head.min(first.saturating_add(slots));
    let mut stepped = false;
    while ring.position < head {
        if !arena.committed(ring.segment, ring.position) {
            if !to_the_end {
                break;
            }
            if !stepped {
                ring.malformed += 1;
                stepped = true;
            }
            ring.position += 1;
            continue;
        }
        stepped = false;
        let mut start = [0; SLOT];
        arena.copy(ring.segment, ring.position, &mut start);
        let taken = record(arena, ring, &start, head, buffer, out);
        ring.position += taken;
        // Free slots during the loop: a long backlog must not block the writers.
        if (ring.position - first) % 4096 < taken {
            arena.set_tail(ring.segment, ring.position);
        }
    }
    if ring.position != first {
        arena.set_tail(ring.segment, ring.position);
    }
    ring.position != first
}

/// Takes the record that begins with `start`. Returns the number of its slots.
fn record(
    arena: &Arena,
    ring: &mut Ring,
    start: &[u8; SLOT],
    head: u64,
    buffer: &mut Vec<u8>,
    out: &mut impl FnMut(Event),
) -> u64 {
    let Some(header) = decode::header(start) else { return 1 };
    let bytes = header.payload_bytes as usize + size_of::<RecordHeader>();
    let slots = bytes.div_ceil(SLOT) as u64;
    if slots > u64::from(MAX_SLOTS) || ring.position.saturating_add(slots) > head {
        ring.malformed += 1;
        return 1;
    }
    let whole = if slots == 1 {
        start.as_slice()
    } else {
        buffer.resize(bytes, 0);
        arena.copy(ring.segment, ring.position, buffer);
        buffer.as_slice()
    };
    let payload = whole.get(size_of::<RecordHeader>()..bytes).unwrap_or(&[]);
    match decode::body(header, payload) {
        Some(mut body) => {
            if let Body::CodeDef(code) = &mut body
                && CodeFlags::of(header.flags).has(CodeFlags::TABLE_APART)
            {
                code.table = line_table::read(ring.pid(), code, &mut ring.tables).unwrap_or_default();
            }
            ring.ended |= matches!(&body, Body::ProcessEnd(end) if end.how != EndedBy::EXEC);
            out(Event { pid: ring.pid(), body });
        }
        None => ring.malformed += 1,
    }
    slots
}

/// The drain's thread.
#[derive(Debug)]
pub struct Drain {
    arena: Arc<Arena>,
    finish: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    /// Starts the thread. The thread sends events to `events`, calls `command` for the command line of every process
    /// whose shim starts, and calls `born` with the process. `spare` returns used batches for reuse: memory allocated
    /// by a thread and freed by another would otherwise go back to the system and be allocated again all the time.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(
        arena: Arc<Arena>,
        events: Sender<Batch>,
        spare: Receiver<Batch>,
        command: impl Fn(u32) -> Option<Vec<String>> + Send + 'static,
        born: impl Fn(u32, &ProcessStart) + Send + 'static,
    ) -> std::io::Result<Self> {
        let finish = Arc::new(AtomicBool::new(false));
        let (asked, theirs) = (Arc::clone(&finish), Arc::clone(&arena));
        let thread = std::thread::Builder::new().name("rscalene-drain".into()).spawn(move || {
            let mut reader = Reader::new(Arc::clone(&arena));
            let mut batch = Batch::new();
            let send = |batch: &mut Batch| {
                if !batch.is_empty() {
                    let next = spare.try_recv().unwrap_or_else(|_| Batch::with_capacity(BATCH));
                    // Sending fails only if the launcher gives up; the drain then still empties the rings.
                    drop(events.send(std::mem::replace(batch, next)));
                }
            };
            let mut starts = Vec::new();
            let take = |batch: &mut Batch, starts: &mut Vec<(u32, ProcessStart)>, event: Event| {
                let born = if let Body::ProcessStart(start) = &event.body { Some((event.pid, *start)) } else { None };
                batch.push(event);
                if let Some((pid, start)) = born {
                    starts.push((pid, start));
                    // The command line precedes the code objects of the process, because the names of source strings
                    // depend on the command line.
                    batch.extend(command(pid).map(|words| Event { pid, body: Body::Command(words) }));
                }
                if batch.len() >= BATCH {
                    send(batch);
                }
            };
            while !asked.load(Ordering::Acquire) {
                let began = Instant::now();
                reader.look(&mut |event| take(&mut batch, &mut starts, event));
                send(&mut batch);
                // The batch goes first: `born` may cause events of the process at once, which must follow its
                // `ProcessStart`.
                starts.drain(..).for_each(|(pid, start)| born(pid, &start));
                arena.wait(PAUSE);
                if !asked.load(Ordering::Acquire) {
                    std::thread::sleep(SHORT_PAUSE.saturating_sub(began.elapsed()));
                }
            }
            reader.finish(&mut |event| take(&mut batch, &mut starts, event));
            send(&mut batch);
            starts.drain(..).for_each(|(pid, start)| born(pid, &start));
        })?;
        Ok(Self { arena: theirs, finish, thread: Some(thread) })
    }

    /// Takes all remaining records and ends the thread.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.finish.store(true, Ordering::Release);
        self.arena.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.end();
    }
}
