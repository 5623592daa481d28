//! The container's /dev: the devices that every container has, those of the configuration, and the usual links.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, chmodat, chownat, fstat, major, makedev, minor, mknodat,
    statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use spec::{Linux, NamespaceKind};

use crate::fault::{At, Outcome};
use crate::mounts::{Ground, attach, clone_tree};
use crate::{Error, Stage, beneath};

/// Path, major and minor number (config-linux.md, "Default Devices"); all are character devices that anyone may use.
const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Target and place (config-linux.md, "Dev symbolic links").
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

#[derive(Debug, Clone)]
struct Node {
    path: PathBuf,
    kind: FileType,
    device: u64,
    mode: Mode,
    owner: (Uid, Gid),
}

#[derive(Debug)]
pub(crate) struct Plan(Vec<Node>);

impl Plan {
    /// The default devices and those of the configuration, which win where both name a path.
    pub fn new(linux: &Linux) -> Result<Plan, Error> {
        let defaults = DEFAULTS.iter().map(|(path, major, minor)| Node {
            path: path.into(),
            kind: FileType::CharacterDevice,
            device: makedev(*major, *minor),
            mode: Mode::from_raw_mode(0o666),
            owner: (Uid::ROOT, Gid::ROOT),
        });
        let wanted = linux
            .devices
            .iter()
            .map(Node::new)
            .collect::<Result<Vec<_>, _>>()?;
        let mut nodes: Vec<_> = defaults
            .filter(|node| !wanted.iter().any(|other| other.path == node.path))
            .collect();
        nodes.extend(wanted);
        Ok(Plan(nodes))
    }

    /// Makes nodes and links below the root. In a user namespace nobody may make a device: the host's is bound.
    pub fn make(&self, ground: &Ground<'_>) -> Outcome<()> {
        let binds = ground.namespaces.has(NamespaceKind::User);
        for node in &self.0 {
            node.make(ground, binds)
                .at(Stage::MakeDevice, node.path.display())?;
        }
        let dev =
            beneath::directory(&ground.root, Path::new("dev")).at(Stage::MakeDevice, "/dev")?;
        for (target, name) in LINKS {
            link(&dev, target, name).at(Stage::MakeDevice, format_args!("/dev/{name}"))?;
        }
        Ok(())
    }
}

impl Node {
    fn new(device: &spec::Device) -> Result<Node, Error> {
        let invalid = |reason: &str| Error::Invalid {
            property: format!("linux.devices {:?}", device.path),
            reason: reason.into(),
        };
        let kind = match device.kind.as_str() {
            "c" | "u" => FileType::CharacterDevice,
            "b" => FileType::BlockDevice,
            "p" => FileType::Fifo,
            other => return Err(invalid(&format!("{other:?} is no type of device"))),
        };
        let number = |value: i64| u32::try_from(value).map_err(|_| invalid("a number is negative"));
        let device_number = if kind == FileType::Fifo {
            0
        } else {
            makedev(number(device.major)?, number(device.minor)?)
        };
        if !device.path.is_absolute() {
            return Err(invalid("the path is not absolute"));
        }
        Ok(Node {
            path: device.path.clone(),
            kind,
            device: device_number,
            mode: Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777),
            owner: (
                Uid::from_raw(device.uid.unwrap_or(0)),
                Gid::from_raw(device.gid.unwrap_or(0)),
            ),
        })
    }

    fn make(&self, ground: &Ground<'_>, binds: bool) -> io::Result<()> {
        let clean = beneath::clean(&self.path);
        let (Some(parent), Some(name)) = (clean.parent(), clean.file_name()) else {
            return Err(Errno::INVAL.into());
        };
        if binds && self.kind != FileType::Fifo {
            return self.bind(ground);
        }
        let holder = beneath::directory(&ground.root, parent)?;
        match mknodat(&holder, name, self.kind, self.mode, self.device) {
            Ok(()) => {}
            Err(Errno::EXIST) => return self.accept(&holder, name.as_ref()),
            // A device cgroup above ours may forbid mknod and still allow use.
            Err(Errno::PERM) if self.kind != FileType::Fifo => return self.bind(ground),
            Err(error) => return Err(error.into()),
        }
        if self.owner != (Uid::ROOT, Gid::ROOT) {
            chownat(
                &holder,
                name,
                Some(self.owner.0),
                Some(self.owner.1),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        // The umask is 0 by now, but a default ACL of the directory is not.
        Ok(chmodat(&holder, name, self.mode, AtFlags::empty())?)
    }

    /// What stands there already must be the device itself.
    fn accept(&self, holder: &OwnedFd, name: &Path) -> io::Result<()> {
        let stat = statat(holder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let same = FileType::from_raw_mode(stat.st_mode) == self.kind
            && (self.kind == FileType::Fifo || stat.st_rdev == self.device);
        if same {
            Ok(())
        } else {
            Err(io::Error::other("something else stands in its place"))
        }
    }

    fn bind(&self, ground: &Ground<'_>) -> io::Result<()> {
        let tree = clone_tree(&self.path, false)?;
        let stat = fstat(&tree)?;
        if FileType::from_raw_mode(stat.st_mode) != self.kind || stat.st_rdev != self.device {
            let wanted = format!("{}:{}", major(self.device), minor(self.device));
            return Err(io::Error::other(format!(
                "in a user namespace the host's is bound, and the host's is not {wanted}"
            )));
        }
        attach(ground, &self.path, &tree, false)
    }
}

fn link(dev: &OwnedFd, target: &str, name: &str) -> io::Result<()> {
    match symlinkat(target, dev, name) {
        Err(Errno::EXIST) if name == "ptmx" => {
            // An image's own node would open the host's terminals.
            unlinkat(dev, name, AtFlags::empty())?;
            Ok(symlinkat(target, dev, name)?)
        }
        Err(Errno::EXIST) => Ok(()),
        answer => Ok(answer?),
    }
}

/// The host's /dev/null, proved to be the device (CVE-2025-31133: a link in its place).
pub(crate) fn host_null() -> io::Result<OwnedFd> {
    let null = rustix::fs::openat(
        rustix::fs::CWD,
        "/dev/null",
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let stat = fstat(&null)?;
    let genuine = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == makedev(1, 3);
    if genuine {
        Ok(null)
    } else {
        Err(io::Error::other(
            "the host's /dev/null is not the null device",
        ))
    }
}
