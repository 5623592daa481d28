//! Descriptors that others made, which may not wait: then this does.
//!
//! A connection that an event loop handed over carries `O_NONBLOCK`, which is not ours to take away.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Reads and writes to the end, however the descriptor was left.
#[derive(Debug)]
pub struct Patient(pub OwnedFd);

impl Patient {
    fn wait(&self, what: PollFlags) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.0, what)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.0, &mut *buffer) {
                Ok(bytes) => return Ok(bytes),
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Write for Patient {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.0, data) {
                Ok(bytes) => return Ok(bytes),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
