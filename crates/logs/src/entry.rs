//! A line of Docker's json-file as an entry. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::unescape::unescape;

/// The longest line that is read: 16 KiB of text, each byte escaped in six, leave room for attributes.
pub const LONGEST: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What was printed at once: a line with its newline, or a part of a long one.
#[derive(Debug, Deserialize)]
pub struct Entry<'a> {
    /// Absent when empty.
    #[serde(borrow, default)]
    log: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    #[serde(borrow, default)]
    attrs: Option<&'a RawValue>,
}

impl<'a> Entry<'a> {
    /// Nothing for a line that is no entry.
    pub fn parse(line: &'a [u8]) -> Option<Entry<'a>> {
        serde_json::from_slice(line).ok()
    }

    pub fn stream(&self) -> Stream {
        if self.stream == "stderr" {
            Stream::Stderr
        } else {
            Stream::Stdout
        }
    }

    /// What was printed.
    pub fn text(&self, out: &mut Vec<u8>) {
        if let Some(log) = self.log {
            unescape(log.get(), out);
        }
    }

    /// The attributes as Docker shows them: `NAME=VALUE,…` by name, each word escaped as in a URL's query.
    pub fn details(&self, out: &mut Vec<u8>) {
        let attrs: BTreeMap<Cow<str>, Cow<str>> = self
            .attrs
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default();
        for (number, (name, value)) in attrs.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            query_escape(name, out);
            out.push(b'=');
            query_escape(value, out);
        }
    }
}

/// application/x-www-form-urlencoded, the space as `+`.
fn query_escape(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend([
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_docker_and_of_ours() {
        let entry = Entry::parse(
            br#"{"log":"a\tb \u003c \ud83d\ude00\n","stream":"stderr","attrs":{"z":"a b/c","a":"1"},"time":"2026-01-01T00:00:00.5Z"}"#,
        )
        .unwrap();
        let mut text = Vec::new();
        entry.text(&mut text);
        assert_eq!(text, "a\tb < \u{1f600}\n".as_bytes());
        assert_eq!(entry.stream(), Stream::Stderr);
        let mut details = Vec::new();
        entry.details(&mut details);
        assert_eq!(details, b"a=1,z=a+b%2Fc");
    }

    #[test]
    fn what_is_no_entry() {
        for line in ["", "{", "[]", "{}", r#"{"log":"x"}"#, "\u{0}"] {
            assert!(Entry::parse(line.as_bytes()).is_none(), "{line}");
        }
        assert!(Entry::parse(b"{\"log\":\"\xff\",\"time\":\"t\"}").is_none());
    }
}
