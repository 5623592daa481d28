//! A cgroup's files: each holds a number, a word, or lines of keys and numbers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::Error;

/// Files of cgroups are small; what is longer was not made by the kernel.
const LONGEST: u64 = 4 << 20;

pub(crate) fn write(path: &Path, value: &str) -> Result<(), Error> {
    let open = fs::OpenOptions::new().write(true).open(path);
    let mut file = open.map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })?;
    // One write call: the kernel takes each write as a value of its own.
    let written = file.write(value.as_bytes());
    written.map(|_| ()).map_err(|source| Error::Write {
        path: path.to_owned(),
        value: value.to_owned(),
        source,
    })
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let fail = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    fs::File::open(path)
        .map_err(fail)?
        .take(LONGEST)
        .read_to_string(&mut text)
        .map_err(fail)?;
    Ok(text)
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
