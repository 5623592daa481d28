//! What an overlay changed: its upper directory, read against its lower ones.
//!
//! A file that was copied up and is still the same is no change; nor is a directory that holds one. [`walk`] visits
//! a directory's names in order, then its sub-directories, so a directory always comes before what lies in it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Statx};
use rustix::io::Errno;

use crate::disk::{self, Context};
use crate::overlay::{self, Marks};

/// One overlay: where its directories are.
#[derive(Debug)]
pub struct Overlay {
    pub upper: OwnedFd,
    /// Topmost first.
    pub lowers: Vec<OwnedFd>,
    pub marks: Marks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}

/// A change, with what stands there now and what stood there before.
#[derive(Debug)]
pub struct Change<'a> {
    /// Relative to the overlay's root; empty for the root itself.
    pub path: &'a [u8],
    pub kind: Kind,
    pub now: Option<Statx>,
    pub before: Option<Statx>,
}

impl Change<'_> {
    /// What is, or for a deletion was, there.
    pub fn shown(&self) -> &Statx {
        self.now
            .as_ref()
            .or(self.before.as_ref())
            .expect("a change has one of both sides")
    }
}

/// A visitor's answer for a directory: look at what lies in it, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descend {
    Yes,
    No,
}

/// Calls `visit` for every change.
pub fn walk<E: From<disk::Error>>(
    overlay: &Overlay,
    visit: &mut dyn FnMut(&Change<'_>) -> Result<Descend, E>,
) -> Result<(), E> {
    let all = (0..overlay.lowers.len()).collect();
    let now = disk::look_at(&overlay.upper).on("look at", b"")?;
    let before = overlay
        .lowers
        .first()
        .map(|lower| disk::look_at(lower).on("look at", b""))
        .transpose()?;
    if before.is_some_and(|before| disk::mode(&before) != disk::mode(&now)) {
        visit(&Change {
            path: b"",
            kind: Kind::Modified,
            now: Some(now),
            before,
        })?;
    }
    Walk { overlay, visit }.directory(&Place {
        path: Vec::new(),
        lowers: all,
    })
}

/// A directory of the upper, and the lowers (topmost first) that show through it.
pub(crate) struct Place {
    pub(crate) path: Vec<u8>,
    pub(crate) lowers: Vec<usize>,
}

/// What the lowers show at one name.
pub(crate) struct Below {
    pub(crate) found: Statx,
    /// The lowers that merge there when it is a directory.
    pub(crate) lowers: Vec<usize>,
}

struct Walk<'a, E> {
    overlay: &'a Overlay,
    visit: &'a mut dyn FnMut(&Change<'_>) -> Result<Descend, E>,
}

impl<E: From<disk::Error>> Walk<'_, E> {
    fn directory(&mut self, place: &Place) -> Result<(), E> {
        for child in self.names(place)? {
            self.directory(&child)?;
        }
        Ok(())
    }

    /// Visits the names of one directory; returns the directories to walk next.
    fn names(&mut self, place: &Place) -> Result<Vec<Place>, E> {
        let upper = disk::directory(&self.overlay.upper, &place.path).on("open", &place.path)?;
        let lowers = open_lowers(self.overlay, place)?;
        let names = disk::names(&upper).on("list", &place.path)?;
        if self
            .overlay
            .marks
            .is_opaque(&upper)
            .on("read attributes of", &place.path)?
            && !place.path.is_empty()
        {
            self.hidden(place, &lowers, &names)?;
            return self.each(place, &upper, &[], &names);
        }
        self.each(place, &upper, &lowers, &names)
    }

    fn each(
        &mut self,
        place: &Place,
        upper: &OwnedFd,
        lowers: &[(usize, OwnedFd)],
        names: &[disk::Name],
    ) -> Result<Vec<Place>, E> {
        let mut next = Vec::new();
        for name in names {
            let path = disk::join(&place.path, &name.bytes);
            let Some(now) = disk::look(upper, &name.bytes).on("look at", &path)? else {
                continue;
            };
            let below = below(self.overlay, lowers, &name.bytes).on("look at", &path)?;
            if overlay::is_whiteout(&now) {
                self.deleted(&path, below)?;
                continue;
            }
            let is_directory = disk::kind(&now) == FileType::Directory;
            let merged = below
                .as_ref()
                .is_some_and(|below| disk::kind(&below.found) == FileType::Directory);
            let same = match &below {
                Some(below) if is_directory && merged => {
                    disk::mode(&below.found) == disk::mode(&now)
                }
                Some(below) => {
                    is_same(upper, &now, lowers, &below.found, &name.bytes).on("compare", &path)?
                }
                None => false,
            };
            let before = below.as_ref().map(|below| below.found);
            let descend = if same {
                Descend::Yes
            } else {
                let kind = before.map_or(Kind::Added, |_| Kind::Modified);
                let now = Some(now);
                let path = &path[..];
                (self.visit)(&Change {
                    path,
                    kind,
                    now,
                    before,
                })?
            };
            if is_directory && descend == Descend::Yes {
                let lowers = below
                    .filter(|_| merged)
                    .map(|below| below.lowers)
                    .unwrap_or_default();
                next.push(Place { path, lowers });
            }
        }
        Ok(next)
    }

    /// Reports what a whiteout hides; one that hides nothing is no change.
    fn deleted(&mut self, path: &[u8], below: Option<Below>) -> Result<(), E> {
        if let Some(below) = below {
            (self.visit)(&Change {
                path,
                kind: Kind::Deleted,
                now: None,
                before: Some(below.found),
            })?;
        }
        Ok(())
    }

    /// Reports what an opaque directory hides and does not hold itself.
    fn hidden(
        &mut self,
        place: &Place,
        lowers: &[(usize, OwnedFd)],
        names: &[disk::Name],
    ) -> Result<(), E> {
        let mut hidden = std::collections::BTreeSet::new();
        for (_, lower) in lowers {
            hidden.extend(
                disk::names(lower)
                    .on("list", &place.path)?
                    .into_iter()
                    .map(|name| name.bytes),
            );
        }
        for name in hidden {
            if names.binary_search_by(|here| here.bytes.cmp(&name)).is_ok() {
                continue;
            }
            let path = disk::join(&place.path, &name);
            if let Some(below) = below(self.overlay, lowers, &name).on("look at", &path)? {
                (self.visit)(&Change {
                    path: &path,
                    kind: Kind::Deleted,
                    now: None,
                    before: Some(below.found),
                })?;
            }
        }
        Ok(())
    }
}

