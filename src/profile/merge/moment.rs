//! RFC 3339 and microseconds since 1970.
//!
//! Job: compare the starts of runs, and write the first. Invariant: no clock is read, so `profile` needs no time types
//! of the standard library; an invalid time counts as 1970. Neighbour: `runs`.

/// The last second of the year 9999, in microseconds, because RFC 3339 can write no later second.
const LAST_US: i64 = 253_402_300_799_000_000;
/// Days from the first of March of the year 0 to 1970.
const DAYS_TO_1970: i64 = 719_468;
/// Days in four hundred years.
const DAYS_OF_400_YEARS: i64 = 146_097;

/// Limits a time to the range of RFC 3339.
pub(super) fn within(micros: i64) -> i64 {
    micros.clamp(0, LAST_US)
}

/// Microseconds of `2026-01-31T23:59:58Z`, also with a fraction of a second; only UTC.
pub(super) fn parse(text: &str) -> i64 {
    parts(text).map_or(0, within)
}

fn parts(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let possible = (0..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !possible || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    let fraction: i64 = match fraction.get(..6).unwrap_or(fraction) {
        "" => 0,
        digits => digits.parse::<u32>().ok().map(|value| i64::from(value) * 10_i64.pow(6 - digits.len() as u32))?,
    };
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1_000_000 + fraction)
}

/// Days from 1970 to a date of the Gregorian calendar. Years begin in March, so that the leap day is the last day.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_OF_400_YEARS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_1970
}

/// The time as RFC 3339, with six digits of the second if the second is not whole.
pub(super) fn rfc3339(micros: i64) -> String {
    let micros = within(micros);
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let (era, of_era) = ((day + DAYS_TO_1970) / DAYS_OF_400_YEARS, (day + DAYS_TO_1970) % DAYS_OF_400_YEARS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_same_after_writing_and_reading() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2000-02-29T23:59:59Z",
            "2026-11-30T10:38:20.000007Z",
            "2100-03-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(rfc3339(parse(text)), text);
        }
        assert_eq!(parse("2026-01-01T00:00:00Z"), 1_767_225_600_000_000);
        assert_eq!(parse("2026-01-01T00:00:00.25Z"), 1_767_225_600_250_000);
        for wrong in [
            "",
            "today",
            "2026-13-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "99999-01-01T00:00:00Z",
            "2026-01-01T0:0:0.-1Z",
        ] {
            assert_eq!(parse(wrong), 0, "{wrong}");
        }
    }
}
