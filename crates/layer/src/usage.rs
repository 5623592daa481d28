//! What a directory takes up: disk, bytes of files, inodes. A file with several names counts once.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::disk::{self, Context, Listing, Result};

/// Files with several names that are told apart; of more each name counts.
const MOST_LINKED: usize = 1 << 22;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// On the disk.
    pub bytes: u64,
    /// Of regular files and links as they read.
    pub size: u64,
    pub inodes: u64,
}

/// Adds up `root` and what lies below it on the same mount. What vanishes meanwhile is not counted.
pub fn usage(root: &OwnedFd) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let own = disk::look_at(root).on("look at", b".")?;
    usage.bytes += own.stx_blocks * 512;
    usage.inodes += 1;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let open = disk::directory(root, b"").on("open", b".")?;
    let mut levels = vec![Listing::new(open)];
    while let Some(here) = levels.last_mut() {
        let Some(name) = here.take().on("list", b".")? else {
            levels.pop();
            continue;
        };
        let name = &name.bytes;
        let Some(found) = disk::look(&here.open, name).on("look at", name)? else {
            continue;
        };
        if found.stx_mnt_id != own.stx_mnt_id {
            continue;
        }
        let directory = disk::kind(&found) == FileType::Directory;
        let inode = (found.stx_ino, found.stx_dev_major, found.stx_dev_minor);
        let several = !directory && found.stx_nlink > 1;
        if several && (seen.contains(&inode) || seen.len() < MOST_LINKED && !seen.insert(inode)) {
            continue;
        }
        usage.bytes += found.stx_blocks * 512;
        usage.inodes += 1;
        if !directory {
            usage.size += found.stx_size;
            continue;
        }
        match disk::beneath(&here.open, name, flags) {
            Ok(open) => levels.push(Listing::new(open)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(errno).on("open", name),
        }
    }
    Ok(usage)
}
