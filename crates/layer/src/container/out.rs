//! Files of a container as an archive: one path as Docker's `GET /containers/{id}/archive`, or all of it as its export.
//!
//! The container may run: what vanishes between two looks is left out, and a file that shrinks is filled up with zeros,
//! because its size was said before.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, OFlags, Statx};
use rustix::io::Errno;

use super::inside::{Asked, within};
use super::{Error, Result};
use crate::diff::holes;
use crate::disk::{self, Context, Listing};
use crate::ids::{self, Map};
use crate::tar::{Attributes, Entry, Kind, Segment, Writer};

/// Who owns what nobody of the container owns: what its processes see there too.
const NOBODY: u32 = 65_534;
const BUFFER: usize = 256 * 1024;
/// Files with several names that are remembered; more come as files of their own.
const MOST_LINKED: usize = 1 << 20;

/// File systems whose files are no files (linux/magic.h, and those of their own headers): proc, sysfs, cgroup and cgroup2,
/// devpts, mqueue, debugfs, tracefs, securityfs, bpf, pstore, efivarfs, configfs, binfmt_misc, nsfs.
const PSEUDO: [u64; 15] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x1cd1,
    0x1980_0202,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x6165_676c,
    0xde5e_81e4,
    0x6265_6570,
    0x4249_4e4d,
    0x6e73_6673,
];

/// What was written.
#[derive(Debug, Default, serde::Serialize)]
pub struct Packed {
    pub entries: u64,
    /// What vanished, is a socket, or cannot be read.
    pub skipped: u64,
}

struct Packer<'a, W: Write> {
    archive: Writer<BufWriter<W>>,
    ids: (&'a Map, &'a Map),
    /// The only mount whose files count; None for all.
    mount: Option<u64>,
    linked: HashMap<(u64, u32, u32), Vec<u8>>,
    packed: Packed,
    buffer: Vec<u8>,
}

/// Writes what lies at a path, under the names that Docker gives it.
pub fn copy_out<W: Write>(
    root: &OwnedFd,
    asked: &Asked,
    ids: (&Map, &Map),
    target: W,
) -> Result<Packed> {
    let handle = asked.open(root)?;
    let found = disk::look_at(&handle).on("look at", &asked.path)?;
    let mut packer = Packer::new(target, ids, None);
    let name = asked.name().to_vec();
    if disk::kind(&found) == FileType::Directory {
        let open =
            within(&handle, b"", OFlags::RDONLY | OFlags::DIRECTORY).on("open", &asked.path)?;
        // The root directory's own name is empty beside those below it.
        let prefix = if name == b"/" { Vec::new() } else { name };
        packer.directory(&open, &found, &[&prefix[..], b"/"].concat())?;
        packer.below(open, prefix, true)?;
    } else {
        let (parent, last) = disk::split(&asked.path);
        let parent = within(root, parent, OFlags::PATH | OFlags::DIRECTORY).on("open", parent)?;
        packer.other(&parent, last, &found, &name)?;
    }
    packer.finish()
}

/// Writes everything below the root, without what is mounted on it.
pub fn export<W: Write>(root: &OwnedFd, ids: (&Map, &Map), target: W) -> Result<Packed> {
    let found = disk::look_at(root).on("look at", b".")?;
    let mut packer = Packer::new(target, ids, Some(found.stx_mnt_id));
    let open = within(root, b"", OFlags::RDONLY | OFlags::DIRECTORY).on("open", b".")?;
    packer.below(open, Vec::new(), false)?;
    packer.finish()
}

/// A directory on the way, and what of it is still to come.
struct Level {
    listing: Listing,
    prefix: Vec<u8>,
    slash: bool,
}

