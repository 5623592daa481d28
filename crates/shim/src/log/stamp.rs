//! Time stamps as RFC 3339 with nanoseconds, in UTC; the second's part is formatted once a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-11-21T11:29:30.123456789Z`
const LENGTH: usize = 30;

/// A formatter that remembers the last second it wrote.
#[derive(Debug, Clone)]
pub struct Stamp {
    second: u64,
    text: [u8; LENGTH],
}

impl Default for Stamp {
    fn default() -> Stamp {
        let mut stamp = Stamp {
            second: 0,
            text: *b"1970-01-01T00:00:00.000000000Z",
        };
        stamp.set(Duration::ZERO);
        stamp
    }
}

impl Stamp {
    /// The text of `now`; a clock before 1970 is read as 1970.
    pub fn of(&mut self, now: SystemTime) -> &str {
        self.set(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        std::str::from_utf8(&self.text).expect("only ASCII digits and marks are written")
    }

    fn set(&mut self, since_epoch: Duration) {
        let second = since_epoch.as_secs();
        if second != self.second {
            self.second = second;
            let (year, month, day) = calendar::date((second / 86_400) as i64);
            let of_day = second % 86_400;
            let fields = [
                (0, 4, year as u64),
                (5, 2, month as u64),
                (8, 2, day as u64),
                (11, 2, of_day / 3600),
                (14, 2, of_day / 60 % 60),
                (17, 2, of_day % 60),
            ];
            for (at, width, value) in fields {
                digits(&mut self.text[at..at + width], value);
            }
        }
        digits(
            &mut self.text[20..29],
            u64::from(since_epoch.subsec_nanos()),
        );
    }
}

/// One time as text.
pub fn rfc3339(time: SystemTime) -> String {
    Stamp::default().of(time).to_owned()
}

fn digits(field: &mut [u8], mut value: u64) {
    for place in field.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_399, 1, "2000-02-28T23:59:59.000000001Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000000000Z"),
            (1_709_164_800, 999_999_999, "2024-02-29T00:00:00.999999999Z"),
            (4_102_444_799, 120, "2099-12-31T23:59:59.000000120Z"),
        ];
        let mut stamp = Stamp::default();
        for (seconds, nanos, text) in cases {
            assert_eq!(stamp.of(UNIX_EPOCH + Duration::new(seconds, nanos)), text);
        }
    }
}
