//! A stream of bytes cut into log entries: Docker's json-file, Kubernetes' CRI format, or as it is. Pure.
//!
//! A line longer than 16 KiB becomes several entries (both formats demand it); what has no newline yet waits for it, at most
//! that much. A cut never divides a character.

use memchr::memchr;

use super::escape::escape;

/// The longest entry, in bytes, of both formats.
pub const MAX_LINE: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static [u8] {
        match self {
            Stream::Stdout => b"stdout",
            Stream::Stderr => b"stderr",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `{"log":"…\n","stream":"stdout","attrs":{…},"time":"…"}`
    Json,
    /// `TIME stdout F …`, or P for a part of a line.
    Cri,
    Raw,
}

/// How an entry ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Newline,
    Cut,
    Closed,
}

/// What is known of one stream between two batches.
#[derive(Debug, Clone)]
pub struct Lines {
    format: Format,
    stream: Stream,
    /// What stands between text and time of a JSON entry.
    middle: Vec<u8>,
    /// The beginning of a line that has not ended.
    carry: Vec<u8>,
    /// The current line had an entry already.
    cut: bool,
}

impl Lines {
    /// `attrs` is a JSON object that each JSON entry has; empty: none.
    pub fn new(format: Format, stream: Stream, attrs: &str) -> Lines {
        let mut middle = [b"\",\"stream\":\"", stream.name(), b"\","].concat();
        if !attrs.is_empty() {
            middle.extend_from_slice(b"\"attrs\":");
            middle.extend_from_slice(attrs.as_bytes());
            middle.push(b',');
        }
        middle.extend_from_slice(b"\"time\":\"");
        Lines {
            format,
            stream,
            middle,
            carry: Vec::new(),
            cut: false,
        }
    }

    /// Appends the entries of `data` to `out` until `out` holds `limit` bytes; says how much of `data` was taken.
    pub fn push(&mut self, data: &[u8], stamp: &str, out: &mut Vec<u8>, limit: usize) -> usize {
        if self.format == Format::Raw {
            out.extend_from_slice(data);
            return data.len();
        }
        let mut at = 0;
        while at < data.len() && out.len() < limit {
            at += self.push_entry(&data[at..], stamp, out);
        }
        at
    }

    /// Appends what waits for its newline: the stream has ended.
    pub fn finish(&mut self, stamp: &str, out: &mut Vec<u8>) {
        let waits = !self.carry.is_empty() || (self.cut && self.format == Format::Cri);
        if waits {
            let line = std::mem::take(&mut self.carry);
            self.entry(&line, End::Closed, stamp, out);
        }
        self.cut = false;
    }

    /// Takes one line, or as much of it as fits an entry, or keeps it until more comes.
    fn push_entry(&mut self, data: &[u8], stamp: &str, out: &mut Vec<u8>) -> usize {
        let room = MAX_LINE - self.carry.len();
        let window = &data[..data.len().min(room)];
        if let Some(length) = memchr(b'\n', window) {
            self.emit(&window[..length], End::Newline, stamp, out);
            return length + 1;
        }
        if window.len() < room {
            self.carry.extend_from_slice(window);
            return window.len();
        }
        let keep = incomplete_tail(window).min(window.len().saturating_sub(1));
        let taken = window.len() - keep;
        self.emit(&window[..taken], End::Cut, stamp, out);
        taken
    }

    /// Writes an entry of the carried part and `rest`.
    fn emit(&mut self, rest: &[u8], end: End, stamp: &str, out: &mut Vec<u8>) {
        if self.carry.is_empty() {
            return self.entry(rest, end, stamp, out);
        }
        let mut line = std::mem::take(&mut self.carry);
        line.extend_from_slice(rest);
        self.entry(&line, end, stamp, out);
    }

    fn entry(&mut self, line: &[u8], end: End, stamp: &str, out: &mut Vec<u8>) {
        self.cut = end == End::Cut;
        match self.format {
            Format::Json => self.json(line, end, stamp, out),
            Format::Cri => self.cri(line, end, stamp, out),
            Format::Raw => out.extend_from_slice(line),
        }
    }

    fn json(&self, line: &[u8], end: End, stamp: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"log\":\"");
        escape(line, out);
        if end == End::Newline {
            out.extend_from_slice(b"\\n");
        }
        out.extend_from_slice(&self.middle);
        out.extend_from_slice(stamp.as_bytes());
        out.extend_from_slice(b"\"}\n");
    }

    fn cri(&self, line: &[u8], end: End, stamp: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(stamp.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.stream.name());
        out.extend_from_slice(if end == End::Cut { b" P " } else { b" F " });
        out.extend_from_slice(line);
        out.push(b'\n');
    }
}

