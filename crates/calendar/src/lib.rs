//! Days of the Gregorian calendar and the moments of RFC 3339 that are made of them. Pure.
//!
//! Years begin in March here, so that the leap day is a year's last; an era is 400 years of 146,097 days (Hinnant,
//! "chrono-compatible low-level date algorithms").

const DAYS_OF_ERA: i64 = 146_097;
/// From the first day of March of the year 0 to 1970-01-01.
const DAYS_BEFORE_1970: i64 = 719_468;
const SECONDS_OF_DAY: i64 = 86_400;

/// Year, month and day of a day counted from 1970-01-01.
pub fn date(day: i64) -> (i64, i64, i64) {
    let day = day + DAYS_BEFORE_1970;
    let (era, of_era) = (day.div_euclid(DAYS_OF_ERA), day.rem_euclid(DAYS_OF_ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let since_march = (5 * of_year + 2) / 153;
    let month = (since_march + 2) % 12 + 1;
    (
        year + era * 400 + i64::from(month <= 2),
        month,
        of_year - (153 * since_march + 2) / 5 + 1,
    )
}

/// Days from 1970-01-01 to a date.
pub fn day(year: i64, month: i64, date: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + date - 1;
    year.div_euclid(400) * DAYS_OF_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year
        - DAYS_BEFORE_1970
}

/// Seconds since 1970 as `2026-11-21T11:29:30`, in UTC; a fraction and the zone are its reader's to add.
pub fn rfc3339(seconds: i64) -> String {
    let (year, month, day) = date(seconds.div_euclid(SECONDS_OF_DAY));
    let of_day = seconds.rem_euclid(SECONDS_OF_DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// A fraction of a second with as many digits as it needs, its point before it; none: nothing.
pub fn fraction(nanoseconds: u32) -> String {
    match nanoseconds {
        0 => String::new(),
        _ => format!(".{nanoseconds:09}")
            .trim_end_matches('0')
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        for (days, known) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (20_778, (2026, 11, 21)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), known);
        }
    }

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (-1, "1969-12-31T23:59:59"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn fractions_are_as_short_as_they_can_be() {
        for (nanoseconds, text) in [(0, ""), (500_000_000, ".5"), (1, ".000000001")] {
            assert_eq!(fraction(nanoseconds), text);
        }
    }

    #[test]
    fn there_and_back() {
        for days in -1_000_000..3_000_000 {
            let (year, month, of_month) = date(days);
            assert_eq!(day(year, month, of_month), days);
        }
    }
}
