//! Standard input of a process: what its FIFO and its attached clients send, in one stream.

use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::detach::DetachKeys;
use super::handed::Handed;
use super::link::Link;
use super::output::Scratch;
use crate::poll::ClientKey;

#[derive(Debug)]
enum From {
    /// Both ends are held open, so that a writer may come and go; the path to open it anew for its end.
    Fifo(PathBuf),
    Client(Client),
}

/// An attached client that gives input.
#[derive(Debug)]
pub struct Client {
    pub key: ClientKey,
    pub detach: DetachKeys,
    /// The end of the last such client's input is the end of the program's.
    pub once: bool,
}

#[derive(Debug)]
enum Way {
    File(Handed),
    Link(Rc<Link>),
}

impl Way {
    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Way::File(file) => file.read(into),
            Way::Link(link) => link.read(into),
        }
    }
}

#[derive(Debug)]
struct Giver {
    way: Way,
    from: From,
}

impl Giver {
    fn is_of(&self, client: ClientKey) -> bool {
        matches!(&self.from, From::Client(from) if from.key == client)
    }
}

/// What a turn brought to light.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Clients that typed their detach keys.
    pub detached: Vec<ClientKey>,
    /// Clients whose connection served its purpose: their input ended and the program's goes on.
    pub ended: Vec<ClientKey>,
    /// There may be more to read.
    pub more: bool,
}

#[derive(Debug)]
pub struct Input {
    /// `None` before a terminal exists and after the end.
    sink: Option<Handed>,
    terminal: bool,
    givers: Vec<Giver>,
    pending: Vec<u8>,
    sent: usize,
    /// No more is to come: what is pending, then the end.
    closing: bool,
    /// Nobody need give input for it to stay open.
    kept: bool,
}

impl Input {
    pub fn new(terminal: bool) -> Input {
        Input {
            sink: None,
            terminal,
            givers: Vec::new(),
            pending: Vec::new(),
            sent: 0,
            closing: false,
            kept: false,
        }
    }

