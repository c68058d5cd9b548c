//! The share of looks on time.
//!
//! Job: count the looks of a thread at other threads, and the looks missed because the looking thread had no core when
//! they were due. Invariant: a pause by choice is no missed look. Neighbours: `remote` and `inprocess::looking` count,
//! `profile::build::notices` words the message.

use std::time::Duration;

use rscalene_wire as wire;

/// Fewer missed looks cause no message: a program of half a second is too short to judge.
const FEW: f64 = 50.0;
/// A share of looks on time below this causes a message.
const ENOUGH: f64 = 0.5;

/// Numbers of looks on time and of missed looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Looks {
    came: f64,
    missed: f64,
}

impl Looks {
    /// A look happened, `late` after its due time; the next look was planned for `every` later.
    pub fn came(&mut self, late: Duration, every: Duration) {
        self.came += 1.0;
        self.missed += (late.as_secs_f64() / every.as_secs_f64().max(1e-6)).floor();
    }

    /// The message, if too many looks since `start` were missed.
    #[must_use]
    pub fn notice_since(&self, start: Self, time_ns: u64) -> Option<wire::Notice> {
        let (came, missed) = (self.came - start.came, self.missed - start.missed);
        let part = came / (came + missed).max(1.0);
        let detail = (part * 100.0) as u32;
        let starved = missed >= FEW && part < ENOUGH;
        starved.then_some(wire::Notice { time_ns, code: wire::NoticeCode::LOOKS_MISSED, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(10);

    #[test]
    fn looks_that_came_late_by_less_than_a_tick_are_not_missed() {
        let mut looks = Looks::default();
        (0..10_000).for_each(|_| looks.came(TICK.mul_f64(0.9), TICK));
        assert_eq!(looks.notice_since(Looks::default(), 0), None);
    }

    #[test]
    fn a_quarter_of_late_looks_gives_a_notice_except_in_a_short_run() {
        let mut looks = Looks::default();
        (0..10).for_each(|_| looks.came(TICK * 3, TICK));
        assert_eq!(looks.notice_since(Looks::default(), 0), None);
        let start = looks;
        (0..100).for_each(|_| looks.came(TICK * 3, TICK));
        let notice = looks.notice_since(start, 7).expect("300 were missed");
        assert_eq!((notice.time_ns, notice.code, notice.detail), (7, wire::NoticeCode::LOOKS_MISSED, 25));
    }
}
