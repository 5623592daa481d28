//! Being told when the kernel killed for want of memory: an eventfd on v1, inotify on v2's `memory.events`.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::{Cgroup, Error, file};

/// A descriptor that becomes readable when a limit of the container's memory was hit, and when the cgroup goes away.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    /// Where the count stands.
    counter: PathBuf,
}

impl OomWatch {
    /// How many processes the kernel has killed since the container began; also takes the events off the descriptor.
    /// On v1 the event may be told before the count has grown.
    pub fn count(&self) -> Result<u64, Error> {
        let mut events = [0u8; 1024];
        while let Ok(1..) = rustix::io::read(&self.fd, &mut events) {}
        count(&self.counter)
    }
}

/// `oom_kill` of v1's memory.oom_control (since Linux 4.13) or v2's memory.events.
pub(crate) fn count(path: &Path) -> Result<u64, Error> {
    Ok(file::keyed(path)?
        .get("oom_kill")
        .copied()
        .unwrap_or_default())
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Cgroup {
    /// Begins to watch. Errors where the memory controller has no directory of this container.
    pub fn oom(&self) -> Result<OomWatch, Error> {
        let missing = || Error::Disabled("watched for want of memory");
        let counter = self
            .file("memory", "memory.oom_control", "memory.events")
            .filter(|path| path.exists())
            .ok_or_else(missing)?;
        let fail = |errno: Errno| Error::Watch {
            path: counter.clone(),
            source: errno.into(),
        };
        let v1 = counter.ends_with("memory.oom_control");
        let fd = if v1 {
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(fail)?
        } else {
            inotify(&counter).map_err(fail)?
        };
        if v1 {
            let control = File::open(&counter).map_err(|source| Error::Open {
                path: counter.clone(),
                source,
            })?;
            let line = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
            file::write(&counter.with_file_name("cgroup.event_control"), &line)?;
        }
        Ok(OomWatch { fd, counter })
    }
}

fn inotify(path: &Path) -> Result<OwnedFd, Errno> {
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&fd, path, inotify::WatchFlags::MODIFY)?;
    Ok(fd)
}
