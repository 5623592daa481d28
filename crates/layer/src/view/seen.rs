//! What a view was made from: paths and a fingerprint of their attributes, for a check that opens nothing.
//!
//! Listed are every name in the readable part of `/etc`, the package databases, and the directories near the top of
//! `/usr`, `/opt` and the like. A name that appears or goes changes its directory's times, so directories need not be
//! read again. Deeper directories are covered by the package databases alone: one that somebody closes by hand there is
//! noticed at the next build.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, Statx};

use crate::disk::{self, Context};

/// Changes with the format of the list or of the tree.
const FORMAT: &[u8] = b"stockade view 1\n";

/// A check of more than this costs more than it is worth; a list longer than this is none of ours.
const LONGEST: u64 = 64 << 20;

/// Package managers rewrite one of these whenever they change a system directory.
pub(super) const DATABASES: [&[u8]; 7] = [
    b"var/lib/dpkg/status",
    b"var/lib/rpm/rpmdb.sqlite",
    b"var/lib/rpm/Packages",
    b"usr/lib/sysimage/rpm/rpmdb.sqlite",
    b"lib/apk/db/installed",
    b"usr/lib/apk/db/installed",
    b"var/lib/pacman/local",
];

#[derive(Debug, Default)]
pub(super) struct Seen {
    list: Vec<u8>,
}

impl Seen {
    pub(super) fn new() -> Seen {
        Seen {
            list: FORMAT.to_vec(),
        }
    }

    /// Records what was found at `path`; `None` that nothing was.
    pub(super) fn add(&mut self, path: &[u8], found: Option<&Statx>) {
        self.list
            .extend_from_slice(&fingerprint(found).to_le_bytes());
        self.list.extend_from_slice(path);
        self.list.push(0);
    }

    pub(super) fn append(&mut self, other: &Seen) {
        self.list.extend_from_slice(&other.list[FORMAT.len()..]);
    }

    pub(super) fn write(&self, place: impl AsFd, name: &str) -> disk::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(place, name, flags, Mode::RUSR | Mode::WUSR)
            .on("create", name.as_bytes())?;
        File::from(file)
            .write_all(&self.list)
            .map_err(|error| disk::Error {
                action: "write",
                path: name.to_owned(),
                source: rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO),
            })
    }

    /// None when the list is cut or of another format: then the view is out of date.
    pub(super) fn read(file: OwnedFd) -> Option<Seen> {
        let mut list = Vec::new();
        File::from(file).take(LONGEST).read_to_end(&mut list).ok()?;
        list.starts_with(FORMAT).then_some(Seen { list })
    }

    /// Whether everything listed is as it was.
    pub(super) fn holds(&self, source: &OwnedFd) -> bool {
        let mut rest = &self.list[FORMAT.len()..];
        while let Some((print, after)) = rest.split_first_chunk::<8>() {
            let Some(end) = after.iter().position(|byte| *byte == 0) else {
                return false;
            };
            let path = if end == 0 { &b"."[..] } else { &after[..end] };
            let Ok(found) = disk::look(source, path) else {
                return false;
            };
            if fingerprint(found.as_ref()) != u64::from_le_bytes(*print) {
                return false;
            }
            rest = &after[end + 1..];
        }
        rest.is_empty()
    }
}

/// A number that differs when the inode, its mode, owner, size or times do; no attacker chooses among 2^64 of them.
fn fingerprint(found: Option<&Statx>) -> u64 {
    let Some(found) = found else { return 0 };
    let change = found.stx_ctime;
    let content = found.stx_mtime;
    let fields = [
        found.stx_ino,
        u64::from(found.stx_mode) << 32 | u64::from(found.stx_dev_minor),
        u64::from(found.stx_uid) << 32 | u64::from(found.stx_gid),
        found.stx_size,
        change.tv_sec as u64,
        u64::from(change.tv_nsec) << 32 | u64::from(content.tv_nsec),
        content.tv_sec as u64,
    ];
    fields.iter().fold(0xcbf2_9ce4_8422_2325, |sum, field| {
        let mixed = (sum ^ field).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    })
}
