//! An unpacked layer once more, with other owners: for hosts whose kernel maps no ids of its file system.
//!
//! The copy is an overlay layer as the first one is: whiteouts, opaque marks and every other attribute come along.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Statx, Uid, XattrFlags};
use rustix::io::Errno;

use crate::diff::holes;
use crate::disk::{self, Context, Listing};
use crate::ids::{self, Map};
use crate::overlay;
use crate::tar::Segment;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path:?}: its {kind} {id} is not in the map")]
    Owner {
        path: String,
        kind: &'static str,
        id: u32,
    },
    #[error("copy {path:?}")]
    Copy {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Default, serde::Serialize)]
pub struct Copied {
    entries: u64,
    bytes: u64,
    skipped_sockets: u64,
}

const LOOK_IN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW);
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
const NEW: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const BUFFER: usize = 256 * 1024;

struct Copier<'a> {
    target: OwnedFd,
    ids: (&'a Map, &'a Map),
    /// Where the first name of a file with several lies in the copy.
    linked: HashMap<(u64, u32, u32), Vec<u8>>,
    copied: Copied,
    buffer: Vec<u8>,
}

/// A directory that is being copied, and what of it is still to come.
struct Level {
    from: Listing,
    to: OwnedFd,
    found: Statx,
    path: Vec<u8>,
}

/// Copies what lies in `source` into the new directory `target`. What was made before a failure stays.
pub fn copy(source: &OwnedFd, target: &Path, ids: (&Map, &Map)) -> Result<Copied> {
    use std::os::unix::ffi::OsStrExt;
    rustix::process::umask(Mode::empty());
    rustix::fs::mkdir(target, Mode::RWXU).on("make directory", target.as_os_str().as_bytes())?;
    let mut copier = Copier {
        target: disk::root(target)?,
        ids,
        linked: HashMap::new(),
        copied: Copied::default(),
        buffer: vec![0; BUFFER],
    };
    let from = disk::directory(source, b"").on("open", b".")?;
    let to = disk::directory(&copier.target, b"").on("open", b".")?;
    let found = disk::look_at(&from).on("look at", b".")?;
    let mut levels = vec![level(from, to, found, Vec::new())];
    while let Some(here) = levels.last_mut() {
        match here.from.take().on("list", &here.path)? {
            Some(name) => {
                if let Some(below) = copier.one(here, &name.bytes)? {
                    levels.push(below);
                }
            }
            None => {
                copier.finish(&here.from.open, &here.to, &here.found, &here.path)?;
                levels.pop();
            }
        }
    }
    Ok(copier.copied)
}

fn level(from: OwnedFd, to: OwnedFd, found: Statx, path: Vec<u8>) -> Level {
    Level {
        from: Listing::new(from),
        to,
        found,
        path,
    }
}

