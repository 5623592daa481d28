//! Requests to the daemon, one after the other on one connection: HTTP/1.1 (RFC 9112) as far as the daemon's own answers go.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The daemon's answers to an exec have some hundred bytes.
const MAX_BODY: u64 = 1 << 20;
const MAX_HEAD: u64 = 64 << 10;

pub struct Daemon(BufReader<UnixStream>);

/// A status, and the value that came with it; `Null` where there was none.
pub struct Answer {
    pub status: u16,
    pub value: Value,
}

impl Answer {
    /// A text of a successful answer.
    pub fn text(&self, field: &str) -> Option<&str> {
        (self.status < 400)
            .then(|| self.value.get(field)?.as_str())
            .flatten()
    }
}

impl Daemon {
    pub fn connect(socket: &Path) -> io::Result<Daemon> {
        let connection = UnixStream::connect(socket)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        Ok(Daemon(BufReader::new(connection)))
    }

    pub fn post(&mut self, target: &str, body: &Value) -> io::Result<Answer> {
        let body = match body {
            Value::Null => String::new(),
            value => value.to_string(),
        };
        self.ask("POST", target, &body)
    }

    pub fn get(&mut self, target: &str) -> io::Result<Answer> {
        self.ask("GET", target, "")
    }

    fn ask(&mut self, method: &str, target: &str, body: &str) -> io::Result<Answer> {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: stockade\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut head = self.0.by_ref().take(MAX_HEAD);
        let mut line = String::new();
        head.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| broken("a status"))?;
        let mut length = 0;
        loop {
            line.clear();
            head.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(|_| broken("a length"))?;
                }
                Some((name, _)) if name.eq_ignore_ascii_case("transfer-encoding") => {
                    return Err(broken("a length"));
                }
                Some(_) => {}
                None if line == "\r\n" => break,
                None => return Err(broken("a whole header")),
            }
        }
        if length > MAX_BODY {
            return Err(broken("a short body"));
        }
        let mut body = vec![0; length as usize];
        self.0.read_exact(&mut body)?;
        let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answer { status, value })
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the daemon's answer has not {what}"),
    )
}

/// One segment of a target (RFC 3986).
pub fn quoted(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(said: &str) -> io::Result<Answer> {
        let (ours, mut theirs) = UnixStream::pair()?;
        theirs.write_all(said.as_bytes())?;
        drop(theirs);
        Daemon(BufReader::new(ours)).answer()
    }

    #[test]
    fn answers_are_read() {
        let found =
            answered("HTTP/1.1 201 Created\r\nA: b\r\ncontent-length: 10\r\n\r\n{\"Id\":\"x\"}");
        assert_eq!(found.unwrap().text("Id"), Some("x"));
        let found = answered("HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        assert_eq!((found.status, found.value), (204, Value::Null));
        let refused =
            answered("HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\n{\"Id\":\"x\"}");
        assert_eq!(refused.unwrap().text("Id"), None);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for said in [
            "",
            "HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(answered(said).is_err(), "{said}");
        }
    }

    #[test]
    fn segments_are_quoted() {
        assert_eq!(quoted("a-b_c.1~"), "a-b_c.1~");
        assert_eq!(quoted("a/b?c é"), "a%2Fb%3Fc%20%C3%A9");
    }
}