    /// The input stays open though nobody is attached.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    pub fn connect(&mut self, sink: Handed) {
        self.sink = Some(sink);
    }

    pub fn sink(&self) -> Option<&Handed> {
        self.sink.as_ref()
    }

    /// Whether more may come.
    pub fn is_open(&self) -> bool {
        !self.closing
    }

    pub fn giver_fds(&self) -> impl Iterator<Item = &Handed> {
        self.givers.iter().filter_map(|giver| match &giver.way {
            Way::File(file) => Some(file),
            Way::Link(_) => None,
        })
    }

    pub fn add_fifo(&mut self, fd: Handed, path: PathBuf) {
        self.givers.push(Giver {
            way: Way::File(fd),
            from: From::Fifo(path),
        });
    }

    pub fn add_client(&mut self, fd: Handed, client: Client) {
        self.givers.push(Giver {
            way: Way::File(fd),
            from: From::Client(client),
        });
    }

    pub fn add_link(&mut self, link: Rc<Link>, client: Client) {
        self.givers.push(Giver {
            way: Way::Link(link),
            from: From::Client(client),
        });
    }

    pub fn remove_client(&mut self, client: ClientKey) {
        self.givers.retain(|giver| !giver.is_of(client));
    }

    /// Whether this client still gives input.
    pub fn has_client(&self, client: ClientKey) -> bool {
        self.givers.iter().any(|giver| giver.is_of(client))
    }

    /// The process started: without a giver its input is at its end, as with /dev/null. A terminal stays open.
    pub fn started(&mut self) {
        if self.givers.is_empty() && !self.terminal && !self.kept {
            self.closing = true;
        }
    }

    /// CloseIO: a FIFO ends with what its last writer sent; without one the end comes after what is pending.
    pub fn close(&mut self) {
        let mut fifo = false;
        for giver in &mut self.givers {
            let From::Fifo(path) = &giver.from else {
                continue;
            };
            let reader = rustix::fs::open(
                path,
                OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
                Mode::empty(),
            );
            if let Some(reader) = reader.ok().and_then(|fd| Handed::own(fd).ok()) {
                giver.way = Way::File(reader);
                fifo = true;
            }
        }
        self.closing |= !fifo;
    }

    /// Copies until nothing more is there or the process does not keep up.
    pub fn pump(&mut self, scratch: &mut Scratch) -> Seen {
        let mut seen = Seen::default();
        if !self.flush() || self.sink.is_none() {
            return seen;
        }
        let mut at = 0;
        while at < self.givers.len() && self.pending.is_empty() && !self.closing {
            match self.read(at, scratch, &mut seen) {
                Ok(true) => seen.more = true,
                Ok(false) => at += 1,
                Err(()) => self.end(at, &mut seen),
            }
            if !self.flush() {
                seen.more = false;
                break;
            }
            if seen.more {
                return seen;
            }
        }
        self.flush();
        seen
    }

    /// One giver has no more.
    fn end(&mut self, at: usize, seen: &mut Seen) {
        let giver = self.givers.remove(at);
        let is_client = |giver: &Giver| matches!(giver.from, From::Client(_));
        match giver.from {
            From::Fifo(_) => self.closing |= self.givers.is_empty() && !self.terminal,
            From::Client(client) if client.once && !self.terminal => {
                self.closing |= !self.givers.iter().any(is_client);
            }
            From::Client(client) => {
                if matches!(giver.way, Way::Link(_)) {
                    seen.ended.push(client.key);
                }
            }
        }
    }

    /// Reads once of one giver: whether something came; an error when it ended.
    fn read(&mut self, at: usize, scratch: &mut Scratch, seen: &mut Seen) -> Result<bool, ()> {
        let giver = &mut self.givers[at];
        let chunk = scratch.chunk();
        match giver.way.read(chunk) {
            Ok(0) => Err(()),
            Ok(count) => match &mut giver.from {
                From::Fifo(_) => {
                    self.pending.extend_from_slice(&chunk[..count]);
                    Ok(true)
                }
                From::Client(client) => {
                    if client.detach.filter(&chunk[..count], &mut self.pending) {
                        seen.detached.push(client.key);
                        return Ok(false);
                    }
                    Ok(true)
                }
            },
            Err(Errno::AGAIN) => Ok(false),
            Err(_) => Err(()),
        }
    }

    /// Writes what is pending and, at the end, closes; false when the process does not keep up.
    fn flush(&mut self) -> bool {
        let Some(sink) = &self.sink else {
            return self.pending.is_empty();
        };
        while self.sent < self.pending.len() {
            match sink.write(&self.pending[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN) => return false,
                Err(_) => {
                    // The process closed its input or is gone: the rest goes nowhere.
                    self.closing = true;
                    break;
                }
            }
        }
        self.pending = Vec::new();
        self.sent = 0;
        if self.closing && !self.terminal {
            self.sink = None;
            self.givers.clear();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::os::fd::OwnedFd;

    fn wired() -> (OwnedFd, Input, OwnedFd) {
        let (reader, sink) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (giver, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut input = Input::new(false);
        input.connect(Handed::own(sink).unwrap());
        let client = Client {
            key: 1,
            detach: DetachKeys::new("\x10\x11"),
            once: true,
        };
        input.add_client(Handed::own(giver).unwrap(), client);
        (writer, input, reader)
    }

    fn read(fd: &OwnedFd) -> Vec<u8> {
        let mut buffer = vec![0; 100];
        let count = rustix::io::read(fd, &mut buffer).unwrap();
        buffer.truncate(count);
        buffer
    }

    #[test]
    fn what_is_given_arrives_and_the_end_too() {
        let (writer, mut input, reader) = wired();
        input.started();
        rustix::io::write(&writer, b"hello").unwrap();
        while input.pump(&mut Scratch::default()).more {}
        assert_eq!(read(&reader), b"hello");
        drop(writer);
        input.pump(&mut Scratch::default());
        assert_eq!(read(&reader), b"");
    }

    #[test]
    fn detach_keys_are_seen_and_not_passed_on() {
        let (writer, mut input, reader) = wired();
        rustix::io::write(&writer, b"ab\x10\x11").unwrap();
        let mut detached = Vec::new();
        loop {
            let seen = input.pump(&mut Scratch::default());
            detached.extend(seen.detached);
            if !seen.more {
                break;
            }
        }
        assert_eq!(detached, [1]);
        assert_eq!(read(&reader), b"ab");
    }

    #[test]
    fn input_that_is_kept_outlives_its_clients() {
        let (reader, sink) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut input = Input::new(false);
        input.connect(Handed::own(sink).unwrap());
        input.keep();
        input.started();
        for (key, once) in [(1, false), (2, true)] {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let link = Link::new(ours.into(), true, b"a".to_vec()).unwrap();
            let detach = DetachKeys::default();
            input.add_link(link, Client { key, detach, once });
            drop(theirs);
            while input.pump(&mut Scratch::default()).more {}
            assert_eq!(read(&reader), b"a");
            assert_eq!(input.sink().is_none(), once);
        }
        assert_eq!(read(&reader), b"");
    }

    #[test]
    fn without_a_giver_the_input_is_at_its_end() {
        let (reader, sink) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut input = Input::new(false);
        input.connect(Handed::own(sink).unwrap());
        input.started();
        input.pump(&mut Scratch::default());
        assert_eq!(read(&reader), b"");
    }
}
