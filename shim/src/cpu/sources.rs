//! The sources of CPU signals of one thread, as the launcher's settings ask for them.
//!
//! Job: arm perf and the timer, or only the source permitted by the system, and end them. Each thread arms its own
//! sources. Neighbours: `clock` (makes the sources), `pace` (sets their periods), `threads` and `handler` (call this).

use rscalene_wire::{CpuMode, NoticeCode, Settings, Source};

use crate::arena::segment;
use crate::cpu::{budget, clock};
use crate::ground::random::next_random;
use crate::ground::slot::Slot;
use crate::ground::tls::{Tls, tls};

/// Shortest distance between samples.
const SHORTEST_NS: u64 = 20_000;

/// Arms the sources of the current thread, which owns `slot`.
pub(crate) fn arm_sources(slot: &Slot, settings: &Settings, block: &Tls) {
    slot.interval_ns.set(settings.cpu_interval_ns.max(SHORTEST_NS));
    if settings.cpu_mode == CpuMode::OFF {
        return;
    }
    if settings.cpu_mode != CpuMode::TIMER {
        if settings.cpu_interval_ns == 0 {
            budget::measure(slot);
            slot.interval_ns.set(budget::distance_ns());
        }
        slot.begin_gaps(block);
        match clock::start_perf(slot.tid.get(), slot.first_period(), &slot.opening) {
            Ok(perf) => {
                slot.perf_fd.set(perf.fd);
                slot.perf_page.set(perf.page);
                slot.source.set(Source::PERF_AND_TIMER);
            }
            Err(error) if settings.cpu_mode == CpuMode::PERF => {
                segment::notice(NoticeCode::PERF_DENIED, error.unsigned_abs())
            }
            Err(_) => {}
        }
    }
    if slot.source.get() == Source::NONE && settings.cpu_mode == CpuMode::PERF {
        return;
    }
    if slot.source.get() == Source::NONE {
        slot.begin_ticked_gaps(settings.cpu_interval_ns, block);
    }
    let apart = slot.look_ns();
    slot.timer_ns.set(apart);
    slot.quiet.set(0);
    slot.begin_ticks();
    let first = 1 + next_random(block) % apart.max(1);
    match clock::start_timer(slot.tid.get(), core::ptr::from_ref(slot) as usize, first, apart) {
        Ok(id) => {
            slot.timer.set(id);
            if slot.source.get() == Source::NONE {
                slot.source.set(Source::TIMER);
            }
        }
        Err(error) => {
            if slot.source.get() == Source::PERF_AND_TIMER {
                slot.source.set(Source::PERF);
            }
            segment::notice(NoticeCode::NO_TIMER, error.unsigned_abs());
        }
    }
}

/// Ends the sources of a thread of this process.
pub(crate) fn stop_sources(slot: &Slot) {
    if slot.timer.get() >= 0 {
        clock::stop_timer(slot.timer.replace(-1));
    }
    let page = slot.perf_page.replace(core::ptr::null_mut());
    if !page.is_null() {
        // SAFETY: the page came from `start_perf` in this process, and the `replace` above makes this the only
        // `stop_perf`.
        unsafe { clock::stop_perf(page) };
    }
}

/// Makes the current thread's perf event, if it has one, fire every `period_ns` from now on.
pub(crate) fn replace_perf(slot: &Slot, period_ns: u64) {
    let page = slot.perf_page.get();
    if page.is_null() {
        return;
    }
    // SAFETY: the page came from `start_perf` on this thread, and `stop_perf` has not ended it.
    match unsafe { clock::replace_perf(page, slot.tid.get(), period_ns, &slot.opening) } {
        clock::Replaced::By(fd) => {
            slot.former_fd.set(slot.perf_fd.replace(fd));
            slot.gap_ns.set(period_ns);
            slot.perf_age_ns.set(0);
        }
        clock::Replaced::Not => {}
        clock::Replaced::Gone => {
            slot.perf_page.set(core::ptr::null_mut());
            stop_sources(slot);
            slot.source.set(Source::NONE);
            arm_sources(slot, &segment::settings(), tls());
        }
    }
}
