//! One stream of a process: read once, written to its log, its FIFO and every attached client.
//!
//! A FIFO or a client that does not keep up holds the stream back, as with Docker and containerd; a log never does. Reading
//! and writing never wait: what a taker did not accept is kept, and nothing more is read until it is gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::SystemTime;

use rustix::io::Errno;

use super::handed::Handed;
use super::link::Link;
use crate::log::{Log, Stream};
use crate::poll::ClientKey;

/// Read at once; a pipe holds as much.
const CHUNK: usize = 64 * 1024;
/// How often one stream is read before others have their turn.
const TURN: usize = 16;

/// Buffers that all streams share while there is something to copy; an idle shim has none.
#[derive(Debug, Default)]
pub struct Scratch {
    chunk: Vec<u8>,
    entries: Vec<u8>,
}

impl Scratch {
    /// Space for one read.
    pub fn chunk(&mut self) -> &mut [u8] {
        self.chunk.resize(CHUNK, 0);
        &mut self.chunk
    }

    pub fn release(&mut self) {
        *self = Scratch::default();
    }
}

/// Where a taker's bytes go.
#[derive(Debug)]
enum To {
    File {
        to: Handed,
        /// What it has not accepted yet, from `sent` on.
        pending: Vec<u8>,
        sent: usize,
    },
    /// The descriptor is this stream's own of the connection, for the loop to watch.
    Link(Rc<Link>, OwnedFd),
}

/// One taker.
#[derive(Debug)]
struct Sink {
    to: To,
    client: Option<ClientKey>,
}

