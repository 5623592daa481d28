//! A container's cgroup: one directory on v2, one a hierarchy on v1, or none.
//!
//! The life of it: [`Cgroup::plan`] decides the directories (the caller records them), [`Cgroup::create`] makes them and
//! writes the limits, [`Cgroup::entry`] opens what the child needs to go in by itself, [`Cgroup::remove`] ends it. A
//! recorded `Cgroup` is found again by any later process.
//!
//! Laws: a limit that cannot be held is an error that names it; nothing outside the planned directories changes, but for
//! parents that are missing (made), v1's empty cpusets on the way (filled) and v2's `subtree_control` on the way (completed).
//! What stands in a path or a file's name and comes from a configuration is checked before it is used.
//! docs/cgroups.md tells all of it from the user's side.
#![deny(unsafe_code)]

mod account;
mod below;
mod create;
mod devices;
mod ebpf;
mod entry;
mod error;
mod file;
mod freeze;
mod layout;
mod oom;
mod plan;
mod processes;
mod remove;
mod setting;
mod stats;
mod stats_v1;
mod stats_v2;
mod update;
mod v1;
mod v2;

pub use account::Account;
pub use create::{Claim, Created};
pub use entry::Entry;
pub use error::{Error, Warning};
pub use layout::{Layout, layout};
pub use oom::OomWatch;
pub use stats::*;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The directories of one container, as they stand in its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    layout: Layout,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    v1: Vec<Dir>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v2: Option<Dir>,
}

/// A directory in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Dir {
    mount: PathBuf,
    /// v1: of the hierarchy; v2: empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    controllers: Vec<String>,
    /// Below the mount.
    path: PathBuf,
    /// Made only when a limit needs it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    on_demand: bool,
}

impl Dir {
    fn dir(&self) -> PathBuf {
        self.mount.join(&self.path)
    }

    fn exists(&self) -> bool {
        self.dir().is_dir()
    }
}

/// A hierarchy that the container has a directory in.
pub struct Hierarchy<'a> {
    /// The name of the mount point below `/sys/fs/cgroup` (`memory`, `cpu,cpuacct`); empty on v2.
    pub name: &'a str,
    /// Controllers as a mount's options have them (`name=systemd` too).
    pub controllers: &'a [String],
    /// The container's own directory on the host.
    pub dir: PathBuf,
}

impl Cgroup {
    /// No directory at all (`--cgroup-manager disabled`): limits are refused, nothing is counted.
    pub fn disabled() -> Cgroup {
        Cgroup {
            layout: Layout::Absent,
            v1: Vec::new(),
            v2: None,
        }
    }

    /// The layout that was found when the directories were planned.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// What a mount of type `cgroup` shows: one entry a hierarchy, only those that exist.
    pub fn hierarchies(&self) -> Vec<Hierarchy<'_>> {
        let shown = |dir: &'_ &Dir| dir.exists();
        let v1 = self.v1.iter().filter(shown).map(|dir| Hierarchy {
            name: dir
                .mount
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default(),
            controllers: &dir.controllers,
            dir: dir.dir(),
        });
        let v2 = self
            .v2
            .iter()
            .filter(|dir| self.layout == Layout::V2 && dir.exists());
        v1.chain(v2.map(|dir| Hierarchy {
            name: "",
            controllers: &[],
            dir: dir.dir(),
        }))
        .collect()
    }

    /// The directory where `controller`'s files are: v1's hierarchy of it, else v2's.
    fn holder(&self, controller: &str) -> Option<&Dir> {
        let v1 = self
            .v1
            .iter()
            .find(|dir| dir.controllers.iter().any(|name| name == controller));
        v1.or(self.v2.as_ref())
    }

    /// The file of a v1 controller or of v2, where that directory exists.
    fn file(&self, controller: &str, v1: &str, v2: &str) -> Option<PathBuf> {
        let holder = self.holder(controller)?;
        let name = if holder.controllers.is_empty() {
            v2
        } else {
            v1
        };
        Some(holder.dir().join(name)).filter(|path| path.parent().is_some_and(Path::exists))
    }

    fn all(&self) -> impl Iterator<Item = &Dir> {
        self.v1.iter().chain(&self.v2)
    }
}
