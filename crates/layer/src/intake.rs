//! An archive on its way in, bounded: what `unpack`, `receive`, `keep` and `copy-in` have in common.

use std::fs::File;
use std::io::{BufRead, Write};
use std::os::unix::fs::FileExt;

use crate::disk;
use crate::stream::{self, Stream};
use crate::tar::{self, Entry, Kind, Reader};

/// How much an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the archive, and of its files with their holes.
    pub bytes: u64,
    pub entries: u64,
    /// Bytes inflated for one byte read; 0 for any number.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 64 << 30,
            entries: 4_000_000,
            ratio: 300,
        }
    }
}

impl Limits {
    pub fn stream(&self) -> stream::Limits {
        stream::Limits {
            bytes: self.bytes,
            ratio: self.ratio,
        }
    }
}

/// Why an archive as a whole is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("after entry {path:?}")]
    Archive {
        path: String,
        #[source]
        source: tar::Error,
    },
    #[error("the archive has more than {0} entries")]
    Entries(u64),
    #[error("the files of the archive hold more than {0} bytes")]
    Bytes(u64),
    #[error("read the archive")]
    Read(#[source] std::io::Error),
    #[error("the archive was not read to its end")]
    Cut,
}

/// Why a file does not get its data.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    #[error(transparent)]
    Archive(#[from] tar::Error),
    #[error("write")]
    Write(#[source] std::io::Error),
}

/// What came so far.
#[derive(Debug)]
pub struct Tally {
    limits: Limits,
    pub entries: u64,
    /// Of all files together, holes included.
    pub bytes: u64,
}

impl Tally {
    pub fn new(limits: Limits) -> Tally {
        Tally {
            limits,
            entries: 0,
            bytes: 0,
        }
    }

    /// Reads the next entry; false at the end of the archive.
    pub fn next<R: BufRead>(
        &mut self,
        archive: &mut Reader<R>,
        entry: &mut Entry,
    ) -> Result<bool, Error> {
        if !archive.next(entry).map_err(|source| after(entry, source))? {
            return Ok(false);
        }
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::Entries(self.limits.entries));
        }
        if entry.kind == Kind::File {
            self.bytes = self.bytes.saturating_add(entry.size);
        }
        if self.bytes > self.limits.bytes {
            return Err(Error::Bytes(self.limits.bytes));
        }
        Ok(true)
    }
}

pub fn after(entry: &Entry, source: tar::Error) -> Error {
    Error::Archive {
        path: disk::show(&entry.path).into_owned(),
        source,
    }
}

/// Reads what follows the last entry: the digests are those of the whole.
pub fn drain(mut stream: Stream) -> Result<(), Error> {
    stream.drain().map_err(Error::Read)
}

/// The data of a file, its holes left out.
pub fn fill<R: BufRead>(
    file: &mut File,
    archive: &mut Reader<R>,
    entry: &Entry,
) -> Result<(), FillError> {
    let Some(segments) = &entry.sparse else {
        loop {
            let chunk = archive.chunk()?;
            if chunk.is_empty() {
                return Ok(());
            }
            file.write_all(chunk).map_err(FillError::Write)?;
            let bytes = chunk.len();
            archive.consume(bytes);
        }
    };
    for segment in segments {
        let (mut at, end) = (segment.offset, segment.offset + segment.length);
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let chunk = archive.chunk()?;
            let bytes = chunk.len().min(left);
            file.write_all_at(&chunk[..bytes], at)
                .map_err(FillError::Write)?;
            archive.consume(bytes);
            at += bytes as u64;
        }
    }
    file.set_len(entry.size).map_err(FillError::Write)
}
