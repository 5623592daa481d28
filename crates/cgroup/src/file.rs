//! A cgroup's files: each holds a number, a word, or lines of keys and numbers.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::Error;

/// Files of cgroups are small; what is longer was not made by the kernel.
const LONGEST: usize = 4 << 20;
/// Room for all but the longest of them at the first reading.
const USUAL: usize = 1 << 10;

fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(
        rustix::fs::CWD,
        path,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// A file that takes values one after the other.
#[derive(Debug)]
pub(crate) struct Sink {
    path: PathBuf,
    file: OwnedFd,
}

impl Sink {
    pub(crate) fn open(path: PathBuf) -> Result<Sink, Error> {
        match open(&path, OFlags::WRONLY) {
            Ok(file) => Ok(Sink { path, file }),
            Err(source) => Err(Error::Open { path, source }),
        }
    }

    /// By one write call: the kernel takes each write as a value of its own.
    pub(crate) fn write(&self, value: &str) -> Result<(), Error> {
        let written = retry(|| rustix::io::write(&self.file, value.as_bytes()));
        written.map(drop).map_err(|source| Error::Write {
            path: self.path.clone(),
            value: value.to_owned(),
            source,
        })
    }

    /// Writes what needs no memory to be told of.
    pub(crate) fn write_bare(&self, value: &[u8]) -> io::Result<()> {
        retry(|| rustix::io::write(&self.file, value)).map(drop)
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => continue,
            answer => return Ok(answer?),
        }
    }
}

pub(crate) fn write(path: &Path, value: &str) -> Result<(), Error> {
    Sink::open(path.to_owned())?.write(value)
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let whole = || -> io::Result<String> {
        let file = open(path, OFlags::RDONLY)?;
        let (mut text, mut length) = (vec![0; USUAL], 0);
        while length < LONGEST {
            if length == text.len() {
                text.resize(length * 2, 0);
            }
            match retry(|| rustix::io::read(&file, &mut text[length..]))? {
                0 => break,
                more => length += more,
            }
        }
        text.truncate(length);
        String::from_utf8(text)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"))
    };
    whole().map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// The text without its end of line; `None` where this kernel has no such file.
pub(crate) fn optional(path: &Path) -> Result<Option<String>, Error> {
    match read(path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        // EOPNOTSUPP: as PSI answers when it is switched off.
        Err(Error::Read { source, .. }) if absent(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

fn absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.kind() == io::ErrorKind::Unsupported
}

/// One number, `max` being the largest; zero where this kernel has no such file.
pub(crate) fn number(path: &Path) -> Result<u64, Error> {
    optional(path)?.map_or(Ok(0), |text| parse(path, &text))
}

pub(crate) fn parse(path: &Path, text: &str) -> Result<u64, Error> {
    match text {
        "max" => Ok(u64::MAX),
        // A counter may momentarily be printed as a small negative number.
        _ if text.starts_with('-') => Ok(0),
        _ => text.parse().map_err(|_| Error::Content {
            path: path.to_owned(),
            content: text.to_owned(),
        }),
    }
}

/// Lines `key number`; empty where this kernel has no such file.
pub(crate) fn keyed(path: &Path) -> Result<BTreeMap<String, u64>, Error> {
    let text = optional(path)?.unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs
        .map(|(key, value)| Ok((key.to_owned(), parse(path, value.trim())?)))
        .collect()
}

/// Numbers separated by spaces.
pub(crate) fn numbers(path: &Path) -> Result<Vec<u64>, Error> {
    let text = optional(path)?.unwrap_or_default();
    text.split_whitespace()
        .map(|word| parse(path, word))
        .collect()
}
