//! The users and groups that an image knows: its /etc/passwd and /etc/group, which anybody may have written.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::inside::within;
use super::{Error, Result};
use crate::disk::{self, Context};

const MOST: u64 = 1 << 20;

#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
    shell: String,
}

#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

#[derive(Debug, serde::Serialize)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

/// Reads both files; one that is missing, or no regular file, names nobody.
pub fn accounts(root: impl AsFd) -> Result<Accounts> {
    Ok(Accounts {
        users: read(&root, "etc/passwd")?
            .lines()
            .filter_map(user)
            .collect(),
        groups: read(&root, "etc/group")?
            .lines()
            .filter_map(group)
            .collect(),
    })
}

fn read(root: impl AsFd, path: &'static str) -> Result<String> {
    let bytes = path.as_bytes();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    // Looked at before it is opened: opening a device can do things.
    let kind = match within(&root, bytes, OFlags::PATH) {
        Ok(handle) => disk::kind(&disk::look_at(&handle).on("look at", bytes)?),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(String::new()),
        Err(errno) => return Err(errno).on("look at", bytes)?,
    };
    if kind != FileType::RegularFile {
        return Ok(String::new());
    }
    let open = within(&root, bytes, flags).on("open", bytes)?;
    if disk::kind(&disk::look_at(&open).on("look at", bytes)?) != FileType::RegularFile {
        return Ok(String::new());
    }
    let mut text = Vec::new();
    let read = File::from(open).take(MOST + 1).read_to_end(&mut text);
    read.map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })?;
    if text.len() as u64 > MOST {
        return Err(Error::TooLarge(path));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A line of passwd(5). One whose ids are no numbers names nobody: it must not become root by mistake.
fn user(line: &str) -> Option<User> {
    let mut fields = fields(line)?;
    let name = fields.next()?;
    let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(User {
        name: name.to_owned(),
        uid,
        gid,
        home: fields.nth(1).unwrap_or_default().to_owned(),
        shell: fields.next().unwrap_or_default().to_owned(),
    })
}

/// A line of group(5).
fn group(line: &str) -> Option<Group> {
    let mut fields = fields(line)?;
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields.next().unwrap_or_default().split(',');
    Some(Group {
        name: name.to_owned(),
        gid,
        members: members
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

fn fields(line: &str) -> Option<impl Iterator<Item = &str>> {
    let line = line.trim();
    let named = !line.is_empty() && !line.starts_with(['#', ':']);
    named.then(|| line.split(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let made = |name: &str, uid, gid, home: &str, shell: &str| {
            Some(User {
                name: name.into(),
                uid,
                gid,
                home: home.into(),
                shell: shell.into(),
            })
        };
        let users = [
            (
                "root:x:0:0:root:/root:/bin/sh",
                made("root", 0, 0, "/root", "/bin/sh"),
            ),
            ("a:x:1:2", made("a", 1, 2, "", "")),
            ("a:x:1", None),
            ("a:x:one:2:::", None),
            ("a:x:-1:2:::", None),
            ("a:x:4294967296:2:::", None),
            (":x:0:0:::", None),
            ("# a:x:1:2", None),
            ("", None),
        ];
        for (line, expected) in users {
            assert_eq!(user(line), expected, "{line:?}");
        }
        let wheel = group("wheel:x:10:a,,b").unwrap();
        assert_eq!(
            (wheel.gid, wheel.members),
            (10, vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(group("wheel:x:"), None);
    }
}
