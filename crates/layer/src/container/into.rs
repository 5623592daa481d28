//! An archive into a directory of a container: Docker's `PUT /containers/{id}/archive`.
//!
//! Names are resolved with the container's root as `/`, so that links already there are followed as the container would, and
//! no further. A thing is made under its last name in an open directory, never through a link, and gets owner and mode by the
//! descriptor that made it.

use std::fs::File;
use std::io::BufRead;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::inside::{Asked, within};
use super::{Error, Result};
use crate::disk::{self, Context};
use crate::ids::{self, Map};
use crate::intake::{self, Limits, Tally};
use crate::remove;
use crate::stream::{self, Input};
use crate::tar::{Entry, Kind, Reader};

const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
const NEW_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// Attributes of overlayfs itself.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

#[derive(Debug, Default)]
pub struct Options {
    pub uids: Map,
    pub gids: Map,
    /// Everything is theirs, whatever the archive says; ids of the container.
    pub owner: Option<(u32, u32)>,
    /// A directory is not replaced by something else, nor the other way round.
    pub keep_types: bool,
    pub limits: Limits,
}

#[derive(Debug, serde::Serialize)]
pub struct Counts {
    pub entries: u64,
    pub bytes: u64,
    pub skipped_xattrs: u64,
}

/// Copies the archive in; what was written before a failure stays, as with Docker.
pub fn copy_in(root: &OwnedFd, asked: &Asked, input: Input, options: &Options) -> Result<Counts> {
    let handle = asked.open_directory(root)?;
    std::thread::scope(|scope| {
        let (stream, feeders) = stream::start_plain(scope, input, options.limits.stream());
        // The stream goes with the writer, also when that fails: then the threads end by themselves.
        let outcome = write(stream, (root, asked, handle), options);
        let totals = feeders.finish();
        let counts = outcome?;
        totals
            .ok_or(Error::Intake(intake::Error::Cut))
            .map(|_| counts)
    })
}

fn write(
    stream: stream::Stream,
    (root, asked, handle): (&OwnedFd, &Asked, OwnedFd),
    options: &Options,
) -> Result<Counts> {
    rustix::process::umask(Mode::empty());
    let natural = become_root_of(options)?;
    let mut into = Into {
        root,
        base: asked.path.clone(),
        options,
        kept: (Vec::new(), Rc::new(handle)),
        dates: Vec::new(),
        natural,
        skipped_xattrs: 0,
    };
    let mut archive = Reader::new(stream);
    let mut entry = Entry::default();
    let mut tally = Tally::new(options.limits);
    while tally.next(&mut archive, &mut entry)? {
        into.entry(&mut archive, &entry)?;
    }
    into.date()?;
    intake::drain(archive.into_source())?;
    Ok(Counts {
        entries: tally.entries,
        bytes: tally.bytes,
        skipped_xattrs: into.skipped_xattrs,
    })
}

struct Into<'a> {
    root: &'a OwnedFd,
    /// The destination, as the container calls it.
    base: Vec<u8>,
    options: &'a Options,
    /// The directory that was opened last, by its path below the destination.
    kept: (Vec<u8>, Rc<OwnedFd>),
    /// Directories whose time is set last, because what is written into them changes it.
    dates: Vec<(Vec<u8>, Statx, (i64, u32))>,
    /// Who owns what was just made.
    natural: u32,
    skipped_xattrs: u64,
}

/// What an entry becomes: a name in a directory that is open.
struct Made<'a> {
    parent: &'a OwnedFd,
    name: &'a [u8],
    /// Below the destination.
    whole: &'a [u8],
    entry: &'a Entry,
    /// On this host.
    owner: (u32, u32),
}

impl Made<'_> {
    fn times(&self) -> Timestamps {
        let (seconds, nanoseconds) = self.entry.mtime;
        disk::times(seconds, nanoseconds)
    }
}

/// Makes files as the container's root from here on: through an id-mapped mount nobody else can. Rights stay as they are.
fn become_root_of(options: &Options) -> Result<u32> {
    let own = rustix::process::geteuid().as_raw();
    let (Some(uid), Some(gid)) = (options.uids.to_host(0), options.gids.to_host(0)) else {
        return Ok(own);
    };
    if uid == own && gid == rustix::process::getegid().as_raw() {
        return Ok(own);
    }
    sys::keep_capabilities_with_any_id().map_err(|source| Error::Mount {
        action: "keep the rights of root".to_owned(),
        source,
    })?;
    sys::set_file_ids(uid, gid);
    Ok(uid)
}

