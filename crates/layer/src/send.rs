//! An archive of files that the caller names: what an image is saved as.

use std::fs::File;
use std::io::{BufRead, BufWriter, Read, Write};
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags};

use crate::disk;
use crate::tar::{Entry, Kind, Writer};

/// The longest line; its text may be an image's manifest.
const MOST_LINE: u64 = 32 << 20;
const BUFFER: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("line {line}: {reason}")]
    Line { line: u64, reason: String },
    #[error("read what is to be sent")]
    Input(#[source] std::io::Error),
    #[error("read {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path:?} is no regular file, or became shorter")]
    Changed { path: PathBuf },
    #[error("write the archive")]
    Write(#[source] std::io::Error),
}

type Result<T> = std::result::Result<T, Error>;

/// One line. A name that ends in a slash is a directory.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    file: Option<PathBuf>,
    text: Option<String>,
    link: Option<String>,
    mode: Option<u32>,
    #[serde(default)]
    mtime: i64,
}

/// Writes the archive that the lines of `input` describe; returns how many entries it has.
pub fn send(mut input: impl BufRead, target: impl Write) -> Result<u64> {
    let mut archive = Writer::new(BufWriter::with_capacity(BUFFER, target));
    let mut buffer = vec![0; BUFFER];
    let mut number = 0;
    loop {
        let mut text = Vec::new();
        let read = input.by_ref().take(MOST_LINE).read_until(b'\n', &mut text);
        if read.map_err(Error::Input)? == 0 {
            break;
        }
        number += 1;
        let bad = |reason: String| Error::Line {
            line: number,
            reason,
        };
        let line: Line = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        one(&line, &mut archive, &mut buffer).map_err(|problem| match problem {
            Problem::Line(reason) => bad(reason.to_owned()),
            Problem::Else(error) => error,
        })?;
    }
    let mut out = archive.finish().map_err(Error::Write)?;
    out.flush().map_err(Error::Write)?;
    Ok(number)
}

enum Problem {
    Line(&'static str),
    Else(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::Else(error)
    }
}

fn one<W: Write>(
    line: &Line,
    archive: &mut Writer<W>,
    buffer: &mut [u8],
) -> std::result::Result<(), Problem> {
    if line.name.trim_matches('/').is_empty() || line.name.contains('\0') {
        return Err(Problem::Line("the name is empty or has a NUL byte"));
    }
    let directory = line.name.ends_with('/');
    let mut entry = Entry {
        path: line.name.clone().into_bytes(),
        mode: line.mode.unwrap_or(if directory { 0o755 } else { 0o644 }) & 0o7777,
        mtime: (line.mtime, 0),
        ..Entry::default()
    };
    match (&line.file, &line.text, &line.link) {
        (None, None, None) if directory => {
            entry.kind = Kind::Directory;
            archive.entry(&entry).map_err(Error::Write)?;
        }
        (Some(path), None, None) if !directory => file(path, entry, archive, buffer)?,
        (None, Some(text), None) if !directory => {
            entry.size = text.len() as u64;
            archive
                .entry(&entry)
                .and_then(|()| archive.data(text.as_bytes()))
                .and_then(|()| archive.pad(entry.size))
                .map_err(Error::Write)?;
        }
        (None, None, Some(link)) if !directory && !link.is_empty() && !link.contains('\0') => {
            entry.kind = Kind::Symlink;
            entry.link = link.clone().into_bytes();
            archive.entry(&entry).map_err(Error::Write)?;
        }
        _ => {
            return Err(Problem::Line(
                "one of file, text and link, or a name that ends in a slash",
            ));
        }
    }
    Ok(())
}

fn file<W: Write>(
    path: &PathBuf,
    mut entry: Entry,
    archive: &mut Writer<W>,
    buffer: &mut [u8],
) -> Result<()> {
    let failed = |source: std::io::Error| Error::Read {
        path: path.clone(),
        source,
    };
    let changed = || Error::Changed { path: path.clone() };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let found = disk::look_at(&open).map_err(|errno| failed(errno.into()))?;
    if disk::kind(&found) != FileType::RegularFile {
        return Err(changed());
    }
    entry.size = found.stx_size;
    archive.entry(&entry).map_err(Error::Write)?;
    let mut file = File::from(open).take(entry.size);
    let mut left = entry.size;
    while left > 0 {
        let bytes = file.read(buffer).map_err(failed)?;
        if bytes == 0 {
            return Err(changed());
        }
        archive.data(&buffer[..bytes]).map_err(Error::Write)?;
        left -= bytes as u64;
    }
    archive.pad(entry.size).map_err(Error::Write)
}
