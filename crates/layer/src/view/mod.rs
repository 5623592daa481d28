//! The tree of system files that `stockade do` shows: what anybody on this host may read, and nothing else.
//!
//! `V/STAMP/` holds a copy of the world-readable part of `/etc`, the bare directories of `/usr`, `/opt` and (where they
//! are no links) `/bin`, `/sbin`, `/lib*`, and empty ones for the rest. Over it lie the host's own `/usr` and `/opt` as
//! further overlay layers: a directory that stands here is the container root's, one that does not keeps the host's
//! attributes. So a directory or file that "other" may not read never stands here.
//!
//! `V/STAMP.seen` lists what was looked at, so that a check is some two thousand stat calls and no more. `V/current`
//! leads to the newest tree. Older ones stay until the caller, who knows what runs, prunes them.

mod build;
mod seen;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sha2::Digest;

use crate::disk::{self, Context};
use crate::remove;
use seen::Seen;

/// What is current, and whether it had to be made.
#[derive(Debug, serde::Serialize)]
pub struct Answer {
    /// Whether what stood there before was missing or out of date.
    pub stale: bool,
    pub built: bool,
    pub stamp: Option<String>,
    pub path: Option<String>,
    /// The clock that the kernel stamps files with, as `SECONDS.NANOSECONDS`.
    pub now: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    Never,
    IfStale,
    Always,
}

const NAMES: Mode = Mode::RUSR.union(Mode::WUSR);
/// What begins so is out of use and only to be removed.
const OLD: &str = ".old-";

/// Checks the view of `source` kept in `dest`, and builds a new one as `build` says.
pub fn refresh(source: &Path, dest: &Path, build: Build) -> disk::Result<Answer> {
    let source = disk::root(source)?;
    if build == Build::Never {
        let found = match disk::root(dest) {
            Ok(dest) => current(&source, dest.as_fd())?,
            Err(error) if error.source == Errno::NOENT => None,
            Err(error) => return Err(error),
        };
        return Ok(answer(dest, found.is_none(), false, found));
    }
    make_dest(dest)?;
    let place = disk::root(dest)?;
    let before = current(&source, place.as_fd())?;
    let stale = before.is_none();
    if !stale && build == Build::IfStale {
        return Ok(answer(dest, stale, false, before));
    }
    let _lock = lock(place.as_fd())?;
    // Whoever held the lock may just have built it.
    if build == Build::IfStale
        && let Some(stamp) = current(&source, place.as_fd())?
    {
        return Ok(answer(dest, stale, false, Some(stamp)));
    }
    let stamp = make(&source, place.as_fd())?;
    Ok(answer(dest, stale, true, Some(stamp)))
}

/// What [`prune`] found: the stamps that went out of use, and the names under which what is left of them waits for its removal.
#[derive(Debug, Default)]
pub struct Pruned {
    pub stamps: Vec<String>,
    pub doomed: Vec<Vec<u8>>,
}

/// Puts every tree but the current one and those named out of sight, under names of which [`clear`] removes what lies there:
/// quick, so that callers can hold a lock meanwhile. While somebody builds or prunes nothing is done.
pub fn prune(dest: &Path, keep: &[String]) -> disk::Result<Pruned> {
    let mut found = Pruned::default();
    let place = match disk::root(dest) {
        Ok(place) => place,
        Err(error) if error.source == Errno::NOENT => return Ok(found),
        Err(error) => return Err(error),
    };
    let Some(_lock) = try_lock(place.as_fd())? else {
        return Ok(found);
    };
    let current = link(place.as_fd()).unwrap_or_default();
    for name in disk::names(&place).on("list", dest.as_os_str().as_bytes())? {
        let text = disk::show(&name.bytes).into_owned();
        let stamp = text.strip_suffix(".seen").unwrap_or(&text);
        if text == "lock"
            || text == "current"
            || stamp == current
            || keep.iter().any(|kept| kept == stamp)
        {
            continue;
        }
        if text.starts_with(OLD) {
            found.doomed.push(name.bytes);
            continue;
        }
        let old = format!("{OLD}{text}");
        rustix::fs::renameat(&place, &name.bytes, &place, &old).on("rename", &name.bytes)?;
        if stamp == text && is_stamp(stamp) {
            found.stamps.push(text);
        }
        found.doomed.push(old.into_bytes());
    }
    Ok(found)
}

