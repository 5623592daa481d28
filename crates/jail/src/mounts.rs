//! The mounts of the configuration, one after the other, each made detached and then attached by descriptor.
//!
//! Where a privileged caller gives the container a user namespace, it opens the sources of binds before the clone, with its own
//! rights; the child inherits them. Otherwise the child opens them itself: there its rights are the caller's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, ResolveFlags, fstat, fstatfs};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use spec::{Mount, Spec};

use crate::beneath;
use crate::fault::{At, Fault, Outcome};
use crate::idmap::{IdMaps, Mappers, map_tree};
use crate::namespaces::Namespaces;
use crate::options::MountOptions;
use crate::{Error, Stage};

const PROC_SUPER_MAGIC: u64 = 0x9fa0;
const SLAVE: u64 = libc::MS_SLAVE;
/// fsconfig(2) takes strings up to this, NUL included.
const STRING_LIMIT: usize = 256;

/// Files of /proc that a mount may cover, as lxcfs does; anything else there would let a container fake what others read of it.
const PROC_FILES: [&str; 11] = [
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "proc/loadavg",
    "proc/slabinfo",
    "proc/net/dev",
    "proc/sys/kernel/ns_last_pid",
    "proc/sys/crypto/fips_enabled",
];

/// Where a mount comes from.
#[derive(Debug)]
enum Source {
    Bind {
        path: PathBuf,
        recursive: bool,
        tree: Option<OwnedFd>,
    },
    FileSystem {
        kind: String,
        device: String,
    },
    Cgroup,
    /// Only the attributes of what is there already.
    Present,
}

impl Source {
    /// The source of a bind, opened here or left to the child.
    fn bind(path: PathBuf, options: &MountOptions, open: bool) -> io::Result<Source> {
        let recursive = options.bind.unwrap_or(true);
        let tree = open.then(|| clone_tree(&path, recursive)).transpose()?;
        Ok(Source::Bind {
            path,
            recursive,
            tree,
        })
    }
}

/// One mount of the configuration.
#[derive(Debug)]
pub(crate) struct Planned {
    destination: PathBuf,
    source: Source,
    options: MountOptions,
    maps: Option<IdMaps>,
}

/// What the mounts stand on, in the child.
pub(crate) struct Ground<'a> {
    /// The root's own mount, attached in the child's mount namespace.
    pub root: OwnedFd,
    pub namespaces: &'a Namespaces,
    pub cgroup: &'a cgroup::Cgroup,
    /// Binds may stay in the host's peer groups: the configuration wants a shared root and no user namespace separates them.
    pub shares: bool,
}

/// Reads all mounts of the configuration; a privileged caller opens the sources.
pub(crate) fn plan(
    spec: &Spec,
    bundle: &Path,
    privileged: bool,
    open: bool,
) -> Result<Vec<Planned>, Error> {
    spec.mounts
        .iter()
        .map(|mount| Planned::new(mount, bundle, privileged, open))
        .collect()
}

