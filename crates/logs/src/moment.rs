//! Moments with nanoseconds: RFC 3339 in any zone, or seconds since 1970 with a fraction. Pure.

/// Seconds since 1970 (UTC) and nanoseconds; ordered by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub seconds: i64,
    pub nanos: u32,
}

impl Moment {
    pub fn parse(text: &str) -> Option<Moment> {
        Moment::rfc3339(text.as_bytes()).or_else(|| Moment::unix(text))
    }

    /// `2026-01-31T12:00:00[.FRACTION](Z|±HH:MM)`
    pub fn rfc3339(text: &[u8]) -> Option<Moment> {
        let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
        if text.len() < 20
            || marks.iter().any(|&(at, mark)| text[at] != mark)
            || !matches!(text[10], b'T' | b't' | b' ')
        {
            return None;
        }
        let field = |from: usize, to: usize| number(&text[from..to]);
        let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
        let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
        let valid = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60;
        let rest = &text[19..];
        let (fraction, zone) = match rest {
            [b'.', rest @ ..] => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                (&rest[..digits], &rest[digits..])
            }
            _ => (&rest[..0], rest),
        };
        if !valid || (rest[0] == b'.' && fraction.is_empty()) {
            return None;
        }
        let of_day = hour * 3600 + minute * 60 + second;
        Some(Moment {
            seconds: calendar::day(year, month, day) * 86_400 + of_day - offset(zone)?,
            nanos: nanos(fraction)?,
        })
    }

    /// `SECONDS[.FRACTION]`
    fn unix(text: &str) -> Option<Moment> {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        if seconds.is_empty() || seconds.len() > 18 {
            return None;
        }
        Some(Moment {
            seconds: number(seconds.as_bytes())?,
            nanos: nanos(fraction.as_bytes())?,
        })
    }

    /// In UTC, always with nine digits of fraction.
    pub fn render(self) -> String {
        format!("{}.{:09}Z", calendar::rfc3339(self.seconds), self.nanos)
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0i64, |sum, &digit| {
        digit
            .is_ascii_digit()
            .then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

/// Digits behind a point; more than nine say less than a nanosecond.
fn nanos(fraction: &[u8]) -> Option<u32> {
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    Some(digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let ahead = number(&[*h1, *h2])? * 3600 + number(&[*m1, *m2])? * 60;
            Some(if *sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some((0, 0))),
            ("2000-02-29T00:00:00.000000001Z", Some((951_782_400, 1))),
            (
                "2024-02-29T02:00:00.5+02:00",
                Some((1_709_164_800, 500_000_000)),
            ),
            ("2024-02-28T19:30:00-04:30", Some((1_709_164_800, 0))),
            ("1709164800", Some((1_709_164_800, 0))),
            ("1709164800.000000120", Some((1_709_164_800, 120))),
            ("1709164800.12", Some((1_709_164_800, 120_000_000))),
            ("2024-02-29T00:00:00", None),
            ("2024-02-29T00:00:00.Z", None),
            ("2024-13-29T00:00:00Z", None),
            ("2024-02-29", None),
            ("", None),
            ("-1", None),
            ("1.x", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            let found = Moment::parse(text).map(|moment| (moment.seconds, moment.nanos));
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_read(seconds in -62_135_596_800i64..253_402_300_800, nanos in 0u32..1_000_000_000) {
            let moment = Moment { seconds, nanos };
            prop_assert_eq!(Moment::parse(&moment.render()), Some(moment));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            let _ = Moment::parse(&text);
        }
    }
}
