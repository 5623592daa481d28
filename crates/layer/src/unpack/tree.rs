//! Writing entries beneath one directory.
//!
//! A directory is made for its owner alone and gets its owner, mode, attributes and times when all else is written, so
//! that nothing written later changes them and no unpacked program can be reached meanwhile. Descriptors of parent
//! directories are kept for as long as no directory was replaced.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Statx, Uid, XattrFlags};
use rustix::io::Errno;

use super::path::{self, Meaning};
use super::{Counts, Devices, Error, Options, Reason};
use crate::disk::{self, Context};
use crate::ids;
use crate::intake;
use crate::overlay;
use crate::remove;
use crate::tar::{Attributes, Entry, Kind, Reader};

type Done = Result<(), Reason>;

/// Open directories that are kept.
const KEPT: usize = 256;

const HANDLE: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW);
const NEW_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What a directory gets in the end.
#[derive(Debug, Default)]
struct Directory {
    mode: u32,
    owner: (u32, u32),
    mtime: Option<(i64, u32)>,
    attributes: Attributes,
    opaque: bool,
}

pub struct Tree<'a> {
    root: OwnedFd,
    options: &'a Options,
    kept: HashMap<Vec<u8>, Rc<OwnedFd>>,
    directories: BTreeMap<Vec<u8>, Directory>,
    /// Owner that a new file has by itself; None when its directory may say otherwise.
    natural: Option<(u32, u32)>,
    pub(super) counts: Counts,
}

impl<'a> Tree<'a> {
    pub fn new(root: OwnedFd, options: &'a Options) -> Result<Tree<'a>, Error> {
        rustix::process::umask(Mode::empty());
        let found = disk::look_at(&root).on("look at", b".")?;
        // New files would inherit this; its absence is what makes a mode mean what it says.
        rustix::fs::fchmod(&root, Mode::from_raw_mode(disk::mode(&found) & 0o1777))
            .on("set mode of", b".")?;
        match rustix::fs::fremovexattr(&root, "system.posix_acl_default") {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno).on("remove the default ACL of", b".")?,
        }
        let natural = Some((
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        ));
        Ok(Tree {
            root,
            options,
            kept: HashMap::new(),
            directories: BTreeMap::new(),
            natural,
            counts: Counts::default(),
        })
    }

    /// Unpacks one entry.
    pub fn entry<R: BufRead>(&mut self, archive: &mut Reader<R>, entry: &mut Entry) -> Done {
        let mut whole = Vec::new();
        path::clean(&entry.path, &mut whole)?;
        if whole.is_empty() {
            return if entry.kind == Kind::Directory {
                self.describe(whole, entry)
            } else {
                Err(Reason::Root)
            };
        }
        let (parent, name) = disk::split(&whole);
        match path::meaning(name)? {
            Meaning::Itself => {}
            Meaning::Whiteout(hidden) => return self.whiteout(parent, hidden),
            Meaning::Opaque => return self.opaque(parent),
            Meaning::Aufs => return Ok(()),
        }
        let owner = self.owner(entry)?;
        match entry.kind {
            Kind::Directory => self.directory(&whole, entry),
            Kind::File => self.file(parent, name, archive, (entry, owner)),
            Kind::HardLink => self.hard_link(&whole, &entry.link),
            Kind::Symlink => self.symlink(parent, name, entry, owner),
            Kind::Char | Kind::Block | Kind::Fifo => self.node(parent, name, entry, owner),
        }
    }

    fn owner(&self, entry: &Entry) -> Result<(u32, u32), Reason> {
        let uid = self.options.uids.to_host(entry.uid).ok_or(Reason::Owner {
            kind: "user",
            id: entry.uid,
        })?;
        let gid = self.options.gids.to_host(entry.gid).ok_or(Reason::Owner {
            kind: "group",
            id: entry.gid,
        })?;
        Ok((uid, gid))
    }

