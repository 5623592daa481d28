//! Directories as descriptors: the only way this crate touches a file system.
//!
//! A path is relative to a root descriptor and is walked by the kernel with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`
//! (openat2(2)), so that no link, `..` or absolute name leads out, also when someone changes the tree meanwhile.

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, ResolveFlags, Statx, StatxFlags, Uid,
};
use rustix::io::Errno;

/// A step of the file system that failed: what was done, to what, and why.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path:?}")]
pub struct Error {
    pub action: &'static str,
    pub path: String,
    #[source]
    pub source: Errno,
}

pub type Result<T> = std::result::Result<T, Error>;

/// Names the object of a failed call.
pub trait Context<T> {
    fn on(self, action: &'static str, path: &[u8]) -> Result<T>;
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn on(self, action: &'static str, path: &[u8]) -> Result<T> {
        self.map_err(|source| Error {
            action,
            path: String::from_utf8_lossy(path).into_owned(),
            source,
        })
    }
}

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub bytes: Vec<u8>,
    pub kind: FileType,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens a directory that the caller named: links in its path are the caller's own.
pub fn root(path: &Path) -> Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .on("open directory", path.as_os_str().as_bytes())
}

/// The path that the kernel is asked for: it has no name for "here" but a dot.
fn or_here(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

/// Opens `path` beneath `root`; no component, the last included, may be a symbolic link.
pub fn beneath(root: impl AsFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    open_resolved(root, path, flags, resolve)
}

/// [`beneath`] that also refuses (`EXDEV`) to cross into another mount.
pub fn beneath_same_mount(
    root: impl AsFd,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    open_resolved(root, path, flags, resolve)
}

fn open_resolved(
    root: impl AsFd,
    path: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    loop {
        match rustix::fs::openat2(
            &root,
            or_here(path),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        ) {
            // openat2(2): a rename raced with the walk; the caller is to try again.
            Err(Errno::AGAIN) => continue,
            other => return other,
        }
    }
}

/// Opens the directory `path` beneath `root` for reading.
pub fn directory(root: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    beneath(root, path, DIRECTORY)
}

/// What lies at `name` in `dir`, not following a link; None when nothing does.
pub fn look(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<Option<Statx>> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    match rustix::fs::statx(
        dir,
        name,
        flags,
        StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
    ) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What an open descriptor refers to.
pub fn look_at(fd: impl AsFd) -> rustix::io::Result<Statx> {
    rustix::fs::statx(
        fd,
        "",
        AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC,
        StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
    )
}

/// The names in a directory without `.` and `..`, in the order of their bytes.
pub fn names(dir: impl AsFd) -> rustix::io::Result<Vec<Name>> {
    let mut found = unsorted_names(dir, usize::MAX)?;
    found.sort_unstable_by(|a, b| a.bytes.cmp(&b.bytes));
    Ok(found)
}

/// At most about `limit` names from where the directory's position stands.
pub fn unsorted_names(dir: impl AsFd, limit: usize) -> rustix::io::Result<Vec<Name>> {
    let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
    let mut entries = RawDir::new(dir.as_fd(), &mut buffer);
    let mut found = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let bytes = entry.file_name().to_bytes();
        if bytes != b"." && bytes != b".." {
            found.push(Name {
                bytes: bytes.to_vec(),
                kind: entry.file_type(),
            });
        }
        if found.len() >= limit && entries.is_buffer_empty() {
            break;
        }
    }
    for name in &mut found {
        if name.kind == FileType::Unknown {
            name.kind =
                look(dir.as_fd(), &name.bytes)?.map_or(FileType::Unknown, |found| kind(&found));
        }
    }
    Ok(found)
}

/// Names that are held in memory at once: a stranger's directory may have any number.
const BATCH: usize = 64 * 1024;

/// A directory and the names in it: in the order of their bytes, as long as they are not more than one batch.
#[derive(Debug)]
pub struct Listing {
    pub open: OwnedFd,
    names: std::vec::IntoIter<Name>,
}

impl Listing {
    /// Lists a directory that was opened for reading, from where it stands.
    pub fn new(open: OwnedFd) -> Listing {
        Listing {
            open,
            names: Vec::new().into_iter(),
        }
    }

    pub fn take(&mut self) -> rustix::io::Result<Option<Name>> {
        if let Some(name) = self.names.next() {
            return Ok(Some(name));
        }
        let mut batch = unsorted_names(&self.open, BATCH)?;
        batch.sort_unstable_by(|a, b| a.bytes.cmp(&b.bytes));
        self.names = batch.into_iter();
        Ok(self.names.next())
    }
}

/// The type of what was looked at.
pub fn kind(found: &Statx) -> FileType {
    FileType::from_raw_mode(u32::from(found.stx_mode))
}

/// Permission bits, with setuid, setgid and sticky.
pub fn mode(found: &Statx) -> u32 {
    u32::from(found.stx_mode) & 0o7777
}

/// Nanoseconds since 1970 of a file's last change of content or attributes.
pub fn changed(found: &Statx) -> i128 {
    i128::from(found.stx_ctime.tv_sec) * 1_000_000_000 + i128::from(found.stx_ctime.tv_nsec)
}

/// Whether two looks saw the same inode.
pub fn same(a: &Statx, b: &Statx) -> bool {
    (a.stx_ino, a.stx_dev_major, a.stx_dev_minor) == (b.stx_ino, b.stx_dev_major, b.stx_dev_minor)
}

/// Gives what is open, also as a mere handle, to an owner.
pub fn own(open: impl AsFd, (uid, gid): (u32, u32)) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(open, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

/// Modification and access time as futimens(2) takes them.
pub fn times_of(found: &Statx) -> rustix::fs::Timestamps {
    times(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec)
}

/// Both times set to one instant.
pub fn times(seconds: i64, nanoseconds: u32) -> rustix::fs::Timestamps {
    let time = rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    };
    rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// `parent/name`, where the root's own path is empty.
pub fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    path.extend_from_slice(parent);
    if !parent.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Directory and last name of a relative path.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// An extended attribute's value; None when there is none or the file system knows no attributes.
pub fn attribute(fd: impl AsFd, name: &str) -> rustix::io::Result<Option<Vec<u8>>> {
    let mut value = Vec::with_capacity(256);
    loop {
        match rustix::fs::fgetxattr(&fd, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => return Ok(Some(value)),
            Err(Errno::RANGE) if value.capacity() < 65_536 => value.reserve(value.capacity() * 4),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

/// The names of all extended attributes, sorted.
pub fn attributes(fd: impl AsFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut list: Vec<u8> = Vec::with_capacity(1024);
    loop {
        match rustix::fs::flistxattr(&fd, rustix::buffer::spare_capacity(&mut list)) {
            Ok(_) => break,
            Err(Errno::RANGE) if list.capacity() < 65_536 => list.reserve(list.capacity() * 4),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
    }
    let mut found: Vec<Vec<u8>> = list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// A path for people.
pub fn show(path: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(path)
}
