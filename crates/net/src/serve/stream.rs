//! Messages on a connection, each behind its length in two bytes (RFC 1035, 4.2.2).

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::poll::Flags;
use super::socket::is_later;

pub struct Stream {
    socket: TcpStream,
    longest: usize,
    came: Vec<u8>,
    goes: Vec<u8>,
}

/// How far a connection is.
#[derive(Debug)]
pub enum Progress {
    Message(Vec<u8>),
    /// Nothing more can be done now.
    Later,
    /// The other end says no more.
    End,
}

impl Stream {
    /// Takes messages of at most `longest` bytes.
    pub fn new(socket: TcpStream, longest: usize) -> Stream {
        Stream {
            socket,
            longest,
            came: Vec::new(),
            goes: Vec::new(),
        }
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Adds a message to what goes out.
    pub fn put(&mut self, message: &[u8]) {
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        self.goes.extend_from_slice(&length.to_be_bytes());
        self.goes.extend_from_slice(&message[..usize::from(length)]);
    }

    /// What to wait for; `reads`: whether a message is wanted.
    pub fn interest(&self, reads: bool) -> Flags {
        let mut flags = Flags::empty();
        flags.set(Flags::IN, reads);
        flags.set(Flags::OUT, !self.goes.is_empty());
        flags
    }

    /// Writes what goes out, then reads a message if one is wanted.
    pub fn go_on(&mut self, reads: bool) -> io::Result<Progress> {
        while !self.goes.is_empty() {
            match self.socket.write(&self.goes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.goes.drain(..written)),
                Err(error) if is_later(&error) || is_on_its_way(&error) => {
                    return Ok(Progress::Later);
                }
                Err(error) => return Err(error),
            }
        }
        if !reads {
            return Ok(Progress::Later);
        }
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = self.message()? {
                return Ok(Progress::Message(message));
            }
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(Progress::End),
                Ok(length) => self.came.extend_from_slice(&buffer[..length]),
                Err(error) if is_later(&error) => return Ok(Progress::Later),
                Err(error) => return Err(error),
            }
        }
    }

    /// The first whole message of what came.
    fn message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((length, rest)) = self.came.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > self.longest {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let Some(message) = rest.get(..length).map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        self.came.drain(..2 + length);
        Ok(Some(message))
    }
}

/// Whether a connection is not made yet.
fn is_on_its_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotConnected
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair(longest: usize) -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (Stream::new(server, longest), client)
    }

    fn next(stream: &mut Stream) -> Option<Vec<u8>> {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            match stream.go_on(true).unwrap() {
                Progress::Message(message) => return Some(message),
                Progress::End => return None,
                Progress::Later => assert!(std::time::Instant::now() < deadline),
            }
        }
    }

    #[test]
    fn messages_in_any_pieces() {
        let (mut stream, mut client) = pair(100);
        for byte in [0u8, 3, b'a', b'b', b'c', 0, 0, 0, 1, b'd'] {
            client.write_all(&[byte]).unwrap();
        }
        for wanted in [&b"abc"[..], b"", b"d"] {
            assert_eq!(next(&mut stream).unwrap(), wanted);
        }
        stream.put(b"xy");
        assert!(matches!(stream.go_on(false).unwrap(), Progress::Later));
        let mut back = [0; 4];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"\0\x02xy");
        drop(client);
        assert!(next(&mut stream).is_none());
    }

    #[test]
    fn a_message_that_is_too_long_ends_it() {
        let (mut stream, mut client) = pair(10);
        client.write_all(&[0, 11]).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while let Ok(progress) = stream.go_on(true) {
            assert!(matches!(progress, Progress::Later));
            assert!(std::time::Instant::now() < deadline);
        }
    }
}
