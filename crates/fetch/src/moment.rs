//! `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.

use std::time::{SystemTime, UNIX_EPOCH};

/// How many seconds to wait; None when it says nothing that is served.
pub fn seconds_until(text: &str) -> Option<u64> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().unwrap_or(u64::MAX));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(date(text)?.saturating_sub(now))
}

/// Seconds since 1970 of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = text.split(' ').skip(1);
    let day: i64 = words.next()?.parse().ok()?;
    let name = words.next().filter(|name| name.len() == 3)?;
    let month = MONTHS.find(name).filter(|at| at % 3 == 0)? as i64 / 3 + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let clock: Vec<u64> = words
        .next()?
        .split(':')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let &[hour, minute, second] = clock.as_slice() else {
        return None;
    };
    let fits = (1970..=9999).contains(&year) && (1..=31).contains(&day) && hour < 24 && minute < 60;
    if words.next() != Some("GMT") || !fits || second > 60 {
        return None;
    }
    let days = u64::try_from(calendar::day(year, month, day)).ok()?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(date("Tue, 29 Feb 2028 12:00:00 GMT"), Some(1_835_438_400));
        for bad in [
            "",
            "tomorrow",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 anF 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
        ] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }

    #[test]
    fn seconds() {
        assert_eq!(seconds_until(" 17 "), Some(17));
        assert_eq!(seconds_until("99999999999999999999999"), Some(u64::MAX));
        assert_eq!(seconds_until("-1"), None);
        assert_eq!(seconds_until("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
    }
}
