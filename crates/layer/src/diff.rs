//! An overlay's upper directory as an OCI layer: the way back of `unpack`.
//!
//! Names come in the order of their bytes, a directory before what lies in it, so the same tree gives the same archive.
//! Sockets are left out: no archive holds one. Attributes other than those that `unpack` sets are this host's own.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, OFlags, SeekFrom, Statx};
use rustix::io::Errno;

use crate::changes::{self, Overlay, Place};
use crate::disk::{self, Context};
use crate::ids::{self, Map};
use crate::overlay;
use crate::tar::{Attributes, Entry, Kind, Segment, Writer};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path:?}: its {kind} {id} is not in the map")]
    Owner {
        path: String,
        kind: &'static str,
        id: u32,
    },
    #[error("{path:?}: a layer cannot hold a name that begins with .wh.")]
    Name { path: String },
    #[error("{path:?}: its content lies elsewhere ({mark})")]
    Elsewhere { path: String, mark: String },
    #[error("read {path:?}")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{path:?} changed while it was read")]
    Changed { path: String },
    #[error("write the layer")]
    Write(#[source] std::io::Error),
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

#[derive(Debug)]
pub struct Options {
    pub overlay: Overlay,
    pub uids: Map,
    pub gids: Map,
    /// What was only made to be mounted upon, relative: no part of the layer, as long as it is empty.
    pub hidden: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
pub struct Counts {
    pub entries: u64,
    pub skipped_sockets: u64,
}

/// Writes the layer; returns where it was written.
pub fn diff<W: Write>(options: &Options, target: W) -> Result<(W, Counts), Error> {
    let mut diff = Diff {
        options,
        archive: Writer::new(target),
        linked: HashMap::new(),
        counts: Counts::default(),
    };
    diff.directory(&Place {
        path: Vec::new(),
        lowers: (0..options.overlay.lowers.len()).collect(),
    })?;
    Ok((diff.archive.finish().map_err(Error::Write)?, diff.counts))
}

/// Holes are worth a map from here on.
const WORTH_A_MAP: u64 = 1 << 20;

const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

struct Diff<'a, W> {
    options: &'a Options,
    archive: Writer<W>,
    /// First name of each file that has several.
    linked: HashMap<(u64, u32, u32), Vec<u8>>,
    counts: Counts,
}

impl<W: Write> Diff<'_, W> {
    fn directory(&mut self, place: &Place) -> Result<(), Error> {
        let overlay = &self.options.overlay;
        let upper = disk::directory(&overlay.upper, &place.path).on("open", &place.path)?;
        let mut lowers = changes::open_lowers(overlay, place)?;
        if overlay
            .marks
            .is_opaque(&upper)
            .on("read attributes of", &place.path)?
        {
            // With the lowers known, a mark that hides nothing says nothing.
            if overlay.lowers.is_empty() || !lowers.is_empty() {
                self.mark(&disk::join(&place.path, b".wh..wh..opq"))?;
            }
            lowers.clear();
        }
        for name in disk::names(&upper).on("list", &place.path)? {
            let path = disk::join(&place.path, &name.bytes);
            let Some(found) = disk::look(&upper, &name.bytes).on("look at", &path)? else {
                continue;
            };
            let below = changes::below(overlay, &lowers, &name.bytes).on("look at", &path)?;
            if overlay::is_whiteout(&found) {
                if overlay.lowers.is_empty() || below.is_some() {
                    self.mark(&disk::join(
                        &place.path,
                        &[b".wh.", &name.bytes[..]].concat(),
                    ))?;
                }
                continue;
            }
            if name.bytes.starts_with(b".wh.") {
                return Err(Error::Name { path: shown(&path) });
            }
            if !self.is_hidden(&path, &found, below.is_some()) {
                self.entry(&upper, &name.bytes, &path, &found)?;
            }
            if disk::kind(&found) == FileType::Directory {
                let below = below.filter(|below| disk::kind(&below.found) == FileType::Directory);
                self.directory(&Place {
                    path,
                    lowers: below.map(|below| below.lowers).unwrap_or_default(),
                })?;
            }
        }
        Ok(())
    }

    /// Whether it is a mount point that the container's runtime made.
    fn is_hidden(&self, path: &[u8], found: &Statx, below: bool) -> bool {
        let empty = match disk::kind(found) {
            FileType::Directory => !below,
            FileType::RegularFile => found.stx_size == 0,
            _ => false,
        };
        empty && self.options.hidden.iter().any(|hidden| hidden == path)
    }

    /// An empty file whose name says what is hidden.
    fn mark(&mut self, path: &[u8]) -> Result<(), Error> {
        self.counts.entries += 1;
        self.archive
            .entry(&Entry {
                path: path.to_vec(),
                ..Entry::default()
            })
            .map_err(Error::Write)
    }

    fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        found: &Statx,
    ) -> Result<(), Error> {
        let kind = match disk::kind(found) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::Char,
            FileType::BlockDevice => Kind::Block,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket | FileType::Unknown => {
                self.counts.skipped_sockets += 1;
                return Ok(());
            }
        };
        self.counts.entries += 1;
        let mut entry = self.describe(path, kind, found)?;
        if kind != Kind::Directory && found.stx_nlink > 1 {
            let inode = (found.stx_ino, found.stx_dev_major, found.stx_dev_minor);
            if let Some(first) = self.linked.get(&inode) {
                let link = Entry {
                    kind: Kind::HardLink,
                    link: first.clone(),
                    size: 0,
                    ..entry
                };
                return self.archive.entry(&link).map_err(Error::Write);
            }
            self.linked.insert(inode, path.to_vec());
        }
        match kind {
            Kind::Symlink => {
                entry.link = rustix::fs::readlinkat(dir, name, Vec::new())
                    .on("read link", path)?
                    .into_bytes();
                self.archive.entry(&entry).map_err(Error::Write)
            }
            Kind::File => self.file(dir, name, path, entry),
            Kind::Directory => {
                let open = disk::beneath(
                    dir,
                    name,
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW,
                )
                .on("open", path)?;
                entry.attributes = self.attributes(&open, path)?;
                entry.path.push(b'/');
                self.archive.entry(&entry).map_err(Error::Write)
            }
            _ => self.archive.entry(&entry).map_err(Error::Write),
        }
    }

    fn describe(&self, path: &[u8], kind: Kind, found: &Statx) -> Result<Entry, Error> {
        let owner = |map: &Map, kind, id| {
            map.to_container(id).ok_or_else(|| Error::Owner {
                path: shown(path),
                kind,
                id,
            })
        };
        Ok(Entry {
            path: path.to_vec(),
            kind,
            mode: disk::mode(found),
            uid: owner(&self.options.uids, "user", found.stx_uid)?,
            gid: owner(&self.options.gids, "group", found.stx_gid)?,
            mtime: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
            size: if kind == Kind::File {
                found.stx_size
            } else {
                0
            },
            major: found.stx_rdev_major,
            minor: found.stx_rdev_minor,
            ..Entry::default()
        })
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        mut entry: Entry,
    ) -> Result<(), Error> {
        let open = disk::beneath(dir, name, OPEN).on("open", path)?;
        let found = disk::look_at(&open).on("look at", path)?;
        if disk::kind(&found) != FileType::RegularFile {
            return Err(Error::Changed { path: shown(path) });
        }
        entry.attributes = self.attributes(&open, path)?;
        entry.size = found.stx_size;
        entry.sparse = holes(&open, &found).on("look for holes in", path)?;
        self.archive.entry(&entry).map_err(Error::Write)?;
        let mut file = File::from(open);
        let whole = [Segment {
            offset: 0,
            length: entry.size,
        }];
        let segments = entry.sparse.as_deref().unwrap_or(&whole);
        for segment in segments {
            self.copy(&mut file, segment, path)?;
        }
        let stored = segments.iter().map(|segment| segment.length).sum();
        self.archive.pad(stored).map_err(Error::Write)
    }

    fn copy(&mut self, file: &mut File, segment: &Segment, path: &[u8]) -> Result<(), Error> {
        let mut buffer = vec![0; 256 * 1024];
        let (mut at, end) = (segment.offset, segment.offset + segment.length);
        while at < end {
            let most = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let read = file
                .read_at(&mut buffer[..most], at)
                .map_err(|source| Error::Read {
                    path: shown(path),
                    source,
                })?;
            if read == 0 {
                return Err(Error::Changed { path: shown(path) });
            }
            self.archive.data(&buffer[..read]).map_err(Error::Write)?;
            at += read as u64;
        }
        Ok(())
    }

    fn attributes(&self, open: &OwnedFd, path: &[u8]) -> Result<Attributes, Error> {
        if let Some(mark) = self
            .options
            .overlay
            .marks
            .foreign(open)
            .on("read attributes of", path)?
        {
            return Err(Error::Elsewhere {
                path: shown(path),
                mark,
            });
        }
        let mut taken = Vec::new();
        for name in disk::attributes(open).on("list attributes of", path)? {
            let of_users = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
            if !of_users && name != ids::CAPABILITY {
                continue;
            }
            let Some(value) =
                disk::attribute(open, &disk::show(&name)).on("read attributes of", path)?
            else {
                continue;
            };
            let root = self.options.uids.to_host(0).unwrap_or(0);
            let value = if of_users {
                value
            } else {
                ids::capability_to_container(&value, root)
            };
            // A PAX record cannot say that a value is empty.
            if !value.is_empty() {
                taken.push((name, value));
            }
        }
        Ok(taken)
    }
}

fn shown(path: &[u8]) -> String {
    disk::show(path).into_owned()
}

/// The runs of data of a file that is mostly holes.
pub(crate) fn holes(file: &OwnedFd, found: &Statx) -> rustix::io::Result<Option<Vec<Segment>>> {
    let size = found.stx_size;
    if size < WORTH_A_MAP || found.stx_blocks.saturating_mul(512) > size / 2 {
        return Ok(None);
    }
    let mut segments = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        if end <= start {
            break;
        }
        segments.push(Segment {
            offset: start,
            length: end - start,
        });
        at = end;
    }
    Ok(Some(segments))
}