    /// A descriptor of the directory `path`, which is made if the archive only implies it.
    fn parent(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Reason> {
        if let Some(kept) = self.kept.get(path) {
            return Ok(kept.clone());
        }
        let open = match disk::beneath(&self.root, path, HANDLE) {
            Ok(open) => open,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.imply(path)?,
            Err(errno) => return Err(errno).on("open", path)?,
        };
        if self.kept.len() >= KEPT {
            self.kept.clear();
        }
        let open = Rc::new(open);
        self.kept.insert(path.to_vec(), open.clone());
        Ok(open)
    }

    /// Makes what is missing of a path of directories.
    fn imply(&mut self, path: &[u8]) -> Result<OwnedFd, Reason> {
        let mut open = disk::beneath(&self.root, b"", HANDLE).on("open", b".")?;
        let ends = (1..=path.len()).filter(|end| *end == path.len() || path[*end] == b'/');
        for end in ends {
            let here = &path[..end];
            let (_, name) = disk::split(here);
            let shown = || disk::show(here).into_owned();
            match disk::look(&open, name).on("look at", here)? {
                Some(found) => match disk::kind(&found) {
                    FileType::Directory => {}
                    FileType::Symlink => return Err(Reason::LinkOnTheWay(shown())),
                    _ if overlay::is_whiteout(&found) => {
                        rustix::fs::unlinkat(&open, name, AtFlags::empty()).on("remove", here)?;
                        self.make_implied(open.as_fd(), here, true)?;
                    }
                    _ => return Err(Reason::FileOnTheWay(shown())),
                },
                None => self.make_implied(open.as_fd(), here, false)?,
            }
            open = disk::beneath(&open, name, HANDLE).on("open", here)?;
        }
        Ok(open)
    }

    /// A directory that has no entry is as in the lower layers, else root's with mode 0755.
    fn make_implied(&mut self, parent: BorrowedFd<'_>, path: &[u8], opaque: bool) -> Done {
        let (_, name) = disk::split(path);
        rustix::fs::mkdirat(parent, name, Mode::RWXU).on("make directory", path)?;
        let lower = self.options.lowers.iter().find_map(|lower| {
            let found = disk::beneath(lower, path, HANDLE).ok()?;
            disk::look_at(found).ok()
        });
        let made = match lower {
            Some(lower) => Directory {
                mode: disk::mode(&lower),
                owner: (lower.stx_uid, lower.stx_gid),
                mtime: Some((lower.stx_mtime.tv_sec, lower.stx_mtime.tv_nsec)),
                opaque,
                ..Directory::default()
            },
            None => {
                let owner = self.owner(&Entry::default())?;
                Directory {
                    mode: 0o755,
                    owner,
                    opaque,
                    ..Directory::default()
                }
            }
        };
        self.counts.implied += 1;
        self.directories.insert(path.to_vec(), made);
        Ok(())
    }

    fn directory(&mut self, whole: &[u8], entry: &mut Entry) -> Done {
        let (parent, name) = disk::split(whole);
        let parent = self.parent(parent)?;
        let mut opaque = false;
        if let Err(errno) = rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
            let found = exists(errno, &parent, name, whole)?;
            if disk::kind(&found) != FileType::Directory {
                opaque = overlay::is_whiteout(&found);
                rustix::fs::unlinkat(&parent, name, AtFlags::empty()).on("replace", whole)?;
                rustix::fs::mkdirat(&parent, name, Mode::RWXU).on("make directory", whole)?;
            }
        }
        self.describe(whole.to_vec(), entry)?;
        if opaque {
            self.directories.entry(whole.to_vec()).or_default().opaque = true;
        }
        Ok(())
    }

