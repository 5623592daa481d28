//! Paths as a container sees them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Error, Result};
use crate::disk;

/// As many links as the kernel follows, and some more.
const MOST_LINKS: usize = 255;
/// Renames beside a walk make the kernel ask for another try; a container can do that for ever.
const TRIES: usize = 1000;

/// How a path ends, which says whether its last name is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Name,
    Slash,
    Dot,
}

/// A path that somebody asked for: absolute in the container whether it says so or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Without leading and trailing slashes; `..` was undone by its text, as Docker does.
    pub path: Vec<u8>,
    tail: Tail,
}

impl Asked {
    pub fn new(text: &[u8]) -> Asked {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in text.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let tail = match text.rsplit(|byte| *byte == b'/').next() {
            Some(b".") => Tail::Dot,
            Some(b"") => Tail::Slash,
            _ => Tail::Name,
        };
        Asked {
            path: parts.join(&b'/'),
            tail,
        }
    }

    /// The base name in Docker's answers and archives.
    pub fn name(&self) -> &[u8] {
        match (self.tail, self.path.is_empty()) {
            (Tail::Dot, _) => b".",
            (_, true) => b"/",
            _ => disk::split(&self.path).1,
        }
    }

    pub fn shown(&self) -> String {
        format!("/{}", disk::show(&self.path))
    }

    /// What lies there: the last name not followed, unless the path says by its end that it is a directory.
    pub fn open(&self, root: impl AsFd) -> Result<OwnedFd> {
        let flags = match self.tail {
            Tail::Name => OFlags::PATH | OFlags::NOFOLLOW,
            Tail::Slash | Tail::Dot => OFlags::PATH | OFlags::DIRECTORY,
        };
        within(root, &self.path, flags).map_err(|errno| self.error(errno))
    }

    /// The directory there, through links.
    pub fn open_directory(&self, root: impl AsFd) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        within(root, &self.path, flags).map_err(|errno| self.error(errno))
    }

    fn error(&self, errno: Errno) -> Error {
        match errno {
            Errno::NOENT => Error::NotFound(self.shown()),
            Errno::NOTDIR => Error::NotDirectory(self.shown()),
            errno => Error::Disk(disk::Error {
                action: "look at",
                path: self.shown(),
                source: errno,
            }),
        }
    }
}

/// Opens `path` with `root` as `/`; links are the container's own, magic ones are not followed.
pub fn within(root: impl AsFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES {
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Where a path leads when every link is followed, as far as there is something; None when links go round in circles.
pub fn follow(root: impl AsFd, path: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
    let parts = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/')
            .map(<[u8]>::to_vec)
            .collect()
    };
    let mut todo = VecDeque::from(parts(path));
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        match &part[..] {
            b"" | b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => done.push(part),
        }
        let here = done.join(&b'/');
        let open = match disk::beneath(&root, &here, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(open) => open,
            // What is not there has no links; what changes meanwhile is as good as not there.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => continue,
            Err(errno) => return Err(errno),
        };
        if disk::kind(&disk::look_at(&open)?) != FileType::Symlink {
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Ok(None);
        }
        let target = rustix::fs::readlinkat(&open, "", Vec::new())?.into_bytes();
        done.pop();
        if target.starts_with(b"/") {
            done.clear();
        }
        for part in parts(&target).into_iter().rev() {
            todo.push_front(part);
        }
    }
    Ok(Some([b"/", &done.join(&b'/')[..]].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let cases: [(&str, &str, &str, Tail); 11] = [
            ("/etc/passwd", "etc/passwd", "passwd", Tail::Name),
            ("etc/", "etc", "etc", Tail::Slash),
            ("/etc/.", "etc", ".", Tail::Dot),
            ("/", "", "/", Tail::Slash),
            ("", "", "/", Tail::Slash),
            (".", "", ".", Tail::Dot),
            ("/.", "", ".", Tail::Dot),
            ("//a//../b", "b", "b", Tail::Name),
            ("../../a", "a", "a", Tail::Name),
            ("/a/..", "", "/", Tail::Name),
            ("/a/./b/.//", "a/b", "b", Tail::Slash),
        ];
        for (text, path, name, tail) in cases {
            let asked = Asked::new(text.as_bytes());
            assert_eq!(disk::show(&asked.path), path, "{text:?}");
            assert_eq!(disk::show(asked.name()), name, "{text:?}");
            assert_eq!(asked.tail, tail, "{text:?}");
        }
    }
}
