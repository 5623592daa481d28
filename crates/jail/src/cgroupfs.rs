//! A mount of type `cgroup`: the container's own directories and nothing above them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use spec::NamespaceKind;

use crate::Stage;
use crate::fault::{At, Outcome};
use crate::mounts::{Ground, attach, change, clone_tree, make, put};
use crate::options::{Attributes, MountOptions};

pub(crate) fn mount(
    ground: &Ground<'_>,
    destination: &Path,
    options: &MountOptions,
) -> Outcome<()> {
    let subject = || format!("{} of type cgroup", destination.display());
    let hierarchies = ground.cgroup.hierarchies();
    if let [only] = hierarchies.as_slice()
        && only.name.is_empty()
    {
        let mount = unified(ground, &only.dir, options).at(Stage::Mount, subject())?;
        return attach(ground, destination, &mount, true).at(Stage::Mount, subject());
    }
    // One directory a hierarchy, as a host with cgroup v1 shows them; empty when the container has no cgroup.
    let words = MountOptions {
        data: vec![("mode".into(), Some("755".into()))],
        ..MountOptions::default()
    };
    let base = make("tmpfs", "cgroup", &words).at(Stage::Mount, subject())?;
    attach(ground, destination, &base, true).at(Stage::Mount, subject())?;
    for hierarchy in &hierarchies {
        let subject = || format!("{}: {}", destination.display(), hierarchy.name);
        bind(&base, hierarchy.name, &hierarchy.dir).at(Stage::Mount, subject())?;
        for controller in hierarchy
            .controllers
            .iter()
            .filter(|controller| *controller != hierarchy.name && !controller.starts_with("name="))
        {
            link(&base, hierarchy.name, controller).at(Stage::Mount, subject())?;
        }
    }
    let Attributes { set, clear } = options.own;
    sys::set_mount_attributes(base.as_fd(), true, set, clear).at(Stage::Mount, subject())?;
    change(
        &base,
        &MountOptions {
            own: Attributes::default(),
            ..options.clone()
        },
    )
    .at(Stage::Mount, subject())
}

/// cgroup v2: with a cgroup namespace its root is the container's directory; without, that directory is bound.
fn unified(ground: &Ground<'_>, dir: &Path, options: &MountOptions) -> io::Result<OwnedFd> {
    let mount = if ground.namespaces.has(NamespaceKind::Cgroup) {
        make(
            "cgroup2",
            "cgroup",
            &MountOptions {
                own: options.own,
                ..MountOptions::default()
            },
        )?
    } else {
        clone_tree(dir, false)?
    };
    change(&mount, options)?;
    Ok(mount)
}

fn bind(base: &OwnedFd, name: &str, dir: &Path) -> io::Result<()> {
    let tree = clone_tree(dir, false)?;
    sys::set_mount_propagation(tree.as_fd(), false, libc::MS_PRIVATE)?;
    mkdirat(base, name, Mode::from_raw_mode(0o755))?;
    put(
        &tree,
        &openat(base, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
    )
}

fn link(base: &OwnedFd, target: &str, name: &str) -> io::Result<()> {
    match symlinkat(target, base, name) {
        Err(Errno::EXIST) => Ok(()),
        answer => Ok(answer?),
    }
}
