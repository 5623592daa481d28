//! stub
mod error;
mod stats;
pub use error::{Error, Warning};
pub use stats::*;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use serde::{Deserialize, Serialize};

/// What is mounted below `/sys/fs/cgroup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout { V1, Hybrid, V2, Absent }
pub fn layout() -> Layout { todo!() }

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {}

impl Cgroup {
    /// Decides the directories for `linux.cgroupsPath` (or ""), touches nothing.
    pub fn plan(_path: &str, _id: &str) -> Result<Cgroup, Error> { todo!() }
    /// `--cgroup-manager disabled`: no directory, and limits are refused.
    pub fn disabled() -> Cgroup { todo!() }
    pub fn create(&self, _resources: &spec::Resources) -> Result<Vec<Warning>, Error> { todo!() }
    pub fn entry(&self) -> Result<Entry, Error> { todo!() }
    pub fn update(&self, _resources: &spec::Resources) -> Result<Vec<Warning>, Error> { todo!() }
    pub fn freeze(&self) -> Result<(), Error> { todo!() }
    pub fn thaw(&self) -> Result<(), Error> { todo!() }
    pub fn frozen(&self) -> bool { todo!() }
    /// Every process in the container's cgroup and below; empty when there is none or no directory.
    pub fn pids(&self) -> Vec<i32> { todo!() }
    pub fn kill(&self, _signal: i32) -> Result<(), Error> { todo!() }
    pub fn stats(&self) -> Result<Stats, Error> { todo!() }
    pub fn oom(&self) -> Result<OomWatch, Error> { todo!() }
    pub fn remove(&self) -> Result<(), Error> { todo!() }
    /// For the mount of type `cgroup`: one entry a hierarchy. v2: one entry whose name is "".
    pub fn hierarchies(&self) -> Vec<Hierarchy<'_>> { todo!() }
    pub fn layout(&self) -> Layout { todo!() }
}

/// A hierarchy the container has a directory in.
pub struct Hierarchy<'a> {
    /// The name of the mount point below `/sys/fs/cgroup` (`memory`, `cpu,cpuacct`); empty on v2.
    pub name: &'a str,
    /// Controllers as the options of a mount (`name=systemd` too).
    pub controllers: &'a [String],
    /// The container's own directory on the host.
    pub dir: &'a Path,
}

/// Open descriptors through which a child enters.
pub struct Entry {}
impl Entry {
    /// v2: for CLONE_INTO_CGROUP.
    pub fn into_cgroup(&self) -> Option<BorrowedFd<'_>> { todo!() }
    /// v1: called by the single-threaded child itself; async-signal-safe, allocates nothing.
    pub fn join(&self) -> io::Result<()> { todo!() }
}

/// Readable (or EPOLLPRI) after the kernel killed for want of memory.
pub struct OomWatch { fd: OwnedFd }
impl OomWatch {
    /// How many processes were killed since the container began; also empties the descriptor.
    pub fn count(&self) -> Result<u64, Error> { todo!() }
}
impl AsFd for OomWatch { fn as_fd(&self) -> BorrowedFd<'_> { self.fd.as_fd() } }