impl Sink {
    /// Writes what is pending; an error means that nobody takes it any more.
    fn flush(&mut self) -> Result<(), Errno> {
        let (to, pending, sent) = match &mut self.to {
            To::Link(link, _) => return link.flush(),
            To::File { to, pending, sent } => (to, pending, sent),
        };
        while *sent < pending.len() {
            match to.write(&pending[*sent..]) {
                Ok(count) => *sent += count,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        *pending = Vec::new();
        *sent = 0;
        Ok(())
    }

    fn send(&mut self, stream: Stream, mut data: &[u8]) -> Result<(), Errno> {
        let (to, pending) = match &mut self.to {
            To::Link(link, _) => return link.send(stream, data),
            To::File { to, pending, .. } => (to, pending),
        };
        while !data.is_empty() {
            match to.write(data) {
                Ok(count) => data = &data[count..],
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        pending.extend_from_slice(data);
        Ok(())
    }

    /// Whether it holds the stream back.
    fn is_behind(&self, stream: Stream) -> bool {
        match &self.to {
            To::File { pending, .. } => !pending.is_empty(),
            To::Link(link, _) => link.holds(stream),
        }
    }

    fn holds_data(&self) -> bool {
        matches!(&self.to, To::File { to, .. } if to.holds_data())
    }

    /// Whose hanging up the program is to learn as in a pipeline; a connection's is a detach.
    fn reader(&self) -> Option<ClientKey> {
        self.client.filter(|_| matches!(self.to, To::File { .. }))
    }
}

/// What became of one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Everything that was there is delivered.
    Idle,
    /// A taker does not keep up; its descriptor reports when it does again.
    Blocked,
    /// There may be more to read.
    More,
    /// The stream ended and everything is delivered.
    Ended,
}

#[derive(Debug)]
pub struct Output {
    stream: Stream,
    /// `None` before a terminal exists and after the end.
    source: Option<Handed>,
    sinks: Vec<Sink>,
    ended: bool,
    /// The client whose end was closed by its reader.
    broken: Option<ClientKey>,
    /// Bytes that nobody took.
    dropped: u64,
}

impl Output {
    pub fn new(stream: Stream) -> Output {
        Output {
            stream,
            source: None,
            sinks: Vec::new(),
            ended: false,
            broken: None,
            dropped: 0,
        }
    }

    pub fn connect(&mut self, source: Handed) {
        self.source = Some(source);
    }

    pub fn add_sink(&mut self, to: Handed, client: Option<ClientKey>) {
        let to = To::File {
            to,
            pending: Vec::new(),
            sent: 0,
        };
        self.sinks.push(Sink { to, client });
    }

    pub fn add_link(&mut self, link: Rc<Link>, client: ClientKey) -> std::io::Result<()> {
        let fd = link.another()?;
        self.sinks.push(Sink {
            to: To::Link(link, fd),
            client: Some(client),
        });
        Ok(())
    }

    pub fn remove_client(&mut self, client: ClientKey) {
        self.sinks.retain(|sink| sink.client != Some(client));
    }

    /// Whether this client has got all that was read so far.
    pub fn delivered(&self, client: ClientKey) -> bool {
        self.sinks
            .iter()
            .all(|sink| sink.client != Some(client) || !sink.is_behind(self.stream))
    }

    pub fn stream(&self) -> Stream {
        self.stream
    }

    pub fn source(&self) -> Option<&Handed> {
        self.source.as_ref()
    }

    pub fn sink_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sinks.iter().map(|sink| match &sink.to {
            To::File { to, .. } => to.as_fd(),
            To::Link(_, fd) => fd.as_fd(),
        })
    }

    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Copies for one turn.
    pub fn pump(&mut self, log: &mut Option<&mut Log>, scratch: &mut Scratch) -> Turn {
        for _ in 0..TURN {
            self.flush();
            if self.sinks.iter().any(|sink| sink.is_behind(self.stream)) {
                return Turn::Blocked;
            }
            let Some(source) = &self.source else {
                return self.finish();
            };
            match source.read(scratch.chunk()) {
                Ok(count) if count > 0 => self.deliver(count, log, scratch),
                Err(Errno::AGAIN) => return Turn::Idle,
                // EIO: the last user of a terminal is gone.
                Ok(_) | Err(_) => {
                    self.source = None;
                    self.ended = true;
                    if let Some(log) = log {
                        log.finish(self.stream, SystemTime::now());
                    }
                }
            }
        }
        Turn::More
    }

    fn finish(&mut self) -> Turn {
        if !self.ended {
            return Turn::Idle;
        }
        // A reader of the FIFO waits for this; what one that comes late has not read yet would be lost.
        self.sinks
            .retain(|sink| sink.client.is_some() || sink.holds_data());
        Turn::Ended
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether a FIFO holds what its reader has not taken.
    pub fn is_untaken(&self) -> bool {
        self.sinks
            .iter()
            .any(|sink| sink.client.is_none() && sink.holds_data())
    }

    /// Closes the FIFO of a stream that has ended, whoever waits.
    pub fn give_up(&mut self) {
        if self.ended {
            self.sinks.retain(|sink| sink.client.is_some());
        }
    }

    fn deliver(&mut self, count: usize, log: &mut Option<&mut Log>, scratch: &mut Scratch) {
        let data = &scratch.chunk[..count];
        if let Some(log) = log {
            log.write(self.stream, data, SystemTime::now(), &mut scratch.entries);
        } else if self.sinks.is_empty() {
            self.dropped += count as u64;
        }
        let (stream, broken) = (self.stream, &mut self.broken);
        self.sinks
            .retain_mut(|sink| keep(sink.send(stream, data), sink.reader(), broken));
    }

    fn flush(&mut self) {
        let broken = &mut self.broken;
        self.sinks
            .retain_mut(|sink| keep(sink.flush(), sink.reader(), broken));
    }

    /// The client whose reader hung up, when nobody else takes this stream.
    pub fn take_broken(&mut self) -> Option<ClientKey> {
        self.broken
            .take()
            .filter(|_| self.sinks.is_empty() && self.source.is_some())
    }

    /// Closes the stream: the program learns as in a pipeline that nobody reads it.
    pub fn hang_up(&mut self) {
        self.source = None;
        self.ended = true;
    }
}

/// Whether a taker stays after this result.
fn keep(
    result: Result<(), Errno>,
    client: Option<ClientKey>,
    broken: &mut Option<ClientKey>,
) -> bool {
    if result == Err(Errno::PIPE) {
        *broken = client.or(*broken);
    }
    result.is_ok()
}

/// A pipe for a stream: the shim's end, and the process's.
pub fn pipe() -> std::io::Result<(Handed, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((Handed::own(reader)?, writer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    fn wired() -> (OwnedFd, Output, OwnedFd) {
        let (source, writer) = pipe().unwrap();
        let (reader, sink) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut output = Output::new(Stream::Stdout);
        output.connect(source);
        output.add_sink(Handed::own(sink).unwrap(), Some(1));
        (writer, output, reader)
    }

    #[test]
    fn a_slow_taker_holds_the_stream_and_loses_nothing() {
        let (writer, mut output, reader) = wired();
        let mut scratch = Scratch::default();
        rustix::io::write(&writer, &[7; 60_000]).unwrap();
        assert_eq!(output.pump(&mut None, &mut scratch), Turn::Idle);
        rustix::io::write(&writer, &[8; 60_000]).unwrap();
        assert_eq!(output.pump(&mut None, &mut scratch), Turn::Blocked);
        assert!(!output.delivered(1));
        drop(writer);
        let mut all = Vec::new();
        let mut buffer = vec![0; 65536];
        while all.len() < 120_000 {
            let count = rustix::io::read(&reader, &mut buffer).unwrap();
            all.extend_from_slice(&buffer[..count]);
            output.pump(&mut None, &mut scratch);
        }
        assert_eq!(output.pump(&mut None, &mut scratch), Turn::Ended);
        assert!(
            all[..60_000].iter().all(|&byte| byte == 7)
                && all[60_000..].iter().all(|&byte| byte == 8)
        );
    }

    #[test]
    fn when_the_last_taker_hangs_up_the_program_learns_it() {
        let (writer, mut output, reader) = wired();
        drop(reader);
        rustix::io::write(&writer, b"x").unwrap();
        assert_eq!(output.pump(&mut None, &mut Scratch::default()), Turn::Idle);
        assert_eq!(output.take_broken(), Some(1));
        output.hang_up();
        assert_eq!(output.pump(&mut None, &mut Scratch::default()), Turn::Ended);
        assert_eq!(rustix::io::write(&writer, b"y"), Err(Errno::PIPE));
    }

    #[test]
    fn without_a_taker_output_is_counted_and_dropped() {
        let (source, writer) = pipe().unwrap();
        let mut output = Output::new(Stream::Stdout);
        output.connect(source);
        rustix::io::write(&writer, &[0; 1000]).unwrap();
        assert_eq!(output.pump(&mut None, &mut Scratch::default()), Turn::Idle);
        assert_eq!(output.dropped(), 1000);
    }
}
