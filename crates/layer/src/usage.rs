//! What a directory takes up: disk, bytes of files, inodes. A file with several names counts once.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::disk::{self, Context, Result};

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// On the disk.
    pub bytes: u64,
    /// Of regular files and links as they read.
    pub size: u64,
    pub inodes: u64,
}

/// Adds up `root` and what lies below it on the same mount. What vanishes meanwhile is not counted.
pub fn usage(root: OwnedFd) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let own = disk::look_at(&root).on("look at", b".")?;
    usage.bytes += own.stx_blocks * 512;
    usage.inodes += 1;
    let mut todo = vec![Vec::new()];
    while let Some(path) = todo.pop() {
        let open = match disk::directory(&root, &path) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            open => open.on("open", &path)?,
        };
        for name in disk::unsorted_names(&open, usize::MAX).on("list", &path)? {
            let whole = disk::join(&path, &name.bytes);
            let Some(found) = disk::look(&open, &name.bytes).on("look at", &whole)? else {
                continue;
            };
            if found.stx_mnt_id != own.stx_mnt_id {
                continue;
            }
            let directory = disk::kind(&found) == FileType::Directory;
            let inode = (found.stx_ino, found.stx_dev_major, found.stx_dev_minor);
            if !directory && found.stx_nlink > 1 && !seen.insert(inode) {
                continue;
            }
            usage.bytes += found.stx_blocks * 512;
            usage.inodes += 1;
            if directory {
                todo.push(whole);
            } else {
                usage.size += found.stx_size;
            }
        }
    }
    Ok(usage)
}
