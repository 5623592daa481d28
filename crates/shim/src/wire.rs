//! One connection that speaks ttrpc: reads without waiting, keeps what the peer does not take yet.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::stdio::Scratch;
use crate::ttrpc::{Decoder, Incoming};

/// A peer that asks without reading the answers is not read any more above this many bytes.
const UNREAD_ANSWERS: usize = 1 << 20;
/// How often one connection is read before others have their turn.
const TURN: usize = 8;

#[derive(Debug)]
pub struct Wire {
    fd: OwnedFd,
    decoder: Decoder,
    out: Vec<u8>,
    sent: usize,
}

/// What one turn of reading brought.
#[derive(Debug, Default)]
pub struct Received {
    pub messages: Vec<Incoming>,
    /// There may be more to read.
    pub more: bool,
    /// The peer is gone, or spoke something else.
    pub closed: bool,
}

impl Wire {
    pub fn new(fd: OwnedFd) -> Wire {
        Wire {
            fd,
            decoder: Decoder::default(),
            out: Vec::new(),
            sent: 0,
        }
    }

    /// Reads for one turn.
    pub fn receive(&mut self, scratch: &mut Scratch) -> Received {
        let mut received = Received::default();
        for _ in 0..TURN {
            if self.out.len() - self.sent > UNREAD_ANSWERS {
                return received;
            }
            let chunk = scratch.chunk();
            match rustix::net::recv(&self.fd, &mut *chunk, RecvFlags::DONTWAIT) {
                Ok((count, _)) if count > 0 => self.decoder.push(&chunk[..count]),
                Err(Errno::AGAIN) => return received,
                Err(Errno::INTR) => continue,
                Ok(_) | Err(_) => {
                    received.closed = true;
                    return received;
                }
            }
            loop {
                match self.decoder.next() {
                    Ok(Some(message)) => received.messages.push(message),
                    Ok(None) => break,
                    Err(_) => {
                        received.closed = true;
                        return received;
                    }
                }
            }
        }
        received.more = true;
        received
    }

    /// Where answers and requests are appended; [`Wire::flush`] sends them.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Sends what the peer takes now.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match rustix::net::send(
                &self.fd,
                &self.out[self.sent..],
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out = Vec::new();
        self.sent = 0;
        Ok(())
    }

    pub fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