impl Copier<'_> {
    fn one(&mut self, here: &Level, name: &[u8]) -> Result<Option<Level>> {
        let path = disk::join(&here.path, name);
        let found = disk::look(&here.from.open, name).and_then(|found| found.ok_or(Errno::NOENT));
        let found = found.on("look at", &path)?;
        self.copied.entries += 1;
        let kind = disk::kind(&found);
        if kind == FileType::Directory {
            let from = disk::beneath(&here.from.open, name, LOOK_IN).on("open", &path)?;
            rustix::fs::mkdirat(&here.to, name, Mode::RWXU).on("make directory", &path)?;
            let to = disk::beneath(&here.to, name, LOOK_IN).on("open", &path)?;
            return Ok(Some(level(from, to, found, path)));
        }
        if found.stx_nlink > 1 {
            let inode = (found.stx_ino, found.stx_dev_major, found.stx_dev_minor);
            if let Some(first) = self.linked.get(&inode) {
                // No link is on the way: the copy is nobody else's yet.
                rustix::fs::linkat(&self.target, &first[..], &here.to, name, AtFlags::empty())
                    .on("link", &path)?;
                return Ok(None);
            }
            self.linked.insert(inode, path.clone());
        }
        match kind {
            FileType::RegularFile => {
                let from = disk::beneath(&here.from.open, name, READ).on("open", &path)?;
                let found = disk::look_at(&from).on("look at", &path)?;
                let to = rustix::fs::openat(&here.to, name, NEW, Mode::RUSR | Mode::WUSR)
                    .on("create", &path)?;
                let to = File::from(to);
                let from = self.data(from, &to, &found, &path)?;
                self.finish(&from, &to, &found, &path)?;
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(&here.from.open, name, Vec::new())
                    .on("read link", &path)?;
                rustix::fs::symlinkat(&link, &here.to, name).on("link", &path)?;
                self.finish_node(&here.to, name, &found, &path)?;
            }
            FileType::Socket | FileType::Unknown => {
                self.copied.entries -= 1;
                self.copied.skipped_sockets += 1;
            }
            _ => {
                let device = rustix::fs::makedev(found.stx_rdev_major, found.stx_rdev_minor);
                let mode = Mode::from_raw_mode(disk::mode(&found));
                rustix::fs::mknodat(&here.to, name, kind, mode, device).on("make node", &path)?;
                self.finish_node(&here.to, name, &found, &path)?;
            }
        }
        Ok(None)
    }

    /// The bytes of a file, its holes left out.
    fn data(&mut self, from: OwnedFd, to: &File, found: &Statx, path: &[u8]) -> Result<File> {
        let failed = |source| Error::Copy {
            path: disk::show(path).into_owned(),
            source,
        };
        let size = found.stx_size;
        let whole = vec![Segment {
            offset: 0,
            length: size,
        }];
        let segments = holes(&from, found)
            .on("look for holes in", path)?
            .unwrap_or(whole);
        let from = File::from(from);
        to.set_len(size).map_err(failed)?;
        for segment in segments {
            let (mut at, end) = (segment.offset, segment.offset + segment.length);
            while at < end {
                let copied = self.piece(&from, to, at, end - at).map_err(failed)?;
                if copied == 0 {
                    return Err(failed(io::ErrorKind::UnexpectedEof.into()));
                }
                at += copied;
            }
            self.copied.bytes += segment.length;
        }
        Ok(from)
    }

    /// Some bytes, shared where the file system shares, else copied.
    fn piece(&mut self, from: &File, to: &File, at: u64, left: u64) -> io::Result<u64> {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
        let (mut off_in, mut off_out) = (at, at);
        match rustix::fs::copy_file_range(from, Some(&mut off_in), to, Some(&mut off_out), most) {
            Ok(copied) => return Ok(copied as u64),
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let most = most.min(self.buffer.len());
        let bytes = from.read_at(&mut self.buffer[..most], at)?;
        to.write_all_at(&self.buffer[..bytes], at)?;
        Ok(bytes as u64)
    }

    fn owner(&self, found: &Statx, path: &[u8]) -> Result<(Option<Uid>, Option<Gid>)> {
        let mapped = |map: &Map, kind, id| {
            map.to_host(id).ok_or_else(|| Error::Owner {
                path: disk::show(path).into_owned(),
                kind,
                id,
            })
        };
        let uid = mapped(self.ids.0, "user", found.stx_uid)?;
        let gid = mapped(self.ids.1, "group", found.stx_gid)?;
        Ok((Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
    }

    fn finish(&self, from: impl AsFd, to: impl AsFd, found: &Statx, path: &[u8]) -> Result<()> {
        let (uid, gid) = self.owner(found, path)?;
        rustix::fs::fchown(&to, uid, gid).on("set owner of", path)?;
        let root = self.ids.0.to_host(0).unwrap_or(0);
        for name in disk::attributes(&from).on("list attributes of", path)? {
            let value =
                disk::attribute(&from, &disk::show(&name)).on("read attributes of", path)?;
            let Some(mut value) = value else { continue };
            if name == ids::CAPABILITY {
                value = ids::capability_to_host(&value, root);
            }
            rustix::fs::fsetxattr(&to, &name[..], &value, XattrFlags::empty())
                .on("set an attribute of", path)?;
        }
        rustix::fs::fchmod(&to, Mode::from_raw_mode(disk::mode(found))).on("set mode of", path)?;
        Ok(rustix::fs::futimens(&to, &disk::times_of(found)).on("date", path)?)
    }

    fn finish_node(&self, to: &OwnedFd, name: &[u8], found: &Statx, path: &[u8]) -> Result<()> {
        if overlay::is_whiteout(found) {
            return Ok(());
        }
        let (uid, gid) = self.owner(found, path)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(to, name, uid, gid, flags).on("set owner of", path)?;
        if disk::kind(found) != FileType::Symlink && disk::mode(found) & 0o6000 != 0 {
            // A change of owner takes these bits away. The name was made here, and is no link.
            let mode = Mode::from_raw_mode(disk::mode(found));
            rustix::fs::chmodat(to, name, mode, AtFlags::empty()).on("set mode of", path)?;
        }
        Ok(rustix::fs::utimensat(to, name, &disk::times_of(found), flags).on("date", path)?)
    }
}
