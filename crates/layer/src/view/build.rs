//! Building the view: one walk of the source, what "other" may not read left out on the way.
//!
//! Whatever vanishes or cannot be opened while it is copied is left out too; the list of what was seen is taken before,
//! so the next check finds the view out of date.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{FileType, Mode, OFlags, Statx};
use rustix::io::Errno;

use super::seen::{DATABASES, Seen};
use crate::disk::{self, Context};

/// Directories that every program may expect, with their modes; they are empty.
const EMPTY: [(&str, u32); 20] = [
    ("root", 0o700),
    ("home", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("tmp", 0o1777),
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o755),
    ("mnt", 0o755),
    ("media", 0o755),
    ("srv", 0o755),
    ("usr", 0o755),
    ("opt", 0o755),
    ("etc", 0o755),
];

const LINKS: [(&str, &str); 2] = [("var/run", "/run"), ("var/lock", "/run/lock")];

/// How deep below the root the directories are listed for the check; those that administrators fill by hand deeper.
const LISTED: usize = 3;
const LISTED_BY_HAND: usize = 5;

const READ_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

pub(super) fn build(source: &OwnedFd, place: BorrowedFd<'_>, tree: &OwnedFd) -> disk::Result<Seen> {
    let mut seen = Seen::new();
    for path in DATABASES {
        seen.add(path, disk::look(source, path).on("look at", path)?.as_ref());
    }
    let here = disk::look_at(place).on("look at", b"the view's directory")?;
    let mut walks = Vec::new();
    for name in disk::names(source).on("list", b"/")? {
        let Some(copy) = wanted(&name.bytes) else {
            continue;
        };
        let Some(found) = disk::look(source, &name.bytes).on("look at", &name.bytes)? else {
            continue;
        };
        seen.add(&name.bytes, Some(&found));
        match disk::kind(&found) {
            FileType::Symlink => link(source.as_fd(), tree.as_fd(), &name.bytes, &name.bytes)?,
            FileType::Directory => walks.push(Walk {
                path: name.bytes,
                copy,
                mount: found.stx_mnt_id,
            }),
            _ => {}
        }
    }
    for (path, mode) in EMPTY {
        make(tree.as_fd(), path.as_bytes(), mode)?;
    }
    for (path, target) in LINKS {
        rustix::fs::symlinkat(target, tree, path).on("link", path.as_bytes())?;
    }
    walk_all(
        &Sides {
            source,
            tree,
            here: &here,
        },
        walks,
        seen,
    )
}

/// Which names of the root are taken, and whether with their files.
fn wanted(name: &[u8]) -> Option<bool> {
    match name {
        b"etc" => Some(true),
        b"usr" | b"opt" | b"bin" | b"sbin" => Some(false),
        _ => name.starts_with(b"lib").then_some(false),
    }
}

/// One directory to walk, and whether files and links are copied, not directories alone.
struct Walk {
    path: Vec<u8>,
    copy: bool,
    /// Other mounts are no part of what an overlay over this directory shows.
    mount: u64,
}

impl Walk {
    fn below(&self, path: &[u8]) -> Walk {
        Walk {
            path: path.to_vec(),
            ..*self
        }
    }
}

struct Sides<'a> {
    source: &'a OwnedFd,
    tree: &'a OwnedFd,
    /// Where views are kept: it may lie in what is walked.
    here: &'a Statx,
}

/// Walks on as many threads as there are processors. The directories below the roots are handed out one by one: the
/// roots themselves are walked first, without descending.
fn walk_all(sides: &Sides<'_>, roots: Vec<Walk>, mut seen: Seen) -> disk::Result<Seen> {
    let mut work = Vec::new();
    let mut shallow = Vec::new();
    for root in roots {
        let mut walker = Walker::new(sides, &root);
        walker.directory(&root.path, 1, &mut |path| work.push(root.below(path)))?;
        seen.append(&walker.seen);
        shallow.push(root.path);
    }
    // One level more, so that /usr/share and /usr/lib do not each keep one thread busy alone.
    let mut deep = Vec::new();
    for walk in work {
        let mut walker = Walker::new(sides, &walk);
        walker.directory(&walk.path, 2, &mut |path| deep.push(walk.below(path)))?;
        seen.append(&walker.seen);
        shallow.push(walk.path);
    }
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Ok(seen));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(8)
        {
            scope.spawn(|| {
                let outcome = walk_some(sides, &deep, &next);
                let mut found = found.lock().expect("no walker panics: it would abort");
                match (outcome, &mut *found) {
                    (Ok(more), Ok(seen)) => seen.append(&more),
                    (Err(error), Ok(_)) => *found = Err(error),
                    (_, Err(_)) => {}
                }
            });
        }
    });
    let seen = found
        .into_inner()
        .expect("no walker panics: it would abort")?;
    for path in shallow.iter().rev() {
        date(sides, path)?;
    }
    Ok(seen)
}

fn walk_some(sides: &Sides<'_>, walks: &[Walk], next: &AtomicUsize) -> disk::Result<Seen> {
    let mut seen = Seen::new();
    while let Some(walk) = walks.get(next.fetch_add(1, Ordering::Relaxed)) {
        let mut walker = Walker::new(sides, walk);
        walker.descend(&walk.path, 3)?;
        seen.append(&walker.seen);
    }
    Ok(seen)
}

