//! One client's connection for all of its streams, as Docker's attach has it: output goes out, in frames when asked, and
//! input comes in on the same socket.
//!
//! The socket's flags belong to whoever handed it over, so every call says for itself that it does not wait. Each stream has at
//! most one chunk in the queue, so that neither starves the other and a client that does not read costs two chunks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketType};

use crate::log::Stream;

/// Of input that nobody takes, so many bytes are read away at the end: a socket that is closed with some left resets.
const LEFT_OVER: usize = 1 << 20;

/// A chunk of a stream under way.
#[derive(Debug)]
struct Queued {
    stream: Stream,
    bytes: Vec<u8>,
    sent: usize,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Queued>,
    early: Vec<u8>,
}

/// A connection, shared by the streams that use it.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
    framed: bool,
    state: RefCell<State>,
}

impl Link {
    /// `early` are bytes of input that were read from the connection already.
    pub fn new(fd: OwnedFd, framed: bool, early: Vec<u8>) -> io::Result<Rc<Link>> {
        if rustix::net::sockopt::socket_type(&fd)? != SocketType::STREAM {
            return Err(Errno::PROTOTYPE.into());
        }
        Ok(Rc::new(Link {
            fd,
            framed,
            state: RefCell::new(State {
                queue: VecDeque::new(),
                early,
            }),
        }))
    }

    /// A descriptor of its own for one stream: the loop tells events apart by descriptors.
    pub fn another(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// The next input; 0 bytes when the client ended it.
    pub fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        let early = &mut self.state.borrow_mut().early;
        if !early.is_empty() {
            let count = early.len().min(into.len());
            into[..count].copy_from_slice(&early[..count]);
            early.drain(..count);
            return Ok(count);
        }
        rustix::io::retry_on_intr(|| rustix::net::recv(&self.fd, &mut *into, RecvFlags::DONTWAIT))
            .map(|(count, _)| count)
    }

    /// Takes a chunk of a stream that has none waiting.
    pub fn send(&self, stream: Stream, data: &[u8]) -> Result<(), Errno> {
        let header = header(stream, data.len());
        let head: &[u8] = if self.framed { &header } else { &[] };
        let mut state = self.state.borrow_mut();
        let sent = if state.queue.is_empty() {
            match self.write(&[IoSlice::new(head), IoSlice::new(data)]) {
                Err(Errno::AGAIN) => 0,
                other => other?,
            }
        } else {
            0
        };
        if sent < head.len() + data.len() {
            let bytes = [head, data].concat();
            state.queue.push_back(Queued {
                stream,
                bytes,
                sent,
            });
        }
        drop(state);
        self.flush()
    }

    /// Writes what waits, of whichever stream.
    pub fn flush(&self) -> Result<(), Errno> {
        let mut state = self.state.borrow_mut();
        while let Some(first) = state.queue.front_mut() {
            match self.write(&[IoSlice::new(&first.bytes[first.sent..])]) {
                Ok(count) => first.sent += count,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error),
            }
            if first.sent == first.bytes.len() {
                state.queue.pop_front();
            }
        }
        Ok(())
    }

    /// Whether this stream has a chunk that the client did not take yet.
    pub fn holds(&self, stream: Stream) -> bool {
        let state = self.state.borrow();
        state.queue.iter().any(|queued| queued.stream == stream)
    }

    /// Whether the client is gone, not only at the end of its input.
    pub fn is_cut(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let gone = PollFlags::HUP | PollFlags::ERR;
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(gone)
    }

    /// The end of everything. Other processes may hold the socket: only a shutdown tells the client.
    pub fn close(&self) {
        let _ = self.flush();
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Both);
        let mut space = [0; 16 * 1024];
        let mut left = LEFT_OVER;
        while let Ok((count, _)) = rustix::net::recv(&self.fd, &mut space, RecvFlags::DONTWAIT) {
            left = left.saturating_sub(count);
            if count == 0 || left == 0 {
                break;
            }
        }
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.fd, parts, &mut SendAncillaryBuffer::default(), flags)
        })
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Docker's header of a chunk: stream, three zeros, length.
fn header(stream: Stream, length: usize) -> [u8; 8] {
    let number = match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    let length = u32::try_from(length).expect("a chunk is 64 KiB at most");
    let mut header = [number, 0, 0, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&length.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn frames_of_two_streams_never_mix() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let link = Link::new(ours.into(), true, Vec::new()).unwrap();
        let chunk = vec![b'x'; 60_000];
        let mut given = 0;
        let streams = [Stream::Stdout, Stream::Stderr];
        while let Some(free) = streams.iter().find(|stream| !link.holds(**stream)) {
            link.send(*free, &chunk).unwrap();
            given += 1;
        }
        // The other one is served too, though the first is always asked first.
        assert!(link.holds(Stream::Stderr));
        for _ in 0..given {
            let mut head = [0; 8];
            theirs.read_exact(&mut head).unwrap();
            assert!(
                head == header(Stream::Stdout, 60_000) || head == header(Stream::Stderr, 60_000)
            );
            let mut body = vec![0; 60_000];
            for piece in body.chunks_mut(30_000) {
                theirs.read_exact(piece).unwrap();
                link.flush().unwrap();
            }
            assert!(body == chunk);
        }
        assert!(!streams.iter().any(|stream| link.holds(*stream)));
    }

    #[test]
    fn early_bytes_come_first_and_the_end_of_input_is_no_hang_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let flags = rustix::fs::fcntl_getfl(&theirs).unwrap();
        let link = Link::new(ours.into(), false, b"early ".to_vec()).unwrap();
        rustix::io::write(&theirs, b"late").unwrap();
        let mut all = Vec::new();
        let mut some = [0; 4];
        while let Ok(count) = link.read(&mut some) {
            all.extend_from_slice(&some[..count]);
        }
        assert_eq!(all, b"early late");
        assert_eq!(rustix::fs::fcntl_getfl(&theirs).unwrap(), flags);
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(link.read(&mut some), Ok(0));
        assert!(!link.is_cut());
        drop(theirs);
        assert!(link.is_cut());
    }

    #[test]
    fn the_end_is_an_end_and_no_reset_though_input_is_left() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let copy = ours.try_clone().unwrap();
        let link = Link::new(ours.into(), false, Vec::new()).unwrap();
        rustix::io::write(&theirs, b"nobody reads this").unwrap();
        link.send(Stream::Stdout, b"bye").unwrap();
        link.close();
        drop((link, copy));
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"bye");
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(Link::new(reader, false, Vec::new()).is_err());
    }
}
