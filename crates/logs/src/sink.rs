//! Entries to descriptors. A descriptor may be somebody else's socket and not block: then its room is waited for.

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::entry::{Entry, Stream};
use crate::moment::Moment;
use crate::{Error, Result};

/// The bytes that are gathered before they are written.
const BATCH: usize = 64 * 1024;
/// The length of a time with nine digits of fraction.
const STAMP: usize = 30;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// Each stream to its own descriptor.
    #[default]
    Raw,
    /// Behind eight bytes: the stream's number, three zeros, the length.
    Framed,
    /// The lines of the file.
    Json,
}

#[derive(Debug, Default)]
pub struct Form {
    pub kind: Kind,
    pub timestamps: bool,
    pub details: bool,
}

/// What was gathered, and for which descriptor.
pub struct Sink<'a> {
    form: &'a Form,
    pending: Vec<u8>,
    stream: Stream,
    outputs: [BorrowedFd<'a>; 2],
}

impl<'a> Sink<'a> {
    pub fn new(form: &'a Form, outputs: [BorrowedFd<'a>; 2]) -> Sink<'a> {
        Sink {
            form,
            outputs,
            pending: Vec::with_capacity(2 * BATCH),
            stream: Stream::Stdout,
        }
    }

    /// Takes an entry and the line that it came from.
    pub fn put(&mut self, entry: &Entry<'_>, line: &[u8]) -> Result<()> {
        let stream = entry.stream();
        match self.form.kind {
            Kind::Raw => {
                if stream != self.stream {
                    // Both may be one terminal: the order is kept.
                    self.flush()?;
                    self.stream = stream;
                }
                self.text(entry);
            }
            Kind::Framed => {
                let at = self.pending.len();
                let number = if stream == Stream::Stderr { 2 } else { 1 };
                self.pending.extend([number, 0, 0, 0, 0, 0, 0, 0]);
                self.text(entry);
                let length = u32::try_from(self.pending.len() - at - 8)
                    .expect("an entry is shorter than its line, which is bounded");
                self.pending[at + 4..at + 8].copy_from_slice(&length.to_be_bytes());
            }
            Kind::Json => {
                self.pending.extend_from_slice(line);
                self.pending.push(b'\n');
            }
        }
        if self.pending.len() >= BATCH {
            self.flush()?;
        }
        Ok(())
    }

    fn text(&mut self, entry: &Entry<'_>) {
        if self.form.timestamps {
            match Moment::rfc3339(entry.time.as_bytes()) {
                Some(moment) if entry.time.len() != STAMP => {
                    self.pending.extend_from_slice(moment.render().as_bytes());
                }
                _ => self.pending.extend_from_slice(entry.time.as_bytes()),
            }
            self.pending.push(b' ');
        }
        if self.form.details {
            entry.details(&mut self.pending);
            self.pending.push(b' ');
        }
        entry.text(&mut self.pending);
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// `Gone`: nobody reads any more.
    pub fn flush(&mut self) -> Result<()> {
        let target = self.outputs[self.stream as usize];
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            match rustix::io::write(target, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_for_room(target)?,
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Error::Gone),
                Err(errno) => return Err(Error::Write(errno.into())),
            }
        }
        self.pending.clear();
        Ok(())
    }
}

fn wait_for_room(target: BorrowedFd<'_>) -> Result<()> {
    let mut found = [PollFd::from_borrowed_fd(target, PollFlags::OUT)];
    match poll(&mut found, None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(Error::Write(errno.into())),
    }
}