/// Gives a directory whose children are all made the times of its source.
fn date(sides: &Sides<'_>, path: &[u8]) -> disk::Result<()> {
    let (Ok(Some(found)), Ok(made)) = (
        disk::look(sides.source, path),
        disk::directory(sides.tree, path),
    ) else {
        return Ok(());
    };
    rustix::fs::futimens(made, &disk::times_of(&found)).on("date", path)
}

struct Walker<'a> {
    sides: &'a Sides<'a>,
    copy: bool,
    mount: u64,
    seen: Seen,
}

impl<'a> Walker<'a> {
    fn new(sides: &'a Sides<'a>, walk: &Walk) -> Walker<'a> {
        Walker {
            sides,
            copy: walk.copy,
            mount: walk.mount,
            seen: Seen::new(),
        }
    }

    /// The directory and all beneath it, then its times.
    fn descend(&mut self, path: &[u8], depth: usize) -> disk::Result<()> {
        let mut below = Vec::new();
        self.directory(path, depth, &mut |child| below.push(child.to_vec()))?;
        for child in below {
            self.descend(&child, depth + 1)?;
        }
        date(self.sides, path)
    }

    /// Makes the directory itself and, of what lies in it, copies the files; its directories are handed to `below`.
    fn directory(
        &mut self,
        path: &[u8],
        depth: usize,
        below: &mut dyn FnMut(&[u8]),
    ) -> disk::Result<()> {
        let Ok(from) = disk::beneath(self.sides.source, path, READ_DIRECTORY) else {
            return Ok(());
        };
        let Ok(found) = disk::look_at(&from) else {
            return Ok(());
        };
        if self.is_listed(path, depth) {
            self.seen.add(path, Some(&found));
        }
        if !is_open(&found) || found.stx_mnt_id != self.mount || disk::same(&found, self.sides.here)
        {
            return Ok(());
        }
        let mode = Mode::from_raw_mode(disk::mode(&found) & 0o3777);
        match rustix::fs::mkdirat(self.sides.tree, path, mode) {
            Ok(()) if !mode.contains(Mode::SGID) => {}
            // mkdir(2) gives no set-group-id bit.
            Ok(()) | Err(Errno::EXIST) => {
                let made = disk::directory(self.sides.tree, path).on("open", path)?;
                rustix::fs::fchmod(made, mode).on("set mode of", path)?;
            }
            Err(errno) => return Err(errno).on("make directory", path),
        }
        let Ok(names) = disk::names(&from) else {
            return Ok(());
        };
        let to = if self.copy {
            Some(disk::directory(self.sides.tree, path).on("open", path)?)
        } else {
            None
        };
        for name in names {
            match (name.kind, &to) {
                (FileType::Directory, _) => below(&disk::join(path, &name.bytes)),
                (FileType::Symlink, Some(to)) => {
                    self.note(from.as_fd(), path, &name.bytes);
                    link(from.as_fd(), to.as_fd(), &name.bytes, path)?;
                }
                (FileType::RegularFile, Some(to)) => {
                    self.note(from.as_fd(), path, &name.bytes);
                    file(from.as_fd(), to.as_fd(), &name.bytes, path)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_listed(&self, path: &[u8], depth: usize) -> bool {
        let by_hand = path.starts_with(b"usr/local/") || path.starts_with(b"opt/");
        self.copy || depth <= LISTED || (by_hand && depth <= LISTED_BY_HAND)
    }

    fn note(&mut self, from: BorrowedFd<'_>, path: &[u8], name: &[u8]) {
        if let Ok(found) = disk::look(from, name) {
            self.seen.add(&disk::join(path, name), found.as_ref());
        }
    }
}

/// Whether "other" may list and enter the directory.
fn is_open(found: &Statx) -> bool {
    disk::mode(found) & 0o005 == 0o005
}

fn make(tree: BorrowedFd<'_>, path: &[u8], mode: u32) -> disk::Result<()> {
    match rustix::fs::mkdirat(tree, path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno).on("make directory", path),
    }
}

fn link(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> disk::Result<()> {
    let Ok(target) = rustix::fs::readlinkat(from, name, Vec::new()) else {
        return Ok(());
    };
    rustix::fs::symlinkat(target, to, name).on("link in", path)
}

/// Copies a regular file that "other" may read; setuid, setgid and attributes stay behind.
fn file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> disk::Result<()> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(source) = rustix::fs::openat(from, name, flags, Mode::empty()) else {
        return Ok(());
    };
    let Ok(found) = disk::look_at(&source) else {
        return Ok(());
    };
    if disk::kind(&found) != FileType::RegularFile || disk::mode(&found) & 0o004 == 0 {
        return Ok(());
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(disk::mode(&found) & 0o777);
    let made = rustix::fs::openat(to, name, flags, mode).on("create file in", path)?;
    let mut made = File::from(made);
    std::io::copy(&mut File::from(source), &mut made)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        .on("copy", &disk::join(path, name))?;
    rustix::fs::futimens(&made, &disk::times_of(&found)).on("date", name)
}