impl Planned {
    /// `open`: the source must be opened by the caller; one that is id-mapped always is.
    fn new(mount: &Mount, bundle: &Path, privileged: bool, open: bool) -> Result<Planned, Error> {
        let shown = mount.destination.display().to_string();
        let invalid = |reason: &str| Error::Invalid {
            property: format!("mounts {shown:?}"),
            reason: reason.into(),
        };
        if mount.destination.as_os_str().is_empty() {
            return Err(invalid("no destination"));
        }
        let options = MountOptions::parse(&mount.options);
        let mapped = options.idmap.is_some()
            || !mount.uid_mappings.is_empty()
            || !mount.gid_mappings.is_empty();
        if mapped && !privileged {
            return Err(Error::Unserved {
                property: format!("mounts {shown:?}: idmap"),
                reason: "the caller has no CAP_SYS_ADMIN".into(),
            });
        }
        let source = match (mount.kind.as_str(), options.bind) {
            _ if options.remount => Source::Present,
            ("bind", _) | (_, Some(_)) => {
                Source::bind(bundle.join(&mount.source), &options, open || mapped)
                    .at(
                        Stage::Mount,
                        format_args!("{shown}: source {}", mount.source),
                    )
                    .map_err(Fault::on_host)?
            }
            ("", _) => return Err(invalid("neither a type nor a bind")),
            ("cgroup" | "cgroup2", _) => Source::Cgroup,
            (kind, _) => Source::FileSystem {
                kind: kind.into(),
                device: mount.source.clone(),
            },
        };
        if mapped && !matches!(source, Source::Bind { .. }) {
            return Err(invalid("only a bind can be id-mapped"));
        }
        if options.copy_up && mount.kind != "tmpfs" {
            return Err(invalid("tmpcopyup is for tmpfs"));
        }
        let maps = match (mount.uid_mappings.as_slice(), mount.gid_mappings.as_slice()) {
            ([], []) => None,
            ([], _) | (_, []) => return Err(invalid("uidMappings and gidMappings come together")),
            (uids, gids) => Some(IdMaps {
                uids: uids.into(),
                gids: gids.into(),
            }),
        };
        Ok(Planned {
            destination: mount.destination.clone(),
            source,
            options,
            maps,
        })
    }

