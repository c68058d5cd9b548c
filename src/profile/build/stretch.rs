//! Factors that stretch a thread's samples to its exact CPU clock.
//!
//! Job: given the samples and the clock of a thread, compute a factor for each kind of time, and the remaining time
//! that no sample stands for. Invariant: factors times samples, plus the rest, is the clock. Neighbour: `cpu` applies
//! the factors.
//!
//! **Timer engine.** Samples of all kinds are equally trustworthy, so all kinds get the factor clock / samples. The
//! kernel serves CPU timers at its tick, so a thread's samples differ from its clock by up to a tick at either end. A
//! gap of two samples' weight is therefore noise and is always closed. A larger gap means that samples are missing
//! (threads shorter than a tick, lost records, a thread that reads its own clock). The more samples there are, the more
//! credible it is that the missing time resembles the sampled time. Below [`MANY`] samples the factor is at most
//! [`FEW_FACTOR`], from there on [`MANY_FACTOR`]. For many threads of about the same short life, taken together, chance
//! decides which threads a tick met. Their missing time therefore resembles their sampled time, and [`POOL_MANY`]
//! samples are enough for a factor of [`POOL_FACTOR`]. The remaining time is reported as not sampled: charging it to
//! lines could charge lines that did not use it.
//!
//! **perf engine.** A user-time sample arises after every gap of the thread's clock that ends in user mode, and stands
//! for that gap. The first gap begins at a random time before the thread, so that no time is lost on average. The clock
//! beyond these samples is about the kernel time. The same difference also contains interrupts and time that the host
//! took from the machine; both belong to the interrupted line. The timer's ticks beside perf count how often the kernel
//! ran for the thread. The count is free of that bias, but noisy because ticks are few. The kernel time is the mean of
//! both estimates, weighted by their precision ([`RESIDUAL_ERROR`] and [`ENDS_ERROR`] for the first, the binomial error
//! for the second). Where the ticks' estimate exceeds the first by two standard errors, the ticks' estimate alone
//! counts. Kernel time goes to the lines on which the ticks fell. These lines carry at most the time that the number of
//! ticks can stand for (three sigmas and five samples of grace); the rest of the kernel time has no place. Without the
//! timer, the clock's estimate counts alone.

use crate::profile::book::sums::SYSTEM;

/// Threads with fewer samples are pooled with the other short threads of their process. A factor of their own would
/// divide two random numbers, and so shift time to threads with a lucky sample.
pub(crate) const POOL_BELOW: u64 = 16;
/// From this number of samples on, a larger factor is credible.
const MANY: u64 = 64;
/// Largest factor on few samples.
const FEW_FACTOR: f64 = 1.25;
/// Largest factor of a single thread with many samples.
const MANY_FACTOR: f64 = 2.0;
/// From this number of samples of many short threads together, a larger factor is credible.
const POOL_MANY: u64 = 5;
/// Largest factor of many short threads together. A tick in four meets a thread of one millisecond; by then the timer
/// has expired in a thread of six.
const POOL_FACTOR: f64 = 32.0;

/// Share of a thread's clock that interrupts and the host take: a standard error of the clock beyond user samples.
const RESIDUAL_ERROR: f64 = 0.02;
/// Standard error, in intervals per thread, of the time that samples stand for: the part of the first gap before the
/// thread began, minus the part of the last gap after it ended, for gaps of half an interval to one and a half.
const ENDS_ERROR: f64 = 0.5;
/// Least number of nanoseconds that a tick stands for: the kernel's own interval at HZ=250.
const TICK_NS: f64 = 4e6;

/// The source of a thread's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Engine {
    /// No engine: the thread has no samples.
    #[default]
    None,
    /// perf for user time, a timer for kernel time.
    Perf,
    /// perf for user time; kernel time has no samples.
    PerfAlone,
    /// perf for user and kernel time alike.
    PerfWhole,
    /// A CPU timer.
    Timer,
    /// Another thread of the process that looks at the thread; kernel time comes from the scheduler's ticks.
    Looks,
}

