//! Deleting a tree, whatever it holds: by descriptors, never through a link, never into another mount.
//!
//! A tree may be deeper than there are descriptors. Beyond [`DEEPEST`] a directory is moved up to the top of the tree
//! and deleted from there, so the number of open descriptors stays bounded.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::disk::{self, Context, Name};

const DEEPEST: usize = 100;
const BATCH: usize = 20_000;

/// Deletes `path` and all beneath it. Nothing there is no failure.
pub fn remove(path: &Path) -> disk::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    let trimmed = &bytes[..bytes
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1)];
    let (parent, name) = disk::split(trimmed);
    if matches!(name, b"" | b"." | b"..") {
        return Err(Errno::INVAL).on("remove", bytes);
    }
    let parent = match parent {
        b"" if trimmed.starts_with(b"/") => Path::new("/"),
        b"" => Path::new("."),
        named => Path::new(std::ffi::OsStr::from_bytes(named)),
    };
    match disk::root(parent) {
        Ok(parent) => remove_at(&parent, name),
        Err(error) if error.source == Errno::NOENT => Ok(()),
        Err(error) => Err(error),
    }
}

/// Deletes what lies at `name` in `parent`.
pub fn remove_at(parent: impl AsFd, name: &[u8]) -> disk::Result<()> {
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(errno) => return Err(errno).on("remove", name),
    }
    let Some(top) = open(parent.as_fd(), name).on("open", name)? else {
        return Ok(());
    };
    Sweep {
        top: top.as_fd(),
        moved: 0,
    }
    .run()
    .map_err(|mut error| {
        error.path = disk::show(&disk::join(name, error.path.as_bytes())).into_owned();
        error
    })?;
    gone(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)).on("remove directory", name)
}

/// Somebody else may delete too.
fn gone(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    if result == Err(Errno::NOENT) {
        Ok(())
    } else {
        result
    }
}

/// Opens a directory to empty it, giving its owner the right to where it is missing (overlay's work/work has mode 0).
fn open(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    match disk::beneath_same_mount(parent, name, flags) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::ACCESS) => {
            permit(&disk::beneath_same_mount(
                parent,
                name,
                OFlags::PATH | OFlags::NOFOLLOW,
            )?)?;
            disk::beneath_same_mount(parent, name, flags).map(Some)
        }
        Err(errno) => Err(errno),
    }
}

/// chmod of what an O_PATH descriptor refers to: fchmod(2) refuses those, the name in /proc does not.
fn permit(fd: &OwnedFd) -> rustix::io::Result<()> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::chmodat(rustix::fs::CWD, path, Mode::RWXU, AtFlags::empty())
}

struct Sweep<'a> {
    top: BorrowedFd<'a>,
    moved: u64,
}

impl Sweep<'_> {
    fn run(&mut self) -> disk::Result<()> {
        // Each round also deletes what the one before moved up here.
        loop {
            let before = self.moved;
            self.empty(self.top, b"", 0)?;
            if self.moved == before {
                return Ok(());
            }
        }
    }

    fn empty(&mut self, dir: BorrowedFd<'_>, path: &[u8], depth: usize) -> disk::Result<()> {
        let moved = self.moved;
        loop {
            rustix::fs::seek(dir, SeekFrom::Start(0)).on("rewind", path)?;
            let batch = match disk::unsorted_names(dir, BATCH) {
                // Somebody else removed this very directory.
                Err(Errno::NOENT) => Vec::new(),
                listed => listed.on("list", path)?,
            };
            // What was moved to the top meanwhile is for the next round.
            if batch.is_empty() || (depth == 0 && self.moved > moved) {
                return Ok(());
            }
            for name in &batch {
                self.entry(dir, name, path, depth)?;
            }
        }
    }

    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &Name,
        path: &[u8],
        depth: usize,
    ) -> disk::Result<()> {
        let whole = || disk::join(path, &name.bytes);
        if name.kind != FileType::Directory {
            match rustix::fs::unlinkat(dir, &name.bytes, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::ACCESS) => {
                    rustix::fs::fchmod(dir, Mode::RWXU).on("permit", path)?;
                    return gone(rustix::fs::unlinkat(dir, &name.bytes, AtFlags::empty()))
                        .on("remove", &whole());
                }
                Err(errno) => return Err(errno).on("remove", &whole()),
            }
        }
        if depth >= DEEPEST {
            self.moved += 1;
            let aside = format!(
                ".stockade-removed-{}-{}",
                rustix::process::getpid().as_raw_nonzero(),
                self.moved
            );
            return gone(rustix::fs::renameat(dir, &name.bytes, self.top, aside))
                .on("move up", &whole());
        }
        let Some(child) = open(dir, &name.bytes).on("open", &whole())? else {
            return Ok(());
        };
        self.empty(child.as_fd(), &whole(), depth + 1)?;
        drop(child);
        match rustix::fs::unlinkat(dir, &name.bytes, AtFlags::REMOVEDIR) {
            Err(Errno::ACCESS) => {
                rustix::fs::fchmod(dir, Mode::RWXU).on("permit", path)?;
                gone(rustix::fs::unlinkat(dir, &name.bytes, AtFlags::REMOVEDIR))
                    .on("remove directory", &whole())
            }
            other => gone(other).on("remove directory", &whole()),
        }
    }
}
