//! Moments as the documents write them: RFC 3339 in UTC.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Now, with nanoseconds whose trailing zeros are dropped, as Go's RFC3339Nano prints it.
pub fn now_nanos() -> String {
    let now = clock_gettime(ClockId::Realtime);
    let mut text = seconds(&now);
    if now.tv_nsec != 0 {
        text.push_str(format!(".{:09}", now.tv_nsec).trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Now, in whole seconds.
pub fn now() -> String {
    seconds(&clock_gettime(ClockId::Realtime)) + "Z"
}

fn seconds(time: &Timespec) -> String {
    let (days, second) = (
        time.tv_sec.div_euclid(86_400),
        time.tv_sec.rem_euclid(86_400),
    );
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Days since 1970-01-01 as year, month and day of the Gregorian calendar.
///
/// Years begin in March here, so that the leap day is a year's last; an era is 400 years of 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (20_778, (2026, 11, 21)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date);
        }
    }
}