    /// Notes what a directory that stands is to get in the end.
    fn describe(&mut self, path: Vec<u8>, entry: &mut Entry) -> Done {
        let owner = self.owner(entry)?;
        let attributes = self.attributes(entry)?;
        let known = self.directories.entry(path).or_default();
        *known = Directory {
            mode: entry.mode,
            owner,
            mtime: Some(entry.mtime),
            attributes,
            opaque: known.opaque,
        };
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        parent: &[u8],
        name: &[u8],
        archive: &mut Reader<R>,
        (entry, owner): (&mut Entry, (u32, u32)),
    ) -> Done {
        let attributes = self.attributes(entry)?;
        let handle = self.parent(parent)?;
        let special = entry.mode & 0o6000 != 0;
        // Setuid only once the owner is right.
        let mode = Mode::from_raw_mode(if special { 0o600 } else { entry.mode });
        let file = match rustix::fs::openat(&handle, name, NEW_FILE, mode) {
            Ok(file) => file,
            Err(Errno::EXIST) => {
                self.clear(&handle, parent, name)?;
                rustix::fs::openat(&handle, name, NEW_FILE, mode).on("create", name)?
            }
            Err(errno) => return Err(errno).on("create", name)?,
        };
        let mut file = File::from(file);
        intake::fill(&mut file, archive, entry)?;
        if self.natural != Some(owner) {
            disk::own(&file, owner).on("set owner of", name)?;
        }
        if special {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode)).on("set mode of", name)?;
        }
        self.set_attributes(&file, &attributes, name)?;
        rustix::fs::futimens(&file, &disk::times(entry.mtime.0, entry.mtime.1)).on("date", name)?;
        Ok(())
    }

    fn hard_link(&mut self, whole: &[u8], link: &[u8]) -> Done {
        let mut target = Vec::new();
        let shown = || disk::show(link).into_owned();
        path::clean(link, &mut target).map_err(|_| Reason::LinkOutwards(shown()))?;
        let (from, old) = disk::split(&target);
        let source = match disk::beneath(&self.root, from, HANDLE) {
            Ok(source) => source,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Reason::LinkToNothing(shown())),
            Err(Errno::LOOP) => return Err(Reason::LinkOnTheWay(disk::show(from).into_owned())),
            Err(errno) => return Err(errno).on("open", from)?,
        };
        let found = if old.is_empty() {
            None
        } else {
            disk::look(&source, old).on("look at", &target)?
        };
        match found {
            Some(found)
                if disk::kind(&found) != FileType::Directory && !overlay::is_whiteout(&found) => {}
            _ => return Err(Reason::LinkToNothing(shown())),
        }
        if target == whole {
            return Err(Reason::LinkToNothing(shown()));
        }
        let (parent, name) = disk::split(whole);
        let handle = self.parent(parent)?;
        match rustix::fs::linkat(&source, old, &handle, name, AtFlags::empty()) {
            Err(Errno::EXIST) => {
                self.clear(&handle, parent, name)?;
                rustix::fs::linkat(&source, old, &handle, name, AtFlags::empty())
                    .on("link", whole)?;
            }
            other => other.on("link", whole)?,
        }
        Ok(())
    }

    fn symlink(&mut self, parent: &[u8], name: &[u8], entry: &Entry, owner: (u32, u32)) -> Done {
        if entry.link.is_empty() || entry.link.contains(&0) {
            return Err(Reason::LinkTarget);
        }
        let handle = self.parent(parent)?;
        let make = |handle: &OwnedFd| rustix::fs::symlinkat(&entry.link, handle, name);
        match make(&handle) {
            Err(Errno::EXIST) => {
                self.clear(&handle, parent, name)?;
                make(&handle).on("link", name)?;
            }
            other => other.on("link", name)?,
        }
        self.counts.skipped_attributes += entry.attributes.len() as u64;
        self.finish_node(&handle, name, entry, owner)
    }

    fn node(&mut self, parent: &[u8], name: &[u8], entry: &Entry, owner: (u32, u32)) -> Done {
        let kind = match entry.kind {
            Kind::Char => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        if kind != FileType::Fifo {
            match self.options.devices {
                Devices::Create if (entry.major, entry.minor) == (0, 0) => {
                    return Err(Reason::WhiteoutDevice);
                }
                Devices::Create => {}
                Devices::Skip => {
                    self.counts.skipped_devices += 1;
                    return Ok(());
                }
                Devices::Refuse => return Err(Reason::Device),
            }
        }
        let handle = self.parent(parent)?;
        let mode = Mode::from_raw_mode(entry.mode);
        let device = rustix::fs::makedev(entry.major, entry.minor);
        let make = |handle: &OwnedFd| rustix::fs::mknodat(handle, name, kind, mode, device);
        match make(&handle) {
            Err(Errno::EXIST) => {
                self.clear(&handle, parent, name)?;
                make(&handle).on("make node", name)?;
            }
            other => other.on("make node", name)?,
        }
        self.counts.skipped_attributes += entry.attributes.len() as u64;
        self.finish_node(&handle, name, entry, owner)
    }

    /// Owner and times of what cannot be opened.
    fn finish_node(
        &self,
        handle: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        (uid, gid): (u32, u32),
    ) -> Done {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if self.natural != Some((uid, gid)) {
            rustix::fs::chownat(
                handle,
                name,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
                flags,
            )
            .on("set owner of", name)?;
            // A change of owner takes these bits away. The name was made here, and is no link.
            if entry.kind != Kind::Symlink && entry.mode & 0o6000 != 0 {
                let mode = Mode::from_raw_mode(entry.mode);
                rustix::fs::chmodat(handle, name, mode, AtFlags::empty())
                    .on("set mode of", name)?;
            }
        }
        Ok(rustix::fs::utimensat(
            handle,
            name,
            &disk::times(entry.mtime.0, entry.mtime.1),
            flags,
        )
        .on("date", name)?)
    }

    /// Hides a name of the lower layers. What this layer itself has there stays.
    fn whiteout(&mut self, parent: &[u8], name: &[u8]) -> Done {
        let handle = self.parent(parent)?;
        let whole = disk::join(parent, name);
        match rustix::fs::mknodat(&handle, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            Err(errno) => {
                let found = exists(errno, &handle, name, &whole)?;
                if disk::kind(&found) == FileType::Directory {
                    self.opaque(&whole)?;
                }
                Ok(())
            }
        }
    }

    fn opaque(&mut self, path: &[u8]) -> Done {
        self.parent(path)?;
        if let Some(known) = self.directories.get_mut(path) {
            known.opaque = true;
            return Ok(());
        }
        let found = disk::look_at(&self.root).on("look at", b".")?;
        // Only the root was not made here.
        let owner = (found.stx_uid, found.stx_gid);
        self.directories.insert(
            path.to_vec(),
            Directory {
                mode: disk::mode(&found),
                owner,
                opaque: true,
                ..Directory::default()
            },
        );
        Ok(())
    }

    /// Removes what an entry of another type or the same name left.
    fn clear(&mut self, handle: &OwnedFd, parent: &[u8], name: &[u8]) -> Done {
        match rustix::fs::unlinkat(handle, name, AtFlags::empty()) {
            Ok(()) => return Ok(()),
            Err(Errno::ISDIR) => {}
            Err(errno) => return Err(errno).on("replace", name)?,
        }
        remove::remove_at(handle, name)?;
        self.kept.clear();
        let whole = disk::join(parent, name);
        let below = disk::join(&whole, b"");
        self.directories.remove(&whole);
        let gone: Vec<Vec<u8>> = self
            .directories
            .range(below.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&below))
            .cloned()
            .collect();
        for path in gone {
            self.directories.remove(&path);
        }
        Ok(())
    }

    /// The attributes of an entry that are set; those of security modules and the like belong to this host.
    fn attributes(&mut self, entry: &mut Entry) -> Result<Attributes, Reason> {
        if entry.attributes.is_empty() {
            return Ok(Vec::new());
        }
        let mut taken = Vec::new();
        for (name, value) in std::mem::take(&mut entry.attributes) {
            if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
                return Err(Reason::OverlayAttribute(disk::show(&name).into_owned()));
            }
            if name == ids::CAPABILITY {
                let root = self.options.uids.to_host(0).unwrap_or(0);
                taken.push((name, ids::capability_to_host(&value, root)));
            } else if name.starts_with(b"user.") {
                taken.push((name, value));
            } else {
                self.counts.skipped_attributes += 1;
            }
        }
        Ok(taken)
    }

    fn set_attributes(
        &mut self,
        file: impl AsFd,
        attributes: &[(Vec<u8>, Vec<u8>)],
        shown: &[u8],
    ) -> Done {
        for (name, value) in attributes {
            match rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty()) {
                Ok(()) => {}
                // A file system without attributes of users; capabilities are not theirs to lose.
                Err(Errno::OPNOTSUPP) if name.starts_with(b"user.") => {
                    self.counts.skipped_attributes += 1
                }
                Err(errno) => return Err(errno).on("set an attribute of", shown)?,
            }
        }
        Ok(())
    }

    /// Gives the directories what they are to have, deepest first.
    pub fn finish(mut self) -> Result<Counts, Error> {
        for (path, directory) in std::mem::take(&mut self.directories).into_iter().rev() {
            self.finish_directory(&path, &directory)
                .map_err(|reason| Error::Entry {
                    path: disk::show(&path).into_owned(),
                    reason,
                })?;
        }
        Ok(self.counts)
    }

    fn finish_directory(&mut self, path: &[u8], directory: &Directory) -> Done {
        let open = disk::directory(&self.root, path).on("open", path)?;
        if path.is_empty() || self.natural != Some(directory.owner) {
            disk::own(&open, directory.owner).on("set owner of", path)?;
        }
        self.set_attributes(&open, &directory.attributes, path)?;
        if directory.opaque {
            let name = self.options.marks.opaque();
            rustix::fs::fsetxattr(&open, name, b"y", XattrFlags::empty())
                .on("mark as opaque", path)?;
        }
        if let Some((seconds, nanoseconds)) = directory.mtime {
            rustix::fs::futimens(&open, &disk::times(seconds, nanoseconds)).on("date", path)?;
        }
        Ok(
            rustix::fs::fchmod(&open, Mode::from_raw_mode(directory.mode))
                .on("set mode of", path)?,
        )
    }
}

/// What stands where something was to be made.
fn exists(errno: Errno, parent: &OwnedFd, name: &[u8], whole: &[u8]) -> Result<Statx, Reason> {
    if errno != Errno::EXIST {
        return Err(errno).on("make", whole)?;
    }
    let found = disk::look(parent, name).on("look at", whole)?;
    Ok(found.ok_or(Errno::STALE).on("look at", whole)?)
}
