//! Connections that are carried: what one end says is read and written to the other, with at most one buffer in between.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{SocketType, sockopt};

use super::poll::{Flags, Kind, Poll};
use super::ports::turn_away;
use super::socket::{self, is_later};

const MOST: usize = 1024;
/// How long a container has to take a connection.
const PATIENCE: Duration = Duration::from_secs(10);
const BUFFER: usize = 64 << 10;

#[derive(Default)]
pub struct Carrier {
    pairs: HashMap<u64, Pair>,
    /// Those whose container has not taken them yet.
    coming: HashMap<u64, Instant>,
}

struct Pair {
    port: u64,
    client: End,
    server: End,
}

/// One end of a pair.
struct End {
    stream: TcpStream,
    kind: Kind,
    /// What it said and the other end has not taken yet.
    said: Vec<u8>,
    /// It says no more.
    ended: bool,
    /// It was told that the other end says no more.
    told: bool,
    /// What is waited for; None: nothing now.
    watched: Option<Flags>,
}

impl Carrier {
    /// Carries a connection to a container; where that is not possible it is turned away.
    pub fn begin(&mut self, poll: &mut Poll, port: u64, client: TcpStream, to: SocketAddr) {
        if self.pairs.len() >= MOST {
            return turn_away(&client);
        }
        let number = poll.number();
        match pair(poll, number, port, &client, to) {
            Ok(pair) => {
                self.pairs.insert(number, pair);
                self.coming.insert(number, Instant::now() + PATIENCE);
            }
            Err(_) => turn_away(&client),
        }
    }

    /// Ends all of a port.
    pub fn end_of(&mut self, port: u64) {
        self.pairs.retain(|_, pair| pair.port != port);
        let pairs = &self.pairs;
        self.coming.retain(|number, _| pairs.contains_key(number));
    }

    /// One of the two ends is ready.
    pub fn on_end(&mut self, poll: &Poll, number: u64) {
        let Some(pair) = self.pairs.get_mut(&number) else {
            return;
        };
        if self.coming.contains_key(&number) {
            match pair.server.taken() {
                Ok(false) => return,
                Ok(true) => drop(self.coming.remove(&number)),
                Err(_) => return self.end(number),
            }
        }
        let over = match pair.carry() {
            Ok(over) => over,
            Err(_) => return self.end(number),
        };
        if over {
            self.pairs.remove(&number);
        } else if pair.watch(poll, number).is_err() {
            self.end(number);
        }
    }

    /// Ends a connection that did not end well: both learn so.
    fn end(&mut self, number: u64) {
        self.coming.remove(&number);
        if let Some(pair) = self.pairs.remove(&number) {
            turn_away(&pair.client.stream);
            turn_away(&pair.server.stream);
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.coming.values().min().copied()
    }

    pub fn expire(&mut self, now: Instant) {
        let over = self.coming.iter().filter(|(_, until)| **until <= now);
        let over: Vec<u64> = over.map(|(number, _)| *number).collect();
        over.into_iter().for_each(|number| self.end(number));
    }
}

fn pair(
    poll: &Poll,
    number: u64,
    port: u64,
    client: &TcpStream,
    to: SocketAddr,
) -> io::Result<Pair> {
    let server = TcpStream::from(socket::connected(to, SocketType::STREAM)?);
    let client = client.try_clone()?;
    client.set_nonblocking(true)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(stream, true)?;
    }
    poll.watch(&server, Kind::Server, number, Flags::OUT)?;
    let end = |stream, kind, watched| End {
        stream,
        kind,
        said: Vec::new(),
        ended: false,
        told: false,
        watched,
    };
    Ok(Pair {
        port,
        client: end(client, Kind::Client, None),
        server: end(server, Kind::Server, Some(Flags::OUT)),
    })
}

impl Pair {
    /// Carries what there is, both ways; whether both ends have said everything.
    fn carry(&mut self) -> io::Result<bool> {
        self.client.carry_to(&mut self.server)?;
        self.server.carry_to(&mut self.client)?;
        Ok(self.client.told && self.server.told)
    }

    fn watch(&mut self, poll: &Poll, number: u64) -> io::Result<()> {
        let (client, server) = (
            self.client.wants(&self.server),
            self.server.wants(&self.client),
        );
        self.client.watch(poll, number, client)?;
        self.server.watch(poll, number, server)
    }
}

impl End {
    /// Whether a connection on its way has arrived.
    fn taken(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads once, and writes what the other end takes.
    fn carry_to(&mut self, other: &mut End) -> io::Result<()> {
        if self.said.is_empty() && !self.ended {
            let mut buffer = [0; BUFFER];
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(length) => {
                    let taken = write(&other.stream, &buffer[..length])?;
                    self.said.extend_from_slice(&buffer[taken..length]);
                }
                Err(error) if is_later(&error) => {}
                Err(error) => return Err(error),
            }
        } else if !self.said.is_empty() {
            let taken = write(&other.stream, &self.said)?;
            self.said.drain(..taken);
            if self.said.is_empty() {
                self.said = Vec::new();
            }
        }
        if self.ended && self.said.is_empty() && !other.told {
            other.told = true;
            match other.stream.shutdown(Shutdown::Write) {
                Err(error) if error.kind() != io::ErrorKind::NotConnected => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// What is to be waited for here.
    fn wants(&self, other: &End) -> Option<Flags> {
        let mut flags = Flags::empty();
        flags.set(Flags::IN, self.said.is_empty() && !self.ended);
        flags.set(Flags::OUT, !other.said.is_empty());
        // Of one that is watched an end is told, wanted or not, again and again.
        (!flags.is_empty()).then_some(flags)
    }

    fn watch(&mut self, poll: &Poll, number: u64, wanted: Option<Flags>) -> io::Result<()> {
        if self.watched != wanted {
            match wanted {
                Some(flags) if self.watched.is_some() => {
                    poll.change(&self.stream, self.kind, number, flags)?;
                }
                Some(flags) => poll.watch(&self.stream, self.kind, number, flags)?,
                None => poll.forget(&self.stream),
            }
            self.watched = wanted;
        }
        Ok(())
    }
}

/// Writes once; how much was taken.
fn write(mut to: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match to.write(bytes) {
        Err(error) if is_later(&error) => Ok(0),
        other => other,
    }
}