impl Into<'_> {
    fn entry<R: BufRead>(&mut self, archive: &mut Reader<R>, entry: &Entry) -> Result<()> {
        let whole = beneath(&entry.path).ok_or_else(|| {
            let base = disk::show(&self.base);
            refused(
                entry,
                &format!("it is outside of \"/{base}\", or longer than 4095 bytes"),
            )
        })?;
        if whole.is_empty() {
            // The destination keeps its own owner and mode.
            return match entry.kind {
                Kind::Directory => Ok(()),
                _ => Err(refused(entry, "its name is the destination itself")),
            };
        }
        let (parent, name) = disk::split(&whole);
        let parent = self.directory(parent)?;
        let merged = self.make_room(&parent, name, &whole, entry.kind == Kind::Directory)?;
        let at = Made {
            parent: &parent,
            name,
            whole: &whole,
            entry,
            owner: self.owner(entry)?,
        };
        match entry.kind {
            Kind::Directory => {
                if !merged {
                    rustix::fs::mkdirat(&parent, name, Mode::RWXU).on("make directory", &whole)?;
                }
                self.finish_directory(&at)
            }
            Kind::File => self.file(&at, archive),
            Kind::HardLink => self.hard_link(&parent, name, entry),
            Kind::Symlink => {
                if entry.link.is_empty() || entry.link.contains(&0) {
                    return Err(refused(entry, "its target is empty or has a NUL byte"));
                }
                rustix::fs::symlinkat(&entry.link, &parent, name).on("link", &whole)?;
                self.finish_node(&at)
            }
            Kind::Char | Kind::Block | Kind::Fifo => self.node(&at),
        }
    }

    /// A directory below the destination; what is missing of it is made as root's.
    fn directory(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        if self.kept.0 == path {
            return Ok(self.kept.1.clone());
        }
        let whole = self.whole(path);
        let open = match within(self.root, &whole, HANDLE) {
            Err(Errno::NOENT) => self.imply(path)?,
            found => found.on("open", &whole)?,
        };
        self.kept = (path.to_vec(), Rc::new(open));
        Ok(self.kept.1.clone())
    }

    fn whole(&self, path: &[u8]) -> Vec<u8> {
        disk::join(&self.base, path)
    }

    fn absolute(&self, path: &[u8]) -> String {
        let whole = self.whole(path);
        format!("/{}", shown(whole.strip_suffix(b"/").unwrap_or(&whole)))
    }

    fn imply(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let root = Entry {
            mode: 0o755,
            ..Entry::default()
        };
        let owner = self.owner(&root)?;
        let ends = (1..=path.len()).filter(|end| *end == path.len() || path[*end] == b'/');
        let mut open = within(self.root, &self.base, HANDLE).on("open", &self.base)?;
        for end in ends {
            let whole = self.whole(&path[..end]);
            let (_, name) = disk::split(&whole);
            match rustix::fs::mkdirat(&open, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    let made =
                        disk::beneath(&open, name, HANDLE | OFlags::NOFOLLOW).on("open", &whole)?;
                    disk::own(&made, owner).on("set owner of", &whole)?;
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).on("make directory", &whole)?,
            }
            open = within(self.root, &whole, HANDLE).on("open", &whole)?;
        }
        Ok(open)
    }

    /// Removes what stands in the way; true when a directory is to be merged into the one that is there.
    fn make_room(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        whole: &[u8],
        directory: bool,
    ) -> Result<bool> {
        let Some(found) = disk::look(parent, name).on("look at", whole)? else {
            return Ok(false);
        };
        let is_directory = disk::kind(&found) == FileType::Directory;
        match (is_directory, directory) {
            (true, true) => return Ok(true),
            (true, false) if self.options.keep_types => {
                return Err(Error::OverDirectory(
                    self.absolute(whole),
                    self.absolute(b""),
                ));
            }
            (false, true) if self.options.keep_types => {
                return Err(Error::OverOther(self.absolute(whole), self.absolute(b"")));
            }
            (true, false) => {
                remove::remove_at(parent, name)?;
                // It may have lain within.
                self.kept.0 = b"/".to_vec();
            }
            (false, _) => {
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).on("replace", whole)?
            }
        }
        Ok(false)
    }

    /// The owner on this host.
    fn owner(&self, entry: &Entry) -> Result<(u32, u32)> {
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        let mapped = |map: &Map, kind: &str, id| {
            map.to_host(id).ok_or_else(|| {
                refused(entry, &format!("{kind} {id} is not in the container's map"))
            })
        };
        Ok((
            mapped(&self.options.uids, "user", uid)?,
            mapped(&self.options.gids, "group", gid)?,
        ))
    }

    fn finish_directory(&mut self, at: &Made) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let open = disk::beneath(at.parent, at.name, flags).on("open", at.whole)?;
        self.finish(&open, at.whole, at)?;
        let found = disk::look_at(&open).on("look at", at.whole)?;
        self.dates.push((at.whole.to_vec(), found, at.entry.mtime));
        Ok(())
    }

    fn file<R: BufRead>(&mut self, at: &Made, archive: &mut Reader<R>) -> Result<()> {
        let path = &at.entry.path;
        let open = rustix::fs::openat(at.parent, at.name, NEW_FILE, Mode::RUSR | Mode::WUSR)
            .on("create", path)?;
        let mut file = File::from(open);
        intake::fill(&mut file, archive, at.entry).map_err(|source| Error::Fill {
            path: shown(path),
            source,
        })?;
        self.finish(&file, path, at)?;
        rustix::fs::futimens(&file, &at.times()).on("date", path)?;
        Ok(())
    }

    /// A name for a file that the archive brought before, or that the destination has.
    fn hard_link(&mut self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> Result<()> {
        let target = beneath(&entry.link)
            .ok_or_else(|| refused(entry, "its target is outside of the destination"))?;
        let (from, old) = disk::split(&target);
        let whole = self.whole(from);
        let source = within(self.root, &whole, HANDLE).on("open", &whole)?;
        rustix::fs::linkat(&source, old, parent, name, AtFlags::empty()).on("link", &entry.path)?;
        Ok(())
    }

    fn node(&mut self, at: &Made) -> Result<()> {
        let entry = at.entry;
        let kind = match entry.kind {
            Kind::Char if (entry.major, entry.minor) == (0, 0) => {
                return Err(refused(entry, "a device 0:0 would delete what lies below"));
            }
            Kind::Char => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = rustix::fs::makedev(entry.major, entry.minor);
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        rustix::fs::mknodat(at.parent, at.name, kind, mode, device).on("make node", at.whole)?;
        self.finish_node(at)
    }

    /// Owner and time of what cannot be opened for writing: of what lies there, if it is still what was made.
    fn finish_node(&mut self, at: &Made) -> Result<()> {
        let (entry, whole) = (at.entry, at.whole);
        self.skipped_xattrs += entry.attributes.len() as u64;
        let made =
            disk::beneath(at.parent, at.name, OFlags::PATH | OFlags::NOFOLLOW).on("open", whole)?;
        let found = disk::look_at(&made).on("look at", whole)?;
        let made_here = found.stx_nlink == 1
            && found.stx_uid == self.natural
            && disk::kind(&found) != FileType::RegularFile;
        if !made_here {
            return Err(Errno::STALE).on("set owner of", whole)?;
        }
        disk::own(&made, at.owner).on("set owner of", whole)?;
        if entry.kind != Kind::Symlink && entry.mode & 0o7000 != 0 {
            // What a handle refers to, without its name.
            let handle = format!("/proc/self/fd/{}", made.as_raw_fd());
            rustix::fs::chmod(handle, Mode::from_raw_mode(entry.mode)).on("set mode of", whole)?;
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::utimensat(at.parent, at.name, &at.times(), flags).on("date", whole)?)
    }

    /// Owner, attributes and mode of what is open: in this order, as a change of owner takes from the others.
    fn finish(&mut self, open: impl AsFd, path: &[u8], at: &Made) -> Result<()> {
        disk::own(&open, at.owner).on("set owner of", path)?;
        self.attributes(&open, at.entry)?;
        Ok(
            rustix::fs::fchmod(&open, Mode::from_raw_mode(at.entry.mode))
                .on("set mode of", path)?,
        )
    }

    fn attributes(&mut self, file: impl AsFd, entry: &Entry) -> Result<()> {
        for (name, value) in &entry.attributes {
            let capability = name == ids::CAPABILITY;
            let served = capability || name.starts_with(b"user.");
            if !served || OVERLAY.iter().any(|own| name.starts_with(own)) {
                self.skipped_xattrs += 1;
                continue;
            }
            let bound;
            let value = if capability {
                bound = ids::capability_to_host(value, self.options.uids.to_host(0).unwrap_or(0));
                &bound
            } else {
                value
            };
            match rustix::fs::fsetxattr(&file, &name[..], value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) if !capability => self.skipped_xattrs += 1,
                Err(errno) => return Err(errno).on("set an attribute of", &entry.path)?,
            }
        }
        Ok(())
    }

    fn date(&mut self) -> Result<()> {
        for (path, seen, mtime) in self.dates.iter().rev() {
            let whole = self.whole(path);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            // Gone, or another one: then its time is not ours to set.
            if let Ok(open) = within(self.root, &whole, flags)
                && disk::look_at(&open).is_ok_and(|found| disk::same(&found, seen))
            {
                rustix::fs::futimens(&open, &disk::times(mtime.0, mtime.1)).on("date", &whole)?;
            }
        }
        Ok(())
    }
}

/// A name below the destination, `..` undone by its text as Docker does; None when that leads out.
fn beneath(name: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/')).filter(|path| path.len() < 4096)
}

fn shown(path: &[u8]) -> String {
    disk::show(path).into_owned()
}

fn refused(entry: &Entry, reason: &str) -> Error {
    Error::Entry {
        path: shown(&entry.path),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::beneath;

    #[test]
    fn names_stay_beneath() {
        let cases: [(&str, Option<&str>); 8] = [
            ("/a//./b/", Some("a/b")),
            ("a/../b", Some("b")),
            ("./", Some("")),
            ("a/..", Some("")),
            ("..", None),
            ("a/../../b", None),
            ("/../b", None),
            ("...", Some("...")),
        ];
        for (name, expected) in cases {
            let found = beneath(name.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{name}");
        }
        assert_eq!(beneath(&[b'a'; 5000]), None);
    }
}