    /// Whether it is to be anything but private to its mount namespace.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    pub fn propagates(&self) -> bool {
        let private = libc::MS_PRIVATE;
        self.options
            .propagation
            .iter()
            .any(|&(kind, _)| kind != private)
    }

    /// Whether it hides the place where default devices would be made.
    pub fn binds_dev(&self) -> bool {
        matches!(self.source, Source::Bind { .. })
            && beneath::clean(&self.destination) == Path::new("dev")
    }

    /// Maps the ids of a bind, while it is detached and the caller has its privileges.
    pub fn map_ids(&self, mappers: &mut Mappers<'_>) -> Outcome<()> {
        let Source::Bind {
            tree: Some(tree),
            path,
            ..
        } = &self.source
        else {
            return Ok(());
        };
        if self.maps.is_none() && self.options.idmap.is_none() {
            return Ok(());
        }
        let subject = || {
            format!(
                "{}: map the ids of {}",
                self.destination.display(),
                path.display()
            )
        };
        let userns = mappers
            .get(self.maps.as_ref())
            .at(Stage::Mount, subject())?;
        map_tree(tree.as_fd(), self.options.idmap == Some(true), userns, path)
            .at(Stage::Mount, subject())
    }

    /// Mounts it below the root.
    pub fn mount(&self, ground: &Ground<'_>) -> Outcome<()> {
        let subject = || self.destination.display().to_string();
        match &self.source {
            Source::Bind {
                path,
                recursive,
                tree,
            } => self.bind(ground, path, *recursive, tree.as_ref()),
            Source::Cgroup => crate::cgroupfs::mount(ground, &self.destination, &self.options),
            Source::Present => {
                let there = beneath::open(&ground.root, &self.destination, OFlags::PATH)
                    .at(Stage::Mount, subject())?;
                change(&there, &self.options).at(Stage::Mount, subject())
            }
            Source::FileSystem { kind, device } => self.mount_file_system(ground, kind, device),
        }
    }

    fn bind(
        &self,
        ground: &Ground<'_>,
        path: &Path,
        recursive: bool,
        tree: Option<&OwnedFd>,
    ) -> Outcome<()> {
        let subject = || format!("{}: bind of {}", self.destination.display(), path.display());
        let own = if tree.is_none() {
            Some(clone_tree(path, recursive).at(Stage::Mount, subject())?)
        } else {
            None
        };
        let tree = tree
            .or(own.as_ref())
            .ok_or(Errno::BADF)
            .at(Stage::Mount, subject())?;
        if !ground.shares {
            // Mounts of the host still arrive, ours do not go there.
            sys::set_mount_propagation(tree.as_fd(), true, SLAVE).at(Stage::Mount, subject())?;
        }
        change(tree, &self.options).at(Stage::Mount, subject())?;
        let directory = fstat(tree)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        let point = self.point(target(ground, &self.destination, directory))?;
        put(tree, &point).at(Stage::Mount, subject())
    }

    fn mount_file_system(&self, ground: &Ground<'_>, kind: &str, device: &str) -> Outcome<()> {
        let subject = || format!("{} of type {kind}", self.destination.display());
        let long = self.options.data.iter().any(|(_, value)| {
            value
                .as_ref()
                .is_some_and(|value| value.len() >= STRING_LIMIT)
        });
        if long {
            let point = self.point(target(ground, &self.destination, true))?;
            return self
                .mount_by_string(ground, &point, kind, device)
                .at(Stage::Mount, subject());
        }
        let mount = match make(kind, device, &self.options) {
            // The network that sysfs would show belongs to another user namespace: the host's /sys shows the same.
            Err(error)
                if kind == "sysfs"
                    && error.raw_os_error() == Some(libc::EPERM)
                    && !ground.namespaces.owns_network() =>
            {
                let tree = clone_tree(Path::new("/sys"), true).at(Stage::Mount, subject())?;
                sys::set_mount_propagation(tree.as_fd(), true, SLAVE)
                    .at(Stage::Mount, subject())?;
                let attributes = self.options.own;
                sys::set_mount_attributes(tree.as_fd(), true, attributes.set, 0)
                    .at(Stage::Mount, subject())?;
                tree
            }
            made => made.at(Stage::Mount, subject())?,
        };
        if self.options.copy_up {
            crate::copy_up::copy(&ground.root, &self.destination, &mount)
                .at(Stage::Mount, format_args!("{}: tmpcopyup", subject()))?;
        }
        change_late(&mount, &self.options).at(Stage::Mount, subject())?;
        let target = if matches!(kind, "proc" | "sysfs") {
            plain_target(ground, &self.destination)
        } else {
            target(ground, &self.destination, true)
        };
        put(&mount, &self.point(target)?).at(Stage::Mount, subject())
    }

    /// Says of a mount point that could be neither found nor made that it was this, not the mount.
    fn point(&self, target: io::Result<OwnedFd>) -> Outcome<OwnedFd> {
        target.at(
            Stage::Mount,
            format_args!("{}: the mount point", self.destination.display()),
        )
    }

    /// By mount(2), for data that fsconfig(2) does not take: an overlay with many layers.
    fn mount_by_string(
        &self,
        ground: &Ground<'_>,
        point: &OwnedFd,
        kind: &str,
        device: &str,
    ) -> io::Result<()> {
        let words = self.options.data.iter().map(|(key, value)| {
            value
                .as_ref()
                .map_or(key.clone(), |value| format!("{key}={value}"))
        });
        let data = words
            .chain(
                self.options
                    .super_flags
                    .iter()
                    .map(|flag| (*flag).to_owned()),
            )
            .collect::<Vec<_>>()
            .join(",");
        let place = crate::rootfs::through_proc(point);
        let data = std::ffi::CString::new(data)?;
        rustix::mount::mount(
            if device.is_empty() { kind } else { device },
            &place,
            kind,
            rustix::mount::MountFlags::empty(),
            Some(data.as_c_str()),
        )?;
        let there = beneath::open(&ground.root, &self.destination, OFlags::PATH)?;
        change(&there, &self.options)
    }
}

/// A detached copy of the mount tree at `path`.
pub(crate) fn clone_tree(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let flags = if recursive {
        flags | OpenTreeFlags::AT_RECURSIVE
    } else {
        flags
    };
    Ok(open_tree(rustix::fs::CWD, path, flags)?)
}

/// A detached copy of what is mounted at an open file.
pub(crate) fn clone_of(mount: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let flags = if recursive {
        flags | OpenTreeFlags::AT_RECURSIVE
    } else {
        flags
    };
    Ok(open_tree(mount, "", flags)?)
}