pub(crate) fn open_lowers(overlay: &Overlay, place: &Place) -> disk::Result<Vec<(usize, OwnedFd)>> {
    let mut open = Vec::new();
    for index in &place.lowers {
        match disk::directory(&overlay.lowers[*index], &place.path) {
            Ok(fd) => open.push((*index, fd)),
            // Gone or replaced meanwhile: then it shows nothing.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {}
            Err(errno) => return Err(errno).on("open", &place.path),
        }
    }
    Ok(open)
}

/// What shows at `name` from below: the topmost entry, and for a directory those that merge with it.
pub(crate) fn below(
    overlay: &Overlay,
    lowers: &[(usize, OwnedFd)],
    name: &[u8],
) -> rustix::io::Result<Option<Below>> {
    let mut shown: Option<Below> = None;
    for (index, lower) in lowers {
        let Some(found) = disk::look(lower, name)? else {
            continue;
        };
        let directory = disk::kind(&found) == FileType::Directory;
        if overlay::is_whiteout(&found) || (shown.is_some() && !directory) {
            break;
        }
        let opaque = directory
            && disk::directory(lower, name)
                .is_ok_and(|fd| overlay.marks.is_opaque(fd).unwrap_or(false));
        shown
            .get_or_insert(Below {
                found,
                lowers: Vec::new(),
            })
            .lowers
            .push(*index);
        if !directory || opaque {
            break;
        }
    }
    Ok(shown)
}

/// Whether a file, link or device is what it was: same type, mode and content.
fn is_same(
    upper: &OwnedFd,
    now: &Statx,
    lowers: &[(usize, OwnedFd)],
    before: &Statx,
    name: &[u8],
) -> rustix::io::Result<bool> {
    if now.stx_mode != before.stx_mode || now.stx_size != before.stx_size {
        return Ok(false);
    }
    let lower = lowers.iter().find(|(_, lower)| matches!(disk::look(lower, name), Ok(Some(found)) if disk::same(&found, before)));
    let Some((_, lower)) = lower else {
        return Ok(false);
    };
    match disk::kind(now) {
        FileType::RegularFile => same_content(upper, lower, name),
        FileType::Symlink => {
            let link = |dir| rustix::fs::readlinkat(dir, name, Vec::new());
            Ok(link(upper)? == link(lower)?)
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            Ok((now.stx_rdev_major, now.stx_rdev_minor)
                == (before.stx_rdev_major, before.stx_rdev_minor))
        }
        _ => Ok(true),
    }
}

fn same_content(upper: &OwnedFd, lower: &OwnedFd, name: &[u8]) -> rustix::io::Result<bool> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = |dir: &OwnedFd| rustix::fs::openat(dir.as_fd(), name, flags, Mode::empty());
    // A file that may not be read cannot be called the same.
    let (Ok(a), Ok(b)) = (open(upper), open(lower)) else {
        return Ok(false);
    };
    let (mut a, mut b) = (File::from(a), File::from(b));
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let (Ok(n), Ok(m)) = (fill(&mut a, &mut left), fill(&mut b, &mut right)) else {
            return Ok(false);
        };
        if n != m || left[..n] != right[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}