impl<'a, W: Write> Packer<'a, W> {
    fn new(target: W, ids: (&'a Map, &'a Map), mount: Option<u64>) -> Packer<'a, W> {
        Packer {
            archive: Writer::new(BufWriter::with_capacity(BUFFER, target)),
            ids,
            mount,
            linked: HashMap::new(),
            packed: Packed::default(),
            buffer: vec![0; BUFFER],
        }
    }

    fn finish(self) -> Result<Packed> {
        let mut out = self.archive.finish().map_err(Error::Write)?;
        out.flush().map_err(Error::Write)?;
        Ok(self.packed)
    }

    fn skip(&mut self) {
        self.packed.skipped += 1;
    }

    /// Everything below a directory, in the order of names. `slash`: these begin with one even where the prefix is empty.
    fn below(&mut self, open: OwnedFd, prefix: Vec<u8>, slash: bool) -> Result<()> {
        let level = |open: OwnedFd, prefix: Vec<u8>, slash| Level {
            listing: Listing::new(open),
            prefix,
            slash,
        };
        let mut levels = vec![level(open, prefix, slash)];
        while let Some(here) = levels.last_mut() {
            let Some(name) = here.listing.take().on("list", &here.prefix)? else {
                levels.pop();
                continue;
            };
            let dir = &here.listing.open;
            let mut path = here.prefix.clone();
            if here.slash || !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name.bytes);
            let Some(found) = disk::look(dir, &name.bytes).on("look at", &path)? else {
                self.skip();
                continue;
            };
            if self.mount.is_some_and(|mount| mount != found.stx_mnt_id) {
                self.mount_point(&found, path)?;
            } else if disk::kind(&found) != FileType::Directory {
                self.other(dir, &name.bytes, &found, &path)?;
            } else {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let open = match disk::beneath(dir, &name.bytes, flags) {
                    Ok(open) => open,
                    Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
                        return Err(errno).on("open", &path)?;
                    }
                    Err(_) => {
                        self.skip();
                        continue;
                    }
                };
                let other_mount =
                    found.stx_mnt_id != disk::look_at(dir).on("look at", &path)?.stx_mnt_id;
                self.directory(&open, &found, &[&path[..], b"/"].concat())?;
                if !(other_mount && is_pseudo(&open)) {
                    levels.push(level(open, path, false));
                }
            }
        }
        Ok(())
    }

    /// What a mount covers cannot be seen; it is as the engine made it, empty.
    fn mount_point(&mut self, found: &Statx, mut path: Vec<u8>) -> Result<()> {
        let mut kind = Kind::File;
        if disk::kind(found) == FileType::Directory {
            kind = Kind::Directory;
            path.push(b'/');
        }
        self.packed.entries += 1;
        let entry = Entry {
            path,
            kind,
            mode: 0o755,
            ..Entry::default()
        };
        self.archive.entry(&entry).map_err(Error::Write)
    }

    fn describe(&self, path: &[u8], kind: Kind, found: &Statx) -> Entry {
        Entry {
            path: path.to_vec(),
            kind,
            mode: disk::mode(found),
            uid: self.ids.0.to_container(found.stx_uid).unwrap_or(NOBODY),
            gid: self.ids.1.to_container(found.stx_gid).unwrap_or(NOBODY),
            mtime: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
            major: found.stx_rdev_major,
            minor: found.stx_rdev_minor,
            ..Entry::default()
        }
    }

    fn directory(&mut self, open: &OwnedFd, found: &Statx, path: &[u8]) -> Result<()> {
        let mut entry = self.describe(path, Kind::Directory, found);
        entry.attributes = attributes(open, self.ids.0);
        self.packed.entries += 1;
        self.archive.entry(&entry).map_err(Error::Write)
    }

    fn other(&mut self, dir: impl AsFd, name: &[u8], found: &Statx, path: &[u8]) -> Result<()> {
        let kind = match disk::kind(found) {
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::Char,
            FileType::BlockDevice => Kind::Block,
            FileType::Fifo => Kind::Fifo,
            _ => {
                self.skip();
                return Ok(());
            }
        };
        let mut entry = self.describe(path, kind, found);
        let inode = (found.stx_ino, found.stx_dev_major, found.stx_dev_minor);
        if let Some(first) = self.linked.get(&inode).filter(|_| found.stx_nlink > 1) {
            entry.kind = Kind::HardLink;
            entry.link = first.clone();
        } else if kind == Kind::File {
            return self.file(dir, name, found, entry);
        } else if kind == Kind::Symlink {
            match rustix::fs::readlinkat(dir, name, Vec::new()) {
                Ok(target) => entry.link = target.into_bytes(),
                Err(_) => {
                    self.skip();
                    return Ok(());
                }
            }
        }
        self.remember(found, path);
        self.packed.entries += 1;
        self.archive.entry(&entry).map_err(Error::Write)
    }

    fn remember(&mut self, found: &Statx, path: &[u8]) {
        if found.stx_nlink > 1 && self.linked.len() < MOST_LINKED {
            let inode = (found.stx_ino, found.stx_dev_major, found.stx_dev_minor);
            self.linked.entry(inode).or_insert_with(|| path.to_vec());
        }
    }

    fn file(&mut self, dir: impl AsFd, name: &[u8], seen: &Statx, mut entry: Entry) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened =
            disk::beneath(dir, name, flags).and_then(|open| Ok((disk::look_at(&open)?, open)));
        let (found, open) = match opened {
            Ok((found, open)) if disk::kind(&found) == FileType::RegularFile => (found, open),
            Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
                return Err(errno).on("open", &entry.path)?;
            }
            _ => {
                self.skip();
                return Ok(());
            }
        };
        if disk::same(&found, seen) {
            self.remember(seen, &entry.path);
        } else {
            entry = self.describe(&entry.path, Kind::File, &found);
        }
        entry.attributes = attributes(&open, self.ids.0);
        entry.size = found.stx_size;
        entry.sparse = holes(&open, &found).unwrap_or(None);
        self.packed.entries += 1;
        self.archive.entry(&entry).map_err(Error::Write)?;
        let whole = [Segment {
            offset: 0,
            length: entry.size,
        }];
        let segments = entry.sparse.as_deref().unwrap_or(&whole);
        let file = File::from(open);
        for segment in segments {
            self.segment(&file, segment, &entry.path)?;
        }
        let stored = segments.iter().map(|segment| segment.length).sum();
        self.archive.pad(stored).map_err(Error::Write)
    }

    fn segment(&mut self, file: &File, segment: &Segment, path: &[u8]) -> Result<()> {
        let (mut at, end) = (segment.offset, segment.offset + segment.length);
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let most = left.min(self.buffer.len());
            let mut bytes = match file.read_at(&mut self.buffer[..most], at) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(|source| Error::File {
                    path: disk::show(path).into_owned(),
                    source,
                })?,
            };
            if bytes == 0 {
                self.buffer[..most].fill(0);
                bytes = most;
            }
            self.archive
                .data(&self.buffer[..bytes])
                .map_err(Error::Write)?;
            at += bytes as u64;
        }
        Ok(())
    }
}

fn is_pseudo(open: &OwnedFd) -> bool {
    rustix::fs::fstatfs(open).is_ok_and(|found| PSEUDO.contains(&(found.f_type as u64)))
}

/// What a file system does not tell is not there.
fn attributes(open: &OwnedFd, uids: &Map) -> Attributes {
    let mut taken = Vec::new();
    for name in disk::attributes(open).unwrap_or_default() {
        let of_users = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        if !of_users && name != ids::CAPABILITY {
            continue;
        }
        let Ok(Some(mut value)) = disk::attribute(open, &disk::show(&name)) else {
            continue;
        };
        if !of_users {
            value = ids::capability_to_container(&value, uids.to_host(0).unwrap_or(0));
        }
        // A PAX record cannot say that a value is empty.
        if !value.is_empty() {
            taken.push((name, value));
        }
    }
    taken
}

/// Kept for directories that lead deep: one descriptor a level.
pub fn allow_depth() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Without it the depth is what the caller's limit allows, and the error says so.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted);
}