/// Removes what [`prune`] put out of sight; others may do so at the same time.
pub fn clear(dest: &Path, pruned: &Pruned) -> disk::Result<()> {
    let Ok(place) = disk::root(dest) else {
        return Ok(());
    };
    pruned
        .doomed
        .iter()
        .try_for_each(|name| remove::remove_at(&place, name))
}

fn is_stamp(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn answer(dest: &Path, stale: bool, built: bool, stamp: Option<String>) -> Answer {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let path = stamp
        .as_ref()
        .map(|stamp| dest.join(stamp).to_string_lossy().into_owned());
    Answer {
        stale,
        built,
        stamp,
        path,
        now: format!("{}.{:09}", now.tv_sec, now.tv_nsec),
    }
}

/// Makes the directory itself and what is missing above it.
fn make_dest(dest: &Path) -> disk::Result<()> {
    let bytes = dest.as_os_str().as_bytes();
    for end in (1..=bytes.len()).filter(|end| *end == bytes.len() || bytes[*end] == b'/') {
        match rustix::fs::mkdir(&bytes[..end], Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            // A read-only or foreign directory above that exists answers so; what is missing shows at the next step.
            Err(Errno::ACCESS | Errno::ROFS | Errno::PERM) if end < bytes.len() => {}
            Err(errno) => return Err(errno).on("make directory", &bytes[..end]),
        }
    }
    Ok(())
}

/// The lock that builders and pruners take; it goes with the descriptor.
fn lock(place: impl AsFd) -> disk::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(place, "lock", flags, NAMES).on("open", b"lock")?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).on("lock", b"lock")?;
    Ok(lock)
}

/// The same, if nobody holds it.
fn try_lock(place: impl AsFd) -> disk::Result<Option<OwnedFd>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(place, "lock", flags, NAMES).on("open", b"lock")?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno).on("lock", b"lock"),
    }
}

/// Where `current` leads.
fn link(place: impl AsFd) -> Option<String> {
    let target = rustix::fs::readlinkat(place, "current", Vec::new()).ok()?;
    target.into_string().ok().filter(|stamp| is_stamp(stamp))
}

/// The stamp of the current tree if nothing that it was made from has changed.
fn current(source: &OwnedFd, place: impl AsFd) -> disk::Result<Option<String>> {
    let Some(stamp) = link(&place) else {
        return Ok(None);
    };
    let list = match disk::beneath(&place, format!("{stamp}.seen").as_bytes(), OFlags::RDONLY) {
        Ok(list) => list,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno).on("open", stamp.as_bytes()),
    };
    let holds = Seen::read(list).is_some_and(|seen| seen.holds(source));
    Ok((holds && matches!(disk::look(place, stamp.as_bytes()), Ok(Some(_)))).then_some(stamp))
}

/// Builds a tree beside the others, then makes it the current one.
fn make(source: &OwnedFd, place: impl AsFd) -> disk::Result<String> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let seed = format!(
        "{} {}.{}",
        rustix::process::getpid().as_raw_nonzero(),
        now.tv_sec,
        now.tv_nsec
    );
    let stamp: String = sha2::Sha256::digest(seed)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let fresh = format!(".new-{stamp}");
    clear_unfinished(&place)?;
    rustix::process::umask(Mode::empty());
    rustix::fs::mkdirat(&place, &fresh, Mode::from_raw_mode(0o755))
        .on("make directory", fresh.as_bytes())?;
    let tree = disk::directory(&place, fresh.as_bytes()).on("open", fresh.as_bytes())?;
    let seen = build::build(source, place.as_fd(), &tree)?;
    seen.write(&place, &format!("{stamp}.seen"))?;
    rustix::fs::renameat(&place, &fresh, &place, &stamp).on("rename", fresh.as_bytes())?;
    let link = format!(".link-{stamp}");
    rustix::fs::symlinkat(&stamp, &place, &link).on("link", link.as_bytes())?;
    rustix::fs::renameat(&place, &link, &place, "current").on("rename", link.as_bytes())?;
    Ok(stamp)
}

/// Removes what a killed builder left; the lock is held.
fn clear_unfinished(place: impl AsFd) -> disk::Result<()> {
    for name in disk::names(&place).on("list", b"the view's directory")? {
        if name.bytes.starts_with(b".new-") {
            remove::remove_at(&place, &name.bytes)?;
        } else if name.bytes.starts_with(b".link-") {
            rustix::fs::unlinkat(&place, &name.bytes, AtFlags::empty())
                .on("remove", &name.bytes)?;
        }
    }
    Ok(())
}
