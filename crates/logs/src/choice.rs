//! Whether an entry is wanted. Pure.

use crate::entry::{Entry, Stream};
use crate::moment::Moment;

#[derive(Debug, Clone)]
pub struct Choice {
    pub since: Option<Moment>,
    pub until: Option<Moment>,
    pub stdout: bool,
    pub stderr: bool,
}

impl Default for Choice {
    fn default() -> Choice {
        Choice {
            since: None,
            until: None,
            stdout: true,
            stderr: true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Show,
    Skip,
    /// Neither this one nor any later one.
    Over,
}

impl Choice {
    pub fn judge(&self, entry: &Entry<'_>) -> Verdict {
        if self.since.is_some() || self.until.is_some() {
            let Some(time) = Moment::rfc3339(entry.time.as_bytes()) else {
                return Verdict::Skip;
            };
            if self.until.is_some_and(|until| time > until) {
                return Verdict::Over;
            }
            if self.since.is_some_and(|since| time < since) {
                return Verdict::Skip;
            }
        }
        let wanted = match entry.stream() {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        };
        if wanted { Verdict::Show } else { Verdict::Skip }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_and_stream() {
        let choice = Choice {
            since: Moment::parse("10"),
            until: Moment::parse("20"),
            stderr: false,
            ..Choice::default()
        };
        let cases = [
            ("stdout", "1970-01-01T00:00:09.999999999Z", Verdict::Skip),
            ("stdout", "1970-01-01T00:00:10Z", Verdict::Show),
            ("stderr", "1970-01-01T00:00:15Z", Verdict::Skip),
            ("stdout", "1970-01-01T00:00:20Z", Verdict::Show),
            ("stderr", "1970-01-01T00:00:20.000000001Z", Verdict::Over),
            ("stdout", "no time", Verdict::Skip),
        ];
        for (stream, time, expected) in cases {
            let line = format!(r#"{{"log":"x\n","stream":"{stream}","time":"{time}"}}"#);
            let entry = Entry::parse(line.as_bytes()).unwrap();
            assert_eq!(choice.judge(&entry), expected, "{line}");
        }
    }
}
