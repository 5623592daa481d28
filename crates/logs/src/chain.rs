//! A log and its older files: `path` is the newest, `path.1` the one before it, `path.2`…
//!
//! The writer renames them while we read, from the highest number down, and then begins `path` anew. So a file is known by
//! its inode, which cannot be used again while it is open, and its neighbour is looked for by the number that it has at that
//! moment. A scan upwards cannot miss a file that moves upwards; for a moment one number may be missing.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Error, Result};

/// How often a neighbour that is being renamed is looked for, and the pause between two looks.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

/// One file of the log, open.
#[derive(Debug)]
pub struct Piece {
    pub file: File,
    identity: Identity,
}

impl Piece {
    pub fn is(&self, other: &Piece) -> bool {
        self.identity == other.identity
    }

    /// The same file once more.
    pub fn again(&self) -> io::Result<Piece> {
        Ok(Piece {
            file: self.file.try_clone()?,
            identity: self.identity,
        })
    }

    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[derive(Debug)]
pub struct Chain {
    path: PathBuf,
}

/// Where a file stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Number(u32),
    /// It was rotated away; this is the highest number that there is.
    Lost(Option<u32>),
}

enum Neighbour {
    Found(Option<Piece>),
    /// There is none, for the file itself is no longer kept; the highest number that there is.
    Lost(Option<u32>),
}

impl Chain {
    pub fn new(path: &Path) -> Chain {
        Chain {
            path: path.to_owned(),
        }
    }

    /// The file that is written to; none before anything was printed.
    pub fn newest(&self) -> Result<Option<Piece>> {
        self.open(0)
    }

    /// The oldest file that is kept.
    pub fn oldest(&self) -> Result<Option<Piece>> {
        match self.place_of(None)? {
            Place::Lost(Some(number)) => self.open(number),
            _ => Ok(None),
        }
    }

    /// The file that was begun after `piece`; none as long as `piece` is the newest. When `piece` is no longer kept, what
    /// followed it may be gone too: then the oldest that is kept.
    pub fn after(&self, piece: &Piece) -> Result<Option<Piece>> {
        match self.neighbour(piece, -1)? {
            Neighbour::Found(found) => Ok(found),
            Neighbour::Lost(oldest) => oldest.map_or(Ok(None), |number| self.open(number)),
        }
    }

    /// The file that was written before `piece`, if it is kept.
    pub fn before(&self, piece: &Piece) -> Result<Option<Piece>> {
        match self.neighbour(piece, 1)? {
            Neighbour::Found(found) => Ok(found),
            Neighbour::Lost(_) => Ok(None),
        }
    }

    /// Whether `piece` is still one of the log's files.
    pub fn has(&self, piece: &Piece) -> Result<bool> {
        Ok(matches!(self.place_of(Some(piece))?, Place::Number(_)))
    }

    /// The file whose number is `step` away from the number of `piece`.
    fn neighbour(&self, piece: &Piece, step: i32) -> Result<Neighbour> {
        for attempt in 1..=TRIES {
            let place = self.place_of(Some(piece))?;
            let at = match place {
                Place::Number(at) => at,
                Place::Lost(oldest) => return Ok(Neighbour::Lost(oldest)),
            };
            let Some(next) = at.checked_add_signed(step) else {
                return Ok(Neighbour::Found(None));
            };
            let beyond = next.checked_add_signed(step);
            let found = match (self.open(next)?, beyond) {
                // A writer that was killed while it renamed leaves a hole for good.
                (None, Some(beyond)) if attempt == TRIES => self.open(beyond)?,
                (None, Some(beyond)) if self.numbered(beyond).exists() => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                (found, _) => found,
            };
            if self.place_of(Some(piece))? == place {
                return Ok(Neighbour::Found(found));
            }
        }
        Ok(Neighbour::Found(None))
    }

    fn place_of(&self, piece: Option<&Piece>) -> Result<Place> {
        let (mut number, mut highest, mut missing) = (0, None, 0);
        // One number may be missing while files are renamed.
        while missing < 2 {
            match std::fs::metadata(self.numbered(number)) {
                Ok(found) => {
                    if piece.is_some_and(|piece| piece.identity == identity(&found)) {
                        return Ok(Place::Number(number));
                    }
                    (highest, missing) = (Some(number), 0);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing += 1,
                Err(error) => return Err(self.failed(number, error)),
            }
            number += 1;
        }
        Ok(Place::Lost(highest))
    }

    fn open(&self, number: u32) -> Result<Option<Piece>> {
        // A FIFO would be waited for.
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let opened = File::options()
            .read(true)
            .custom_flags(nonblock)
            .open(self.numbered(number));
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| self.failed(number, error))?,
        };
        let metadata = file
            .metadata()
            .map_err(|error| self.failed(number, error))?;
        if !metadata.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(self.failed(number, error));
        }
        Ok(Some(Piece {
            identity: identity(&metadata),
            file,
        }))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        PathBuf::from(name)
    }

    fn failed(&self, number: u32, source: io::Error) -> Error {
        Error::Read {
            path: self.numbered(number),
            source,
        }
    }
}

fn identity(metadata: &std::fs::Metadata) -> Identity {
    Identity(metadata.dev(), metadata.ino())
}
