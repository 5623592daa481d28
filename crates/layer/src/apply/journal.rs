//! The journal: one JSON object a line, appended and forced to disk before the step that it announces.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Error, journal_error};

/// An inode as it was. Not its ctime: renaming one of several links of a file changes that for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Identity {
    pub(super) inode: u64,
    pub(super) modified: (i64, u32),
    pub(super) size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase", tag = "op")]
pub(super) enum Operation {
    /// The staged inode goes to `path`, where nothing stands.
    Add {
        path: Name,
        number: u64,
        staged: u64,
    },
    /// The staged inode takes the place of what stands at `path`.
    Replace {
        path: Name,
        number: u64,
        staged: u64,
        before: Identity,
    },
    Delete {
        path: Name,
        number: u64,
        before: Identity,
    },
    Mode {
        path: Name,
        before: u32,
        after: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    /// First of all: where, and under which name content is staged.
    Begin {
        directory: Name,
        device: (u32, u32),
        inode: u64,
        staging: String,
    },
    Do(Operation),
    /// All content is staged and all operations are listed: from here on it is finished.
    Commit,
    /// It cannot be finished: from here on it is undone.
    Undo,
    /// Only the staging directory is left to remove.
    Done,
}

/// Bytes of a path, in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(pub(super) Vec<u8>);

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(
            &self
                .0
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>(),
        )
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pairs = text.as_bytes().chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(serde::de::Error::custom("half a byte"));
        }
        let byte = |pair: &[u8]| {
            std::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        };
        let bytes: Option<Vec<u8>> = pairs.map(byte).collect();
        bytes
            .map(Name)
            .ok_or_else(|| serde::de::Error::custom("no hex"))
    }
}

/// The open journal; its lock goes with it.
pub(super) struct Journal {
    file: File,
    pub(super) path: PathBuf,
}

impl Journal {
    pub(super) fn create(path: &Path) -> Result<Journal, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::CLOEXEC;
        let fail = journal_error(path);
        let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| fail(errno.into()))?;
        Journal {
            file: file.into(),
            path: path.to_owned(),
        }
        .locked()
    }

    /// None when there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Journal>, Error> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => Journal {
                file: file.into(),
                path: path.to_owned(),
            }
            .locked()
            .map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(journal_error(path)(errno.into())),
        }
    }

    fn locked(self) -> Result<Journal, Error> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(self),
            Err(Errno::WOULDBLOCK) => Err(Error::Busy { path: self.path }),
            Err(errno) => Err(journal_error(&self.path)(errno.into())),
        }
    }

    /// Appends lines and waits until they are on disk.
    pub(super) fn write(&mut self, lines: &[Line]) -> Result<(), Error> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)
                .map_err(|error| journal_error(&self.path)(error.into()))?;
            text.push(b'\n');
        }
        self.file
            .write_all(&text)
            .and_then(|()| self.file.sync_data())
            .map_err(journal_error(&self.path))
    }

    /// All whole lines; a cut leaves at most the last one torn.
    pub(super) fn read(&mut self) -> Result<Vec<Line>, Error> {
        let mut text = String::new();
        self.file
            .rewind()
            .and_then(|()| self.file.read_to_string(&mut text))
            .map_err(journal_error(&self.path))?;
        let mut lines = Vec::new();
        for line in text.split_inclusive('\n') {
            let Some(whole) = line.strip_suffix('\n') else {
                break;
            };
            let line = serde_json::from_str(whole);
            lines.push(line.map_err(|_| Error::Malformed {
                path: self.path.clone(),
                reason: "a line cannot be read",
            })?);
        }
        Ok(lines)
    }

    pub(super) fn remove(self) -> Result<(), Error> {
        rustix::fs::unlink(&self.path).map_err(|errno| journal_error(&self.path)(errno.into()))
    }
}
