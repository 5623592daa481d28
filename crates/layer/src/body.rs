//! The body of an HTTP request (RFC 9112, sections 6 and 7), taken from a connection that carries more than the body.
//!
//! Not one byte beyond the body's end is read: it may be the next request. So the lines between chunks are read byte by
//! byte; the data, which is nearly all, is not. What is not exactly the standard's is refused, because two readers that
//! disagree on where a body ends are how one request is smuggled in another.

use std::io::{self, Read};

/// The longest line that gives a chunk's size, with its extensions.
const MOST_LINE: usize = 4096;
/// All trailers together.
const MOST_TRAILERS: usize = 16 * 1024;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// With the connection.
    Raw,
    Chunked,
    Length(u64),
}

impl Framing {
    /// Reads `raw`, `chunked` or `length:N`.
    pub fn parse(text: &str) -> Option<Framing> {
        match text {
            "raw" => Some(Framing::Raw),
            "chunked" => Some(Framing::Chunked),
            _ => {
                let digits = text.strip_prefix("length:")?;
                if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return None;
                }
                digits.parse().ok().map(Framing::Length)
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the request's body ends early")]
    Cut,
    #[error("the request's body has a malformed chunk")]
    Chunk,
    #[error("the request's body has a line that is too long")]
    Line,
    #[error("the request's body has a malformed or too long trailer")]
    Trailer,
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::other(error)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Raw,
    /// Bytes left of a body of known length.
    Left(u64),
    /// A line with a chunk's size comes.
    Size,
    /// Bytes left of a chunk.
    Chunk(u64),
    End,
}

/// A body's bytes.
#[derive(Debug)]
pub struct Body<R> {
    source: R,
    state: State,
}

impl<R: Read> Body<R> {
    pub fn new(source: R, framing: Framing) -> Body<R> {
        let state = match framing {
            Framing::Raw => State::Raw,
            Framing::Chunked => State::Size,
            Framing::Length(0) => State::End,
            Framing::Length(bytes) => State::Left(bytes),
        };
        Body { source, state }
    }

    fn part(&mut self, left: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        match self.source.read(&mut buffer[..most])? {
            0 => Err(Error::Cut.into()),
            bytes => Ok(bytes),
        }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        loop {
            match self.source.read(&mut byte) {
                Ok(0) => return Err(Error::Cut.into()),
                Ok(_) => return Ok(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A line without its CRLF; no other line ending counts as one.
    fn line(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\r' => {
                    return if self.byte()? == b'\n' {
                        Ok(line)
                    } else {
                        Err(Error::Chunk.into())
                    };
                }
                b'\n' | 0 => return Err(Error::Chunk.into()),
                _ if line.len() == most => return Err(Error::Line.into()),
                byte => line.push(byte),
            }
        }
    }

    fn trailers(&mut self) -> io::Result<()> {
        let mut left = MOST_TRAILERS;
        loop {
            let line = self.line(left).map_err(|_| Error::Trailer)?;
            if line.is_empty() {
                return Ok(());
            }
            if !line.contains(&b':') {
                return Err(Error::Trailer.into());
            }
            left = left.saturating_sub(line.len() + 2);
        }
    }
}

/// The size of a chunk, before its extensions.
fn size(line: &[u8]) -> Result<u64, Error> {
    let end = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let (digits, rest) = line.split_at(end);
    let extension = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    // Fifteen digits are a million terabytes; more could wrap around somewhere else.
    if digits.is_empty() || digits.len() > 15 || extension.is_some_and(|&byte| byte != b';') {
        return Err(Error::Chunk);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Error::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| Error::Chunk)
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::End => return Ok(0),
                State::Raw => return self.source.read(buffer),
                State::Left(left) => {
                    let bytes = self.part(left, buffer)?;
                    let left = left - bytes as u64;
                    self.state = if left == 0 {
                        State::End
                    } else {
                        State::Left(left)
                    };
                    return Ok(bytes);
                }
                State::Size => {
                    let line = self.line(MOST_LINE)?;
                    match size(&line)? {
                        0 => {
                            self.trailers()?;
                            self.state = State::End;
                        }
                        size => self.state = State::Chunk(size),
                    }
                }
                State::Chunk(0) => {
                    if !self.line(0)?.is_empty() {
                        return Err(Error::Chunk.into());
                    }
                    self.state = State::Size;
                }
                State::Chunk(left) => {
                    let bytes = self.part(left, buffer)?;
                    self.state = State::Chunk(left - bytes as u64);
                    return Ok(bytes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is read, and what is left for the next request; None when it is refused.
    fn read(wire: &[u8], framing: Framing) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut body = Body::new(wire, framing);
        let mut data = Vec::new();
        body.read_to_end(&mut data).ok()?;
        Some((data, body.source.to_vec()))
    }

    #[test]
    fn bodies() {
        let chunked = |wire: &str| {
            read(wire.as_bytes(), Framing::Chunked).map(|(data, rest)| {
                let text = |bytes| String::from_utf8(bytes).unwrap();
                (text(data), text(rest))
            })
        };
        let some = |data: &str, rest: &str| Some((data.to_owned(), rest.to_owned()));
        assert_eq!(chunked("3\r\nabc\r\n0\r\n\r\nGET /"), some("abc", "GET /"));
        assert_eq!(chunked("0\r\n\r\n"), some("", ""));
        assert_eq!(
            chunked("A;x=\"y\"\r\n0123456789\r\n0;z\r\nT: v\r\nU: w\r\n\r\nrest"),
            some("0123456789", "rest")
        );
        assert_eq!(chunked("0003 \r\nabc\r\n000\r\n\r\n"), some("abc", ""));
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(MOST_LINE));
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(MOST_TRAILERS / 6 + 2));
        for bad in [
            "",
            "3\r\nabc",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\nabc\n0\n\n",
            "3\r\nabc\n0\r\n\r\n",
            "-1\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "\r\n",
            ";x\r\n",
            "3 4\r\nabc\r\n0\r\n\r\n",
            "fffffffffffffffff\r\n",
            "10000000000000000\r\n",
            "0\r\n",
            "0\r\nT: v\r\n",
            "0\r\nno colon\r\n\r\n",
            "3\rabc",
            &long,
            &trailers,
        ] {
            assert_eq!(chunked(bad), None, "{bad:?}");
        }
        assert_eq!(
            read(b"abcdef", Framing::Length(3)),
            Some((b"abc".to_vec(), b"def".to_vec()))
        );
        assert_eq!(
            read(b"def", Framing::Length(0)),
            Some((vec![], b"def".to_vec()))
        );
        assert_eq!(read(b"ab", Framing::Length(3)), None);
        assert_eq!(read(b"ab", Framing::Raw), Some((b"ab".to_vec(), vec![])));
    }

    #[test]
    fn framings() {
        assert_eq!(Framing::parse("length:7"), Some(Framing::Length(7)));
        for bad in [
            "",
            "length:",
            "length:-1",
            "length:+1",
            "gzip",
            "length:99999999999999999999",
        ] {
            assert_eq!(Framing::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn chunks_of_any_sizes_are_one_body(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..600), 0..12),
            rest in proptest::collection::vec(any::<u8>(), 0..20),
            piece in 1usize..700,
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            for end in 0..wire.len().min(40) {
                prop_assert_eq!(read(&wire[..wire.len() - 1 - end], Framing::Chunked), None);
            }
            wire.extend_from_slice(&rest);
            let mut body = Body::new(&wire[..], Framing::Chunked);
            let (mut data, mut some) = (Vec::new(), vec![0; piece]);
            loop {
                match body.read(&mut some).unwrap() {
                    0 => break,
                    bytes => data.extend_from_slice(&some[..bytes]),
                }
            }
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(body.source, &rest[..]);
        }

        #[test]
        fn anything_ends(wire in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&wire, Framing::Chunked);
        }
    }
}