/// A detached mount of a new file system. The kernel's own words, where it has some, are in the error.
pub(crate) fn make(kind: &str, device: &str, options: &MountOptions) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| match error {
        Errno::NODEV => io::Error::other(format!("this kernel has no file system {kind:?}")),
        error => error.into(),
    })?;
    let source = if device.is_empty() { kind } else { device };
    fsconfig_set_string(&context, "source", source)
        .map_err(|error| explain(&context, error, "source"))?;
    for flag in &options.super_flags {
        fsconfig_set_flag(&context, *flag).map_err(|error| explain(&context, error, flag))?;
    }
    for (key, value) in &options.data {
        let set = match value {
            Some(value) => fsconfig_set_string(&context, key.as_str(), value.as_str()),
            None => fsconfig_set_flag(&context, key.as_str()),
        };
        set.map_err(|error| explain(&context, error, &format!("option {key:?}")))?;
    }
    fsconfig_create(&context).map_err(|error| explain(&context, error, ""))?;
    let attributes = MountAttrFlags::from_bits_retain(options.own.set as u32);
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// The errno, unless the file system left words in its log (fsopen(2)).
fn explain(context: &OwnedFd, error: Errno, what: &str) -> io::Error {
    let mut text = [0; 256];
    let words = rustix::io::read(context, &mut text).map_or(String::new(), |length| {
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    });
    let words = words.strip_prefix("e ").unwrap_or(&words);
    if words.is_empty() && what.is_empty() {
        return error.into();
    }
    let parts = [what, &io::Error::from(error).to_string(), words];
    io::Error::other(
        parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(": "),
    )
}

/// Attributes and propagation of a mount that has none of them yet.
pub(crate) fn change(mount: &OwnedFd, options: &MountOptions) -> io::Result<()> {
    if !options.own.is_empty() {
        sys::set_mount_attributes(mount.as_fd(), false, options.own.set, options.own.clear)?;
    }
    change_late(mount, options)
}

/// What fsmount(2) cannot be told.
fn change_late(mount: &OwnedFd, options: &MountOptions) -> io::Result<()> {
    if !options.all.is_empty() {
        sys::set_mount_attributes(mount.as_fd(), true, options.all.set, options.all.clear)?;
    }
    options
        .propagation
        .iter()
        .try_for_each(|&(kind, recursive)| {
            sys::set_mount_propagation(mount.as_fd(), recursive, kind)
        })
}

/// Attaches a detached mount at a destination, which is made if missing.
pub(crate) fn attach(
    ground: &Ground<'_>,
    destination: &Path,
    mount: &OwnedFd,
    directory: bool,
) -> io::Result<()> {
    put(mount, &target(ground, destination, directory)?)
}

/// Attaches a detached mount on what a descriptor stands for.
pub(crate) fn put(mount: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

fn target(ground: &Ground<'_>, destination: &Path, directory: bool) -> io::Result<OwnedFd> {
    let target = if directory {
        beneath::directory(&ground.root, destination)
    } else {
        beneath::file(&ground.root, destination)
    }?;
    let covered = beneath::clean(destination);
    if fstatfs(&target)?.f_type as u64 == PROC_SUPER_MAGIC
        && !PROC_FILES.iter().any(|file| covered == Path::new(file))
    {
        return Err(io::Error::other("it lies in the container's /proc"));
    }
    Ok(target)
}

/// The target of a mount that others rely on by its path: no link may lead there (CVE-2019-19921).
fn plain_target(ground: &Ground<'_>, destination: &Path) -> io::Result<OwnedFd> {
    let clean = beneath::clean(destination);
    if clean.as_os_str().is_empty() {
        return Err(io::Error::other("it would cover the root"));
    }
    beneath::directory(&ground.root, destination)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(
        &ground.root,
        &clean,
        flags,
        rustix::fs::Mode::empty(),
        resolve,
    )
    .map_err(|error| match error {
        Errno::LOOP => io::Error::other("a symbolic link stands in its path"),
        error => error.into(),
    })
}