/// How many bytes at the end begin a UTF-8 character that is not complete.
fn incomplete_tail(text: &[u8]) -> usize {
    for back in 1..=text.len().min(3) {
        let byte = text[text.len() - back];
        let length = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: &str = "T";

    fn run(format: Format, pieces: &[&[u8]]) -> String {
        let mut lines = Lines::new(format, Stream::Stdout, "");
        let mut out = Vec::new();
        for piece in pieces {
            assert_eq!(lines.push(piece, T, &mut out, usize::MAX), piece.len());
        }
        lines.finish(T, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn json(log: &str) -> String {
        format!("{{\"log\":\"{log}\",\"stream\":\"stdout\",\"time\":\"T\"}}\n")
    }

    #[test]
    fn attributes_stand_in_each_entry() {
        let mut lines = Lines::new(Format::Json, Stream::Stderr, r#"{"a":"b"}"#);
        let mut out = Vec::new();
        lines.push(b"one\n", T, &mut out, usize::MAX);
        let expected = r#"{"log":"one\n","stream":"stderr","attrs":{"a":"b"},"time":"T"}"#;
        assert_eq!(String::from_utf8_lossy(&out), format!("{expected}\n"));
    }

    #[test]
    fn lines_in_pieces() {
        let cases: [(&[&[u8]], Vec<&str>); 6] = [
            (&[b"one\ntwo\n"], vec!["one\\n", "two\\n"]),
            (&[b"o", b"ne\nt", b"wo\n"], vec!["one\\n", "two\\n"]),
            (&[b"no newline"], vec!["no newline"]),
            (&[b"\n\n"], vec!["\\n", "\\n"]),
            (&[b""], vec![]),
            (&[b"caf\xc3", b"\xa9\n"], vec!["caf\u{e9}\\n"]),
        ];
        for (pieces, logs) in cases {
            let expected: String = logs.into_iter().map(json).collect();
            assert_eq!(run(Format::Json, pieces), expected, "{pieces:?}");
        }
        assert_eq!(
            run(Format::Cri, &[b"one\ntw", b"o"]),
            "T stdout F one\nT stdout F two\n"
        );
        assert_eq!(run(Format::Raw, &[b"as", b" is"]), "as is");
    }

    #[test]
    fn long_lines_are_cut_at_16_kib_whatever_the_pieces() {
        let line: Vec<u8> = [vec![b'a'; MAX_LINE * 2 + 10], b"\nshort\n".to_vec()].concat();
        let full = "a".repeat(MAX_LINE);
        let expected = format!(
            "T stdout P {full}\nT stdout P {full}\nT stdout F aaaaaaaaaa\nT stdout F short\n"
        );
        for piece in [1, 1000, MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, line.len()] {
            let pieces: Vec<&[u8]> = line.chunks(piece).collect();
            assert_eq!(run(Format::Cri, &pieces), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn a_line_of_exactly_the_bound_ends_with_an_empty_entry() {
        let line = [vec![b'a'; MAX_LINE], b"\n".to_vec()].concat();
        let full = "a".repeat(MAX_LINE);
        assert_eq!(
            run(Format::Cri, &[&line]),
            format!("T stdout P {full}\nT stdout F \n")
        );
        assert_eq!(
            run(Format::Cri, &[&line[..MAX_LINE]]),
            format!("T stdout P {full}\nT stdout F \n")
        );
        assert_eq!(run(Format::Json, &[&line]), json(&full) + &json("\\n"));
    }

    #[test]
    fn a_cut_divides_no_character() {
        let line = [vec![b'a'; MAX_LINE - 1], "\u{20ac}\n".as_bytes().to_vec()].concat();
        let expected = format!(
            "T stdout P {}\nT stdout F \u{20ac}\n",
            "a".repeat(MAX_LINE - 1)
        );
        assert_eq!(run(Format::Cri, &[&line]), expected);
    }

    #[test]
    fn a_batch_stops_at_the_limit() {
        let mut lines = Lines::new(Format::Cri, Stream::Stderr, "");
        let mut out = Vec::new();
        assert_eq!(lines.push(b"one\ntwo\nthree\n", T, &mut out, 1), 4);
        assert_eq!(out, b"T stderr F one\n");
    }
}
