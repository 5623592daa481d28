//! Copying what an upper directory holds into the staging directory, with the owner and mode that it is to have.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Statx, Uid, XattrFlags};
use rustix::io::Errno;

use super::plan::mode_to_give;
use super::{Error, shown};
use crate::disk::{self, Context};

/// Where content comes from and whose it becomes.
pub(super) struct Stage<'a> {
    pub(super) upper: &'a OwnedFd,
    pub(super) staging: &'a OwnedFd,
    pub(super) owner: (u32, u32),
}

const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

impl Stage<'_> {
    /// Copies one file, link or bare directory to the path `to` of the staging directory.
    pub(super) fn copy(&self, from: &[u8], to: &[u8], now: &Statx) -> Result<(), Error> {
        let (parent, name) = disk::split(to);
        let parent = disk::directory(self.staging, parent).on("open", parent)?;
        match disk::kind(now) {
            FileType::Directory => {
                rustix::fs::mkdirat(&parent, name, Mode::RWXU).on("make directory", from)?
            }
            FileType::Symlink => self.link(from, &parent, name)?,
            _ => self.file(from, &parent, name)?,
        }
        Ok(())
    }

    fn link(&self, from: &[u8], parent: &OwnedFd, name: &[u8]) -> Result<(), Error> {
        let (dir, last) = disk::split(from);
        let dir = disk::directory(self.upper, dir).on("open", dir)?;
        let target = rustix::fs::readlinkat(&dir, last, Vec::new()).on("read link", from)?;
        rustix::fs::symlinkat(target, parent, name).on("link", from)?;
        let (uid, gid) = self.owner;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::chownat(
            parent,
            name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            flags,
        )
        .on("set owner of", from)?)
    }

    fn file(&self, from: &[u8], parent: &OwnedFd, name: &[u8]) -> Result<(), Error> {
        let source = disk::beneath(self.upper, from, OPEN).on("open", from)?;
        let found = disk::look_at(&source).on("look at", from)?;
        if disk::kind(&found) != FileType::RegularFile {
            return Err(Errno::STALE).on("copy", from)?;
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made =
            rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR).on("create", from)?;
        let (mut source, mut made) = (File::from(source), File::from(made));
        copy_data(&mut source, &mut made, found.stx_size).map_err(|source| Error::Copy {
            path: shown(from),
            source,
        })?;
        self.attributes(&source, &made, from)?;
        self.dress(&made, &found, from)
    }

    /// Attributes of users go along; all others belong to the system that the file was on.
    fn attributes(&self, source: impl AsFd, made: impl AsFd, shown: &[u8]) -> Result<(), Error> {
        for name in disk::attributes(&source).on("list attributes of", shown)? {
            if !name.starts_with(b"user.") || name.starts_with(b"user.overlay.") {
                continue;
            }
            if let Some(value) =
                disk::attribute(&source, &disk::show(&name)).on("read attributes of", shown)?
            {
                rustix::fs::fsetxattr(&made, &name, &value, XattrFlags::empty())
                    .on("set attributes of", shown)?;
            }
        }
        Ok(())
    }

    /// Gives a staged directory, whose content is complete, what it is to have.
    pub(super) fn finish_directory(
        &self,
        from: &[u8],
        to: &[u8],
        now: &Statx,
    ) -> Result<(), Error> {
        let made = disk::directory(self.staging, to).on("open", to)?;
        let source = disk::directory(self.upper, from).on("open", from)?;
        self.attributes(&source, &made, from)?;
        self.dress(&made, now, from)
    }

    fn dress(&self, made: impl AsFd, found: &Statx, shown: &[u8]) -> Result<(), Error> {
        disk::own(&made, self.owner).on("set owner of", shown)?;
        rustix::fs::fchmod(&made, mode_to_give(found)).on("set mode of", shown)?;
        Ok(rustix::fs::futimens(&made, &disk::times_of(found)).on("date", shown)?)
    }
}

/// Copies the data of a file and leaves its holes holes.
fn copy_data(source: &mut File, made: &mut File, size: u64) -> std::io::Result<()> {
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(&*source, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(&*source, rustix::fs::SeekFrom::Hole(start))?;
        source.seek(SeekFrom::Start(start))?;
        made.seek(SeekFrom::Start(start))?;
        if std::io::copy(&mut Read::take(&mut *source, end - start), made)? == 0 {
            break;
        }
        at = end;
    }
    made.set_len(size)?;
    made.flush()
}
