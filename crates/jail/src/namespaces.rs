//! Which namespaces are made, which are joined, which stay the caller's.
//!
//! A mount namespace is always made, to build the root in. A container without one of its own leaves it at the end for the one
//! that it was to run in, with a detached copy of the root: so nothing that it mounts is ever seen there, nothing has to be
//! taken away afterwards, and nobody who lives there has his root changed under his feet.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use spec::{Linux, NamespaceKind};

use crate::fault::{At, Outcome};
use crate::idmap::IdMaps;
use crate::{Error, Stage};

/// clone(2)'s flag for a kind.
pub(crate) fn flag(kind: NamespaceKind) -> u64 {
    match kind {
        NamespaceKind::User => sys::CLONE_NEWUSER,
        NamespaceKind::Mount => sys::CLONE_NEWNS,
        NamespaceKind::Pid => sys::CLONE_NEWPID,
        NamespaceKind::Network => sys::CLONE_NEWNET,
        NamespaceKind::Ipc => sys::CLONE_NEWIPC,
        NamespaceKind::Uts => sys::CLONE_NEWUTS,
        NamespaceKind::Cgroup => sys::CLONE_NEWCGROUP,
        NamespaceKind::Time => sys::CLONE_NEWTIME,
    }
}

fn link(kind: NamespaceKind) -> LinkNameSpaceType {
    match kind {
        NamespaceKind::User => LinkNameSpaceType::User,
        NamespaceKind::Mount => LinkNameSpaceType::Mount,
        NamespaceKind::Pid => LinkNameSpaceType::ProcessID,
        NamespaceKind::Network => LinkNameSpaceType::Network,
        NamespaceKind::Ipc => LinkNameSpaceType::InterProcessCommunication,
        NamespaceKind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        NamespaceKind::Cgroup => LinkNameSpaceType::ControlGroup,
        NamespaceKind::Time => LinkNameSpaceType::Time,
    }
}

/// The name of a kind's link in `/proc/PID/ns`.
pub(crate) fn link_name(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::User => "user",
        NamespaceKind::Mount => "mnt",
        NamespaceKind::Pid => "pid",
        NamespaceKind::Network => "net",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Uts => "uts",
        NamespaceKind::Cgroup => "cgroup",
        NamespaceKind::Time => "time",
    }
}

/// A namespace that exists already.
#[derive(Debug)]
pub(crate) struct Joined {
    pub kind: NamespaceKind,
    fd: OwnedFd,
    path: String,
}

impl Joined {
    fn open(kind: NamespaceKind, path: &Path) -> Outcome<Joined> {
        let shown = path.display().to_string();
        let fd = openat(
            rustix::fs::CWD,
            path,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .at(Stage::JoinNamespaces, &shown)?;
        Ok(Joined {
            kind,
            fd,
            path: shown,
        })
    }

    pub fn enter(&self) -> Outcome<()> {
        move_into_link_name_space(self.fd.as_fd(), Some(link(self.kind)))
            .at(Stage::JoinNamespaces, &self.path)
    }

    pub fn descriptor(&self) -> &OwnedFd {
        &self.fd
    }
}

#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// Made anew, as clone(2)'s flags.
    pub new: u64,
    pub joined: Vec<Joined>,
    /// The caller's mount namespace, when the container gets neither a new one nor another.
    pub host: Option<Joined>,
    /// The maps of a new user namespace.
    pub maps: IdMaps,
}

impl Namespaces {
    /// Checks the list and opens those that are joined.
    pub fn new(linux: &Linux) -> Result<Namespaces, Error> {
        let mut namespaces = Namespaces::default();
        let invalid = |reason: &str| Error::Invalid {
            property: "linux.namespaces".into(),
            reason: reason.into(),
        };
        let mut seen = 0;
        for namespace in &linux.namespaces {
            let flag = flag(namespace.kind);
            if seen & flag != 0 {
                return Err(invalid(&format!(
                    "{} is named twice",
                    link_name(namespace.kind)
                )));
            }
            seen |= flag;
            match &namespace.path {
                None => namespaces.new |= flag,
                Some(path) => namespaces
                    .joined
                    .push(Joined::open(namespace.kind, path).map_err(|fault| fault.on_host())?),
            }
        }
        namespaces.lodge()?;
        namespaces.read_maps(linux, invalid)?;
        Ok(namespaces)
    }

    /// Opens the caller's mount namespace if need be, and has a new one made for the way there.
    fn lodge(&mut self) -> Result<(), Error> {
        if self.makes(NamespaceKind::Mount) {
            return Ok(());
        }
        let joined = self.joins(NamespaceKind::Mount).is_some();
        if self.makes(NamespaceKind::User) || (self.has(NamespaceKind::User) && !joined) {
            return Err(Error::Unserved {
                property: "linux.namespaces".into(),
                reason: "a container with a user namespace needs a mount namespace that belongs to it: it has no rights in another"
                    .into(),
            });
        }
        if !joined {
            let own = Joined::open(NamespaceKind::Mount, Path::new("/proc/self/ns/mnt"));
            self.host = Some(own.map_err(|fault| fault.on_host())?);
        }
        self.new |= flag(NamespaceKind::Mount);
        Ok(())
    }

    /// The mount namespace that the program runs in, where that is none of its own.
    pub fn lodging(&self) -> Option<&Joined> {
        self.joins(NamespaceKind::Mount).or(self.host.as_ref())
    }

    fn read_maps(&mut self, linux: &Linux, invalid: impl Fn(&str) -> Error) -> Result<(), Error> {
        self.maps = IdMaps {
            uids: linux.uid_mappings.clone(),
            gids: linux.gid_mappings.clone(),
        };
        let given = !self.maps.uids.is_empty() || !self.maps.gids.is_empty();
        if given && !self.has(NamespaceKind::User) {
            return Err(invalid(
                "linux.uidMappings and linux.gidMappings need a user namespace",
            ));
        }
        if self.makes(NamespaceKind::User)
            && (self.maps.uids.is_empty() || self.maps.gids.is_empty())
        {
            return Err(invalid(
                "a new user namespace needs linux.uidMappings and linux.gidMappings",
            ));
        }
        if !linux.time_offsets.is_empty() && !self.makes(NamespaceKind::Time) {
            return Err(invalid("linux.timeOffsets need a new time namespace"));
        }
        Ok(())
    }

    pub fn makes(&self, kind: NamespaceKind) -> bool {
        self.new & flag(kind) != 0
    }

    pub fn joins(&self, kind: NamespaceKind) -> Option<&Joined> {
        self.joined.iter().find(|joined| joined.kind == kind)
    }

    pub fn has(&self, kind: NamespaceKind) -> bool {
        self.makes(kind) || self.joins(kind).is_some()
    }

    /// Whether /sys can show the network: its namespace must belong to the user namespace that mounts.
    pub fn owns_network(&self) -> bool {
        !self.has(NamespaceKind::User)
            || self.makes(NamespaceKind::Network)
            || self.joins(NamespaceKind::User).is_some()
    }
}
