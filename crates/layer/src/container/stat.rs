//! What `HEAD /containers/{id}/archive` says of a path: Docker's `X-Docker-Container-Path-Stat`.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Statx};

use super::inside::{Asked, follow};
use super::{Error, Result};
use crate::disk::{self, Context};

#[derive(Debug, serde::Serialize)]
pub struct Stat {
    name: String,
    size: u64,
    /// The bits of Go's os.FileMode.
    mode: u32,
    mtime: String,
    #[serde(rename = "linkTarget")]
    link_target: String,
}

/// Looks at a path; of a link also where it leads in the end.
pub fn stat(root: impl AsFd, asked: &Asked) -> Result<Stat> {
    let open = asked.open(&root)?;
    let found = disk::look_at(&open).on("look at", &asked.path)?;
    let link_target = if disk::kind(&found) == FileType::Symlink {
        let target = follow(&root, &asked.path).on("follow", &asked.path)?;
        let target = target.ok_or_else(|| Error::NotFound(asked.shown()))?;
        disk::show(&target).into_owned()
    } else {
        String::new()
    };
    Ok(Stat {
        name: disk::show(asked.name()).into_owned(),
        size: found.stx_size,
        mode: go_mode(&found),
        mtime: instant(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
        link_target,
    })
}

/// Go's io/fs.FileMode: the nine bits as ever, the rest from the top.
fn go_mode(found: &Statx) -> u32 {
    let kind = match disk::kind(found) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::CharacterDevice => 1 << 26 | 1 << 21,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        _ => 0,
    };
    let mode = disk::mode(found);
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    special
        .iter()
        .filter(|(bit, _)| mode & bit != 0)
        .fold(kind | mode & 0o777, |all, (_, go)| all | go)
}

/// RFC 3339 in UTC, with as many digits of a second as are needed.
fn instant(seconds: i64, nanoseconds: u32) -> String {
    let (whole, fraction) = (calendar::rfc3339(seconds), calendar::fraction(nanoseconds));
    format!("{whole}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::instant;

    #[test]
    fn instants() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_399, 500_000_000, "2000-02-28T23:59:59.5Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (1_709_251_199, 0, "2024-02-29T23:59:59Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00Z"),
            (-1, 0, "1969-12-31T23:59:59Z"),
        ];
        for (seconds, nanoseconds, expected) in cases {
            assert_eq!(instant(seconds, nanoseconds), expected);
        }
    }
}