/// The samples of a thread, or of several threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sampled {
    /// Sum of the samples' weights in nanoseconds, by kind.
    pub(crate) ns: [f64; 3],
    /// Samples, by kind.
    pub(crate) samples: [u64; 3],
    /// Number of threads.
    pub(crate) threads: u64,
    /// Nanoseconds between two samples.
    pub(crate) interval_ns: f64,
    /// Records lost for each record that arrived.
    pub(crate) lost: f64,
}

/// The result of stretching samples to a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Stretch {
    /// Factor on the samples, by kind.
    pub(crate) factor: [f64; 3],
    /// Nanoseconds without a place.
    pub(crate) rest: Rest,
}

/// Nanoseconds without a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rest {
    /// By kind.
    pub(crate) kinds: [f64; 3],
    /// Of an unknown kind.
    pub(crate) unsplit: f64,
}

impl Rest {
    /// Time that resembles the samples taken, by kind.
    fn of(kinds: [f64; 3]) -> Self {
        Self { kinds, unsplit: 0.0 }
    }
}

/// Stretches `seen` to `clock_ns` nanoseconds. `system_ns`: kernel time, if known.
pub(crate) fn stretch(engine: Engine, seen: &Sampled, clock_ns: f64, system_ns: Option<f64>) -> Stretch {
    let total: f64 = seen.ns.iter().sum();
    if total <= 0.0 {
        return Stretch { factor: [1.0; 3], rest: unseen(clock_ns, system_ns) };
    }
    match engine {
        Engine::Perf | Engine::PerfAlone => stretch_perf(seen, clock_ns, engine == Engine::Perf),
        Engine::PerfWhole | Engine::Timer | Engine::Looks | Engine::None => {
            let factor = credible(seen, total, seen.samples.iter().sum(), clock_ns) / total;
            let rest = (clock_ns - total * factor).max(0.0);
            Stretch { factor: [factor; 3], rest: Rest::of(seen.ns.map(|ns| rest * ns / total)) }
        }
    }
}

/// CPU time without any sample: the kernel's part if it is known; the rest stays unsplit.
pub(crate) fn unseen(clock_ns: f64, system_ns: Option<f64>) -> Rest {
    let system = system_ns.unwrap_or(0.0).clamp(0.0, clock_ns.max(0.0));
    Rest { kinds: [0.0, 0.0, system], unsplit: (clock_ns - system).max(0.0) }
}

fn stretch_perf(seen: &Sampled, clock_ns: f64, ticks: bool) -> Stretch {
    let user = seen.ns[0] + seen.ns[1];
    let left_ns = clock_ns - user * (1.0 + seen.lost);
    let hits = seen.samples[SYSTEM] as f64;
    let kernel = if ticks && user > 0.0 { kernel_ns(seen, clock_ns, left_ns) } else { left_ns.max(0.0) };
    let wanted = clock_ns - kernel;
    let user_factor =
        if user > 0.0 { credible(seen, user, seen.samples[0] + seen.samples[1], wanted) / user } else { 1.0 };
    let placed = if hits > 0.0 && seen.ns[SYSTEM] > 0.0 {
        kernel.min(seen.ns[SYSTEM] / hits * (hits + 3.0 * hits.sqrt() + 5.0) * (1.0 + seen.lost))
    } else {
        0.0
    };
    // A damaged or forged ring can contain samples of zero weight.
    let system_factor = if seen.ns[SYSTEM] > 0.0 { placed / seen.ns[SYSTEM] } else { 1.0 };
    let rest = (clock_ns - user * user_factor - placed).max(0.0);
    Stretch { factor: [user_factor, user_factor, system_factor], rest: Rest::of([0.0, 0.0, rest]) }
}

