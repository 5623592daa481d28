//! Mounts for programs that expect them in place: a root file system, and a bind with mapped ids, at a path of the calling
//! process's mount namespace. The other walls need them; ours puts its own together inside the container's.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use spec::IdMapping;

use crate::fault::{At, Fault, Outcome};
use crate::idmap::{IdMaps, Mappers, map_tree};
use crate::launch::elsewhere;
use crate::mounts::{clone_of, clone_tree, put};
use crate::rootfs::Plan;
use crate::{Error, RootfsMount, Stage};

/// Mounts the root file system that `list` describes at `place`, a directory. Directories made on the way belong to `owner`.
///
/// It is put together in a mount namespace of its own, which ends here: nothing but the result is ever seen in the caller's.
pub fn mount_rootfs(list: &[RootfsMount], owner: (u32, u32), place: &Path) -> Result<(), Error> {
    let plan = Plan::new(place, list, owner, true)?;
    let mut mappers = Mappers::new(None);
    let apart = || {
        sys::unshare(libc::CLONE_NEWNS as u64).at(Stage::MakeRoot, "a mount namespace of its own")
    };
    let assemble = || -> Outcome<OwnedFd> {
        let root = plan.assemble(&mut mappers)?;
        clone_of(&root, true).at(Stage::MakeRoot, "the whole of it")
    };
    elsewhere(apart, assemble)
        .and_then(|tree| attach(&tree?, place))
        .map_err(Fault::on_host)
}

/// Mounts what lies at `source` at `place`, which is made, with its ids mapped.
pub fn mount_mapped(
    source: &Path,
    recursive: bool,
    (uids, gids): (Vec<IdMapping>, Vec<IdMapping>),
    place: &Path,
) -> Result<(), Error> {
    let mapped = || -> Outcome<()> {
        let subject = || source.display();
        let tree = clone_tree(source, recursive).at(Stage::Mount, subject())?;
        let mut mappers = Mappers::new(None);
        let maps = IdMaps { uids, gids };
        let userns = mappers.get(Some(&maps)).at(Stage::MapIds, subject())?;
        map_tree(tree.as_fd(), recursive, userns, source).at(Stage::MapIds, subject())?;
        let made = if fs::metadata(source).at(Stage::Mount, subject())?.is_dir() {
            fs::create_dir(place)
        } else {
            fs::write(place, "")
        };
        made.at(Stage::Mount, place.display())?;
        attach(&tree, place)
    };
    mapped().map_err(Fault::on_host)
}

fn attach(tree: &OwnedFd, place: &Path) -> Outcome<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(rustix::fs::CWD, place, flags, Mode::empty())
        .map_err(std::io::Error::from)
        .and_then(|target| put(tree, &target))
        .at(Stage::Mount, place.display())
}
