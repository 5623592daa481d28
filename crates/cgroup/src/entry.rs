//! How a process goes in. Moving another process costs 10 ms when the kernel has to wait for a grace period; going in by
//! oneself (v1) or being born inside (v2) costs next to nothing. So the parent opens, and the child enters.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};

use crate::file::Sink;
use crate::{Cgroup, Error, Layout, file};

/// Open descriptors of the container's directories, closed on exec.
#[derive(Debug)]
pub struct Entry {
    tasks: Vec<Sink>,
    v2: Option<OwnedFd>,
}

impl Entry {
    /// v2: the directory for `CLONE_INTO_CGROUP`.
    pub fn into_cgroup(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    /// v1: puts the calling thread in. Called by the child, which must have one thread only; allocates nothing.
    pub fn join(&self) -> io::Result<()> {
        self.tasks
            .iter()
            .try_for_each(|tasks| tasks.write_bare(b"0"))
    }
}

impl Cgroup {
    /// Opens the way in; before the child is made, as this process.
    pub fn entry(&self) -> Result<Entry, Error> {
        let mut entry = Entry {
            tasks: Vec::with_capacity(self.v1.len()),
            v2: None,
        };
        for dir in self.v1.iter().map(|dir| dir.dir()) {
            match Sink::open(dir.join("tasks")) {
                Ok(tasks) => entry.tasks.push(tasks),
                // Not made: on demand, or where this process may not write.
                Err(Error::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(dir) = self.v2.as_ref().filter(|dir| dir.exists()) {
            let dir = if self.layout == Layout::V2 {
                inner(&dir.dir())?
            } else {
                dir.dir()
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = openat(rustix::fs::CWD, &dir, flags, Mode::empty());
            entry.v2 = Some(opened.map_err(|error| Error::Open {
                path: dir,
                source: error.into(),
            })?);
        }
        Ok(entry)
    }
}

/// v2: a container that hands controllers on (systemd inside) takes no process at its top; the first directory below
/// that has some does.
fn inner(dir: &Path) -> Result<PathBuf, Error> {
    let hands_on =
        file::optional(&dir.join("cgroup.subtree_control"))?.is_some_and(|text| !text.is_empty());
    if !hands_on {
        return Ok(dir.to_owned());
    }
    let entries = std::fs::read_dir(dir).map_err(|source| Error::Read {
        path: dir.to_owned(),
        source,
    })?;
    let mut below: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    below.sort();
    let populated = |path: &PathBuf| {
        file::keyed(&path.join("cgroup.events"))
            .is_ok_and(|events| events.get("populated") == Some(&1))
    };
    match below.iter().find(|path| populated(path)) {
        Some(path) => inner(path),
        None => Ok(dir.to_owned()),
    }
}
