//! The process' segment: any thread may reserve slots of the ring at any time, without a lock.
//!
//! Invariant: a slot belongs to the thread whose compare-and-swap moved `head` past the slot, until this thread stores
//! the commit word. If a record does not fit, this file counts the record as lost and does not wait. Neighbours: `wire`
//! (layout), the launcher's drain (reader).

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use rscalene_interp::Memory;
use rscalene_wire::{
    ArenaHeader, Flags, Kind, MAX_SLOTS, NoFlags, PAGE, Record, RecordHeader, SLOT, SegmentHeader, commit_word,
};

use crate::ground::sys;

/// A claimed segment, mapped into this process.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    arena: *const ArenaHeader,
    base: *mut u8,
    slots: u64,
}

impl Segment {
    /// Wraps a mapping of `bytes` bytes at `base`.
    ///
    /// # Safety
    /// `arena` and `base` must be live mappings of the arena's header page and of a segment that this process owns.
    pub(crate) unsafe fn new(arena: *const ArenaHeader, base: *mut u8, bytes: u64) -> Self {
        Self { arena, base, slots: (bytes - PAGE as u64) / SLOT as u64 }
    }

    /// The segment's first page.
    pub(crate) fn header(&self) -> &SegmentHeader {
        // SAFETY: the caller of `new` guarantees the mapping; all fields of the header are atomics.
        unsafe { &*self.base.cast::<SegmentHeader>() }
    }

    /// The arena's first page.
    pub(crate) fn arena(&self) -> &ArenaHeader {
        // SAFETY: as above.
        unsafe { &*self.arena }
    }

    /// Counts records of a kind as lost.
    pub(crate) fn lose(&self, kind: Kind, records: u64) {
        if let Some(counter) = self.header().lost.get(kind as usize) {
            counter.fetch_add(records, Relaxed);
        }
    }

    /// Reserves slots for a record with `payload` bytes. If the ring is full, counts the record as lost and returns
    /// `None`.
    pub(crate) fn reserve(&self, kind: Kind, flags: u8, payload: usize) -> Option<Writer<'_>> {
        let total = payload + size_of::<RecordHeader>();
        let needed = total.div_ceil(SLOT) as u64;
        let header = self.header();
        // Pairs with the Release of the thread that moved `head`: this thread then sees a tail at least as new as that
        // thread did.
        let mut head = header.head.load(Acquire);
        loop {
            // Pairs with the Release store of the drain: threads may overwrite the slots that the drain has consumed.
            let tail = header.tail.load(Acquire);
            let used = head.wrapping_sub(tail);
            if needed > u64::from(MAX_SLOTS) || used.saturating_add(needed) > self.slots {
                // The drain has passed `head`: other threads moved it after this thread had read it. Try the new value.
                let now = header.head.load(Acquire);
                if used > self.slots && now != head {
                    head = now;
                    continue;
                }
                self.lose(kind, 1);
                return None;
            }
            match header.head.compare_exchange_weak(head, head + needed, Release, Acquire) {
                Ok(_) => {
                    let half = self.slots / 2;
                    if used < half && used + needed >= half {
                        self.wake();
                    }
                    break;
                }
                Err(now) => head = now,
            }
        }
        let mut writer = Writer { segment: self, first: head, at: 8 };
        writer.bytes(&[kind as u8, flags, 0, 0]);
        writer.bytes(&(payload as u32).to_ne_bytes());
        Some(writer)
    }

    /// Writes a record that has neither flags nor a variable part. If the record does not fit, counts the record as
    /// lost and returns false.
    pub(crate) fn emit<R: Record<Flags = NoFlags>>(&self, record: &R) -> bool {
        self.emit_whole(record, NoFlags, &[])
    }

    /// Writes a record, its flags and its variable part `rest`. If the record does not fit, counts the record as lost
    /// and returns false.
    pub(crate) fn emit_whole<R: Record>(&self, record: &R, flags: R::Flags, rest: &[u8]) -> bool {
        let Some(mut writer) = self.reserve(R::KIND, flags.bits(), size_of::<R>() + rest.len()) else { return false };
        writer.value(record);
        writer.bytes(rest);
        writer.commit();
        true
    }

    /// Is the ring at most three quarters full?
    pub(crate) fn has_room(&self) -> bool {
        let header = self.header();
        header.head.load(Relaxed).wrapping_sub(header.tail.load(Acquire)) <= self.slots / 4 * 3
    }

    /// Wakes the launcher.
    pub(crate) fn wake(&self) {
        let arena = self.arena();
        arena.wake.fetch_add(1, Relaxed);
        sys::futex_wake(&arena.wake);
    }
}

/// A reserved record, filled front to back.
pub(crate) struct Writer<'a> {
    segment: &'a Segment,
    first: u64,
    at: usize,
}

impl Writer<'_> {
    /// Address of byte `at` of the record and the bytes up to the ring's end from there.
    fn place(&self, at: usize) -> (*mut u8, usize) {
        let ring_bytes = (self.segment.slots as usize) * SLOT;
        let offset = ((self.first % self.segment.slots.max(1)) as usize * SLOT + at) % ring_bytes.max(1);
        // SAFETY: `offset` lies inside the ring, which starts one page into the segment.
        (unsafe { self.segment.base.add(PAGE + offset) }, ring_bytes - offset)
    }

    /// Appends bytes.
    pub(crate) fn bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (to, contiguous) = self.place(self.at);
            let (now, later) = bytes.split_at(bytes.len().min(contiguous));
            // SAFETY: `reserve` gave this thread the record's slots; `to..to + now.len()` lies in them, inside the
            // mapping, and no reader looks at them before the commit.
            unsafe { core::ptr::copy_nonoverlapping(now.as_ptr(), to, now.len()) };
            self.at += now.len();
            bytes = later;
        }
    }

    /// Appends the fixed part of a record.
    pub(crate) fn value<R: Record>(&mut self, value: &R) {
        // SAFETY: records are `repr(C)` without padding; reading their bytes is always valid.
        let bytes = unsafe { core::slice::from_raw_parts((&raw const *value).cast::<u8>(), size_of::<R>()) };
        self.bytes(bytes);
    }

    /// Appends bytes of the program's memory. Writes zeros for unreadable bytes, and returns false if there are any.
    pub(crate) fn memory(&mut self, memory: &impl Memory, mut from: u64, mut bytes: usize) -> bool {
        let mut whole = true;
        while bytes > 0 {
            let (to, contiguous) = self.place(self.at);
            let now = bytes.min(contiguous);
            // SAFETY: as in `bytes`.
            let slice = unsafe { core::slice::from_raw_parts_mut(to, now) };
            if !memory.bytes(from, slice) {
                slice.fill(0);
                whole = false;
            }
            self.at += now;
            from += now as u64;
            bytes -= now;
        }
        whole
    }

    /// Makes the record visible to the launcher.
    pub(crate) fn commit(self) {
        let (to, _) = self.place(0);
        // SAFETY: slots are 64-byte aligned inside a page-aligned mapping, so the word is aligned, and this thread owns
        // the slot.
        let word = unsafe { &*to.cast::<AtomicU64>() };
        // Pairs with the drain's Acquire load: the drain that sees this word sees all bytes of the record.
        word.store(commit_word(self.first), Release);
    }
}