/// Kernel time, from the clock beyond user samples (`left_ns`) and from the number of ticks that met the kernel.
fn kernel_ns(seen: &Sampled, clock_ns: f64, left_ns: f64) -> f64 {
    if clock_ns <= 0.0 {
        return 0.0;
    }
    let hits = seen.samples[SYSTEM] as f64;
    let each = if hits > 0.0 { seen.ns[SYSTEM] / hits } else { TICK_NS }.max(seen.interval_ns.min(TICK_NS));
    // Add half a tick either way: a share of exactly 0 or 1 would claim certainty that the ticks do not give.
    let ticks = (clock_ns / each).max(1.0);
    let met = (seen.ns[SYSTEM] * (1.0 + seen.lost) / clock_ns).min(1.0);
    let smooth = (met * ticks + 0.5) / (ticks + 1.0);
    let ticks_variance = smooth * (1.0 - smooth) / ticks;
    // Chance also decides which gaps end in the kernel.
    let gaps_variance = smooth * (1.0 - smooth) * seen.interval_ns / clock_ns;
    let ends = ENDS_ERROR * seen.interval_ns / clock_ns;
    let clock_variance = RESIDUAL_ERROR * RESIDUAL_ERROR + seen.threads as f64 * ends * ends + gaps_variance;
    let beyond = left_ns / clock_ns;
    // A host that takes the core away stops the thread's clock, but the perf event's clock runs on. Then there are too
    // many user samples, and too little of the clock is left beyond them.
    if met - beyond > 2.0 * (clock_variance + ticks_variance).sqrt() {
        return met * clock_ns;
    }
    let share = (met / ticks_variance + beyond / clock_variance) / (ticks_variance.recip() + clock_variance.recip());
    share.clamp(0.0, 1.0) * clock_ns
}

/// The part of `wanted` for which `samples` samples with the sum `total` can credibly stand.
fn credible(seen: &Sampled, total: f64, samples: u64, wanted: f64) -> f64 {
    let most = match seen.threads {
        2.. if samples >= POOL_MANY => POOL_FACTOR,
        1 if samples >= MANY => MANY_FACTOR,
        _ => FEW_FACTOR,
    };
    let grace = 2.0 * total / samples.max(1) as f64;
    wanted.min((total * most * (1.0 + seen.lost)).max(total + grace))
}

#[cfg(test)]
mod tests {
    use super::{Engine, Rest, Sampled, Stretch, stretch};

    const MS: f64 = 1e6;

    fn seen(ns: [f64; 3], samples: [u64; 3], threads: u64) -> Sampled {
        Sampled { ns: ns.map(|ms| ms * MS), samples, threads, interval_ns: MS, lost: 0.0 }
    }

    fn sum(seen: &Sampled, stretch: &Stretch) -> f64 {
        (0..3).map(|kind| seen.ns[kind] * stretch.factor[kind] + stretch.rest.kinds[kind]).sum::<f64>()
            + stretch.rest.unsplit
    }

