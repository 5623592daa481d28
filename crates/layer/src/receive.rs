//! The archive of an image into plain files of one directory, each digested on the way.
//!
//! The directory's files are numbered; what the archive calls them is only said, never used as a path. One thread reads and
//! inflates, one digests, the caller's writes; chunks are shared between them.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};

use crate::disk::{self, Context};
use crate::intake::{self, Limits, Tally};
use crate::stream::{self, Input, Piece, Stream};
use crate::tar::{Entry, Kind, Reader};
use crate::unpack::path;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("entry {path:?}: {reason}")]
    Entry { path: String, reason: &'static str },
    #[error("write file {file} for entry {path:?}")]
    Write {
        file: u64,
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("write the directory to disk")]
    Sync(#[source] rustix::io::Errno),
    #[error("write the answer")]
    Answer(#[source] std::io::Error),
    #[error(transparent)]
    Intake(#[from] intake::Error),
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub limits: Limits,
    /// Whether everything is on disk when the answer comes.
    pub sync: bool,
}

/// What became of an entry; directories become nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    File {
        path: Vec<u8>,
        file: u64,
        size: u64,
        digest: String,
    },
    /// Another entry, by its path in the archive.
    Link { path: Vec<u8>, link: Vec<u8> },
}

enum Job {
    Bytes(Piece),
    File { path: Vec<u8>, file: u64, size: u64 },
    Link { path: Vec<u8>, link: Vec<u8> },
}

/// How many pieces may wait for their digest.
const AHEAD: usize = 16;

/// Receives what `input` holds; `tell` hears of every entry, in order, from a thread of its own.
pub fn receive(
    input: Input,
    directory: &OwnedFd,
    options: Options,
    tell: impl FnMut(Received) -> std::io::Result<()> + Send,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (stream, feeders) = stream::start_plain(scope, input, options.limits.stream());
        let (jobs, todo) = sync_channel(AHEAD);
        let digester = scope.spawn(move || digest(&todo, tell));
        let outcome = write(stream, directory, options.limits, &jobs);
        drop(jobs);
        let told = digester.join().expect("a panic aborts the program");
        let totals = feeders.finish();
        outcome?;
        told.map_err(Error::Answer)?;
        totals.ok_or(Error::Intake(intake::Error::Cut)).map(|_| ())
    })?;
    if options.sync {
        rustix::fs::syncfs(directory).map_err(Error::Sync)?;
    }
    Ok(())
}

fn digest(
    todo: &Receiver<Job>,
    mut tell: impl FnMut(Received) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut sum = Sha256::new();
    for job in todo {
        match job {
            Job::Bytes(piece) => sum.update(piece.bytes()),
            Job::File { path, file, size } => tell(Received::File {
                path,
                file,
                size,
                digest: stream::named(std::mem::take(&mut sum)),
            })?,
            Job::Link { path, link } => tell(Received::Link { path, link })?,
        }
    }
    Ok(())
}

fn write(
    stream: Stream,
    directory: &OwnedFd,
    limits: Limits,
    jobs: &SyncSender<Job>,
) -> Result<()> {
    let mut archive = Reader::new(stream);
    let mut entry = Entry::default();
    let (mut tally, mut files) = (Tally::new(limits), 0);
    while tally.next(&mut archive, &mut entry)? {
        let refused = |reason| Error::Entry {
            path: disk::show(&entry.path).into_owned(),
            reason,
        };
        let mut path = Vec::new();
        path::clean(&entry.path, &mut path)
            .map_err(|_| refused("its name leads upwards or is too long"))?;
        let job = match entry.kind {
            Kind::Directory => continue,
            Kind::File if entry.sparse.is_some() => {
                return Err(refused("sparse files are not served"));
            }
            Kind::File => {
                let size = entry.size;
                copy(&mut archive, &entry, (directory, files), jobs)?;
                files += 1;
                Job::File {
                    path,
                    file: files - 1,
                    size,
                }
            }
            Kind::HardLink => Job::Link {
                link: target(b"", &entry.link).ok_or_else(|| refused(OUTWARDS))?,
                path,
            },
            Kind::Symlink => Job::Link {
                link: target(disk::split(&path).0, &entry.link).ok_or_else(|| refused(OUTWARDS))?,
                path,
            },
            _ => return Err(refused("an image's archive holds no devices")),
        };
        if jobs.send(job).is_err() {
            // The digester stopped because nobody hears it; that is what is reported.
            return Ok(());
        }
    }
    Ok(intake::drain(archive.into_source())?)
}

const OUTWARDS: &str = "it links out of the archive";

fn copy(
    archive: &mut Reader<Stream>,
    entry: &Entry,
    (directory, number): (&OwnedFd, u64),
    jobs: &SyncSender<Job>,
) -> Result<()> {
    let name = number.to_string();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)
        .on("create", name.as_bytes())?;
    let mut file = File::from(file);
    loop {
        let chunk = archive.chunk();
        let bytes = chunk.map_err(|source| intake::after(entry, source))?.len();
        let Some(piece) = archive.source().piece(bytes).filter(|_| bytes > 0) else {
            return Ok(());
        };
        file.write_all(piece.bytes())
            .map_err(|source| Error::Write {
                file: number,
                path: disk::show(&entry.path).into_owned(),
                source,
            })?;
        archive.consume(bytes);
        if jobs.send(Job::Bytes(piece)).is_err() {
            return Ok(());
        }
    }
}

/// The path in the archive that a link leads to; None when it leads out.
fn target(from: &[u8], link: &[u8]) -> Option<Vec<u8>> {
    if link.starts_with(b"/") || link.is_empty() || link.contains(&0) {
        return None;
    }
    let mut parts: Vec<&[u8]> = from
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .collect();
    for part in link.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/')).filter(|path| !path.is_empty() && path.len() < 4096)
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn links_stay_in_the_archive() {
        let cases: [(&str, &str, Option<&str>); 8] = [
            ("abc", "../def/layer.tar", Some("def/layer.tar")),
            ("", "x/./y", Some("x/y")),
            ("a/b", "../../c", Some("c")),
            ("a", "../../c", None),
            ("", "/etc/passwd", None),
            ("", "", None),
            ("a", "..", None),
            ("a", "b\0c", None),
        ];
        for (from, link, expected) in cases {
            let found = target(from.as_bytes(), link.as_bytes());
            assert_eq!(
                found.as_deref(),
                expected.map(str::as_bytes),
                "{from} {link:?}"
            );
        }
    }
}
