//! The blob's file between those who download and the one who reads: pieces come in any order, reading is in order.
//!
//! The file is the window: who downloads is never held up by who unpacks. What stands without a gap from the start is
//! the frontier. While pieces beyond it may stand the file is as long as the blob, so that a later call takes up a
//! shorter file as it is, and begins anew with one that a kill left at full length.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;

use crate::error::Error;

#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    file: File,
    state: Mutex<State>,
    moved: Condvar,
    taken: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    frontier: u64,
    /// Beyond the frontier: where pieces begin, and where they end.
    ahead: BTreeMap<u64, u64>,
    end: End,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Whole,
    Failed,
}

impl State {
    /// Notes that `from..to` stands; whether the frontier moved.
    fn add(&mut self, from: u64, to: u64) -> bool {
        if from > self.frontier {
            match self.ahead.range_mut(..from).next_back() {
                Some((_, end)) if *end == from => *end = to,
                _ => drop(self.ahead.insert(from, to)),
            }
            return false;
        }
        self.frontier = self.frontier.max(to);
        while let Some(entry) = self.ahead.first_entry() {
            if *entry.key() > self.frontier {
                break;
            }
            self.frontier = self.frontier.max(entry.remove());
        }
        true
    }
}

impl Spool {
    /// Opens the file; what stands in it is the frontier.
    pub fn open(path: &Path, size: Option<u64>) -> Result<Spool, Error> {
        let fail = |what| {
            move |source| Error::File {
                what,
                path: path.to_owned(),
                source,
            }
        };
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(flags).unwrap_or_default())
            .open(path)
            .map_err(fail("open"))?;
        let found = file.metadata().map_err(fail("look at"))?;
        if !found.is_file() {
            let source = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(fail("write into what is no regular file,")(source));
        }
        let mut frontier = found.len();
        if size.is_none_or(|size| frontier >= size) {
            file.set_len(0).map_err(fail("cut"))?;
            frontier = 0;
        }
        Ok(Spool {
            path: path.to_owned(),
            file,
            state: Mutex::new(State {
                frontier,
                ..State::default()
            }),
            moved: Condvar::new(),
            taken: AtomicU64::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; the state is whole either way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = self.path.clone();
        move |source| Error::File { what, path, source }
    }

    pub fn frontier(&self) -> u64 {
        self.state().frontier
    }

    /// How far the reader is.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub fn write(&self, data: &[u8], at: u64) -> Result<(), Error> {
        self.file
            .write_all_at(data, at)
            .map_err(self.failed("write"))?;
        if self.state().add(at, at + data.len() as u64) {
            self.moved.notify_all();
        }
        Ok(())
    }

    /// From now on pieces may come in any order.
    pub fn scatter(&self, size: u64) -> Result<(), Error> {
        self.file.set_len(size).map_err(self.failed("extend"))
    }

    /// Everything is there.
    pub fn whole(&self) {
        self.state().end = End::Whole;
        self.moved.notify_all();
    }

    /// Nothing more comes: only what stands without a gap stays.
    pub fn give_up(&self) {
        self.settle();
        self.state().end = End::Failed;
        self.moved.notify_all();
    }

    /// Forgets what stands beyond the frontier.
    pub fn settle(&self) {
        let mut state = self.state();
        state.ahead.clear();
        // Where this fails the file stays too long, and is begun anew.
        let _ = self.file.set_len(state.frontier);
    }

    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(self.failed("sync"))
    }

    /// A file that is not what it should be is nobody's.
    pub fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    pub fn reader(self: &Arc<Spool>) -> Reader {
        Reader {
            spool: self.clone(),
            at: 0,
        }
    }

    /// Waits until something stands beyond `at`: how far, or None at the end.
    fn beyond(&self, at: u64) -> io::Result<Option<u64>> {
        let mut state = self.state();
        loop {
            if state.frontier > at {
                return Ok(Some(state.frontier));
            }
            match state.end {
                End::Open => {}
                End::Whole => return Ok(None),
                End::Failed => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            state = self
                .moved
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The blob in order, as it comes.
pub struct Reader {
    spool: Arc<Spool>,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(frontier) = self.spool.beyond(self.at)? else {
            return Ok(0);
        };
        let left = usize::try_from(frontier - self.at).unwrap_or(usize::MAX);
        let bytes = buffer.len().min(left);
        let read = self.spool.file.read_at(&mut buffer[..bytes], self.at)?;
        if read == 0 && bytes > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.spool.taken.store(self.at, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frontier_is_what_stands_without_a_gap() {
        let mut state = State::default();
        assert!(!state.add(8, 10));
        assert!(!state.add(10, 12));
        assert!(!state.add(4, 6));
        assert_eq!((state.frontier, state.ahead.len()), (0, 2));
        assert!(state.add(0, 4));
        assert_eq!((state.frontier, state.ahead.len()), (6, 1));
        assert!(state.add(6, 8));
        assert_eq!((state.frontier, state.ahead.len()), (12, 0));
    }
}