    #[test]
    fn factors_times_samples_plus_the_rest_is_the_clock() {
        for engine in [Engine::Perf, Engine::PerfAlone, Engine::Timer] {
            for counts in [[0, 0, 0], [1, 0, 0], [900, 80, 20], [0, 0, 7], [40, 0, 1]] {
                for clock in [0.0, 0.4, 3.0, 41.0, 1000.0, 1900.0, 90_000.0] {
                    for threads in [1, 70] {
                        let seen = seen(counts.map(|count| count as f64), counts, threads);
                        let answer = stretch(engine, &seen, clock * MS, None);
                        let total = sum(&seen, &answer);
                        assert!((total - clock * MS).abs() < 1.0, "{engine:?} {counts:?} {clock} {threads}: {total}");
                        assert!(
                            answer.rest.kinds.iter().chain(&answer.factor).all(|&value| value >= -1e-3),
                            "{answer:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_gap_of_less_than_two_samples_is_closed_however_few_there_are() {
        let seen = seen([4.0, 0.0, 0.0], [1, 0, 0], 1);
        assert_eq!(stretch(Engine::Timer, &seen, 11.0 * MS, None).rest, Rest::default());
    }

    #[test]
    fn few_samples_are_not_stretched_far() {
        let seen = seen([40.0, 0.0, 0.0], [10, 0, 0], 1);
        let answer = stretch(Engine::Timer, &seen, 400.0 * MS, None);
        assert_eq!(answer.factor[0], 1.25);
        assert_eq!(answer.rest.kinds[0], 350.0 * MS);
    }

    fn system_ms(seen: &Sampled, clock: f64, engine: Engine) -> f64 {
        let answer = stretch(engine, seen, clock * MS, None);
        (answer.factor[2] * seen.ns[2] + answer.rest.kinds[2]) / MS
    }

    #[test]
    fn kernel_time_under_perf_lies_between_the_ticks_and_the_clock_beyond_user_samples() {
        let seen = seen([600.0, 100.0, 280.0], [600, 100, 70], 1);
        let system = system_ms(&seen, 1000.0, Engine::Perf);
        assert!((280.0..299.5).contains(&system), "{system}");
        assert!((system_ms(&seen, 1000.0, Engine::PerfAlone) - 299.5).abs() < 1.0);
    }

    #[test]
    fn time_of_interrupts_is_no_kernel_time_of_the_busy_thread() {
        let seen = seen([9_000.0, 0.0, 0.0], [9_000, 0, 0], 1);
        let answer = stretch(Engine::Perf, &seen, 10_000.0 * MS, None);
        assert!(system_ms(&seen, 10_000.0, Engine::Perf) < 20.0, "{answer:?}");
        assert!(answer.factor[0] > 1.108, "{answer:?}");
    }

    #[test]
    fn a_thread_that_every_tick_meets_in_the_kernel_spends_its_time_there() {
        let seen = seen([20.0, 0.0, 1960.0], [20, 0, 490], 1);
        assert!(system_ms(&seen, 2000.0, Engine::Perf) > 0.97 * 2000.0);
    }

    #[test]
    fn kernel_time_that_its_samples_cannot_stand_for_has_no_place() {
        let seen = seen([100.0, 0.0, 4.0], [100, 0, 1], 1);
        let answer = stretch(Engine::PerfAlone, &seen, 1100.0 * MS, None);
        assert!(answer.factor[2] <= 9.0 && answer.rest.kinds[2] > 900.0 * MS, "{answer:?}");
    }

    #[test]
    fn more_user_samples_than_clock_are_shrunk() {
        let seen = seen([1010.0, 0.0, 4.0], [1010, 0, 1], 1);
        let answer = stretch(Engine::Perf, &seen, 1000.0 * MS, None);
        assert!((answer.factor[0] - 1000.0 / 1010.0).abs() < 0.005);
        assert!((0.0..=1.0).contains(&answer.factor[2]), "{answer:?}");
    }

    #[test]
    fn kernel_time_that_ticks_tell_of_stays_where_a_host_makes_user_samples_too_many() {
        let seen = seen([1000.0, 0.0, 280.0], [1000, 0, 70], 1);
        let system = system_ms(&seen, 1000.0, Engine::Perf);
        assert!((system - 280.0).abs() < 1.0, "{system}");
    }

    #[test]
    fn samples_that_stand_for_no_time_have_a_factor_all_the_same() {
        for engine in [Engine::Perf, Engine::PerfAlone, Engine::Timer] {
            for ns in [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0; 3]] {
                for clock in [0.0, 10.0] {
                    let answer = stretch(engine, &seen(ns, [1, 1, 1], 1), clock * MS, None);
                    assert!(
                        answer.rest.kinds.iter().chain(&answer.factor).all(|value| value.is_finite()),
                        "{answer:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn time_without_any_sample_keeps_the_kernels_own_split() {
        let none = seen([0.0; 3], [0; 3], 1);
        assert_eq!(
            stretch(Engine::Timer, &none, 9.0 * MS, Some(2.0 * MS)).rest,
            Rest { kinds: [0.0, 0.0, 2.0 * MS], unsplit: 7.0 * MS }
        );
    }
}
