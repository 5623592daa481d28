//! What a foreign program stands on: a directory of its own in the bundle, with its config.json and its root file system.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use causes::in_gos_words;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::Order;
use super::document::{Changes, derive};
use crate::ttrpc::{Code, Refusal};

/// Where it lies in the bundle; containerd's shim takes the directory's name for the container's id.
pub fn place(bundle: &Path, id: &str) -> PathBuf {
    bundle.join("wall").join(id)
}

/// Whether this process has left the host's mount namespace. It has one thread, and never goes back.
static APART: AtomicBool = AtomicBool::new(false);

/// Leaves the host's mount namespace: what is mounted from now on is seen by this shim and its children alone, and goes with
/// the last of them. A version 2 hierarchy beside version 1 is not taken along: crun refuses hosts that have both.
pub fn enter() -> Result<(), Refusal> {
    if APART.load(Ordering::Relaxed) {
        return Ok(());
    }
    let failed = |error: std::io::Error| {
        Refusal::new(
            Code::Unknown,
            format!("make a mount namespace of its own: {error}"),
        )
    };
    let hybrid = cgroup::layout() == cgroup::Layout::Hybrid;
    sys::unshare(rustix::thread::UnshareFlags::NEWNS.bits().into()).map_err(failed)?;
    APART.store(true, Ordering::Relaxed);
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).map_err(|error| failed(error.into()))?;
    if hybrid {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
        for point in mounts.lines().filter(|line| line.contains(" - cgroup2 ")) {
            let point = point.split(' ').nth(4).unwrap_or_default();
            // One that stays is crun's to refuse, by its name.
            let _ = unmount(point, UnmountFlags::DETACH);
        }
    }
    Ok(())
}

/// The capabilities that can be had here.
pub fn attainable() -> Result<Vec<&'static str>, Refusal> {
    jail::attainable()
        .map_err(|error| Refusal::new(Code::Unknown, format!("read own capabilities: {error}")))
}

/// A directory and what is mounted in it.
#[derive(Debug)]
pub struct Ground {
    pub directory: PathBuf,
    /// Where the list of mounts is put together.
    root: PathBuf,
    mounted: Vec<PathBuf>,
}

impl Ground {
    /// Lays it for one container; on failure nothing is left.
    pub fn lay(order: &Order<'_>, root: &Path) -> Result<Ground, Refusal> {
        enter()?;
        let directory = place(order.bundle, order.id);
        let mut ground = Ground {
            directory,
            root: root.to_owned(),
            mounted: Vec::new(),
        };
        // What an earlier shim left, which was killed.
        ground.clear();
        let laid = ground.fill(order);
        if laid.is_err() {
            ground.clear();
        }
        laid.map(|()| ground)
    }

    fn fill(&mut self, order: &Order<'_>) -> Result<(), Refusal> {
        let failed = |path: &Path, error: std::io::Error| {
            Refusal::new(Code::Unknown, format!("write {}: {error}", path.display()))
        };
        let directory = self.directory.clone();
        let binds = directory.join("binds");
        for path in [&directory, &binds] {
            std::fs::create_dir_all(path).map_err(|error| failed(path, error))?;
        }
        let root = self.mount_root(order)?;
        let cgroup = format!("/stockade/{}", order.id);
        let attainable = attainable()?;
        let changes = Changes {
            attainable: &attainable,
            bundle: order.bundle,
            root: &root,
            terminal: order.terminal,
            alone: order.options.program.as_deref().is_some_and(super::is_shim),
            cgroup: &cgroup,
            binds: &binds,
        };
        let Some((text, mapped)) = derive(order.text, &changes) else {
            let text = "config.json is no object of objects";
            return Err(Refusal::new(Code::InvalidArgument, text));
        };
        for bind in mapped {
            self.mounted.push(bind.place.clone());
            jail::mount_mapped(&bind.source, bind.recursive, bind.maps, &bind.place)?;
        }
        let config = directory.join("config.json");
        std::fs::write(&config, text).map_err(|error| failed(&config, error))
    }

    /// The root's place: the bundle's as it stands, or what the list of mounts makes.
    fn mount_root(&mut self, order: &Order<'_>) -> Result<PathBuf, Refusal> {
        if order.rootfs.is_empty() {
            let path = order.spec.root.as_ref().map(|root| root.path.as_path());
            return Ok(order.bundle.join(path.unwrap_or(Path::new("rootfs"))));
        }
        let place = self.root.clone();
        make_passable(&place).map_err(|error| {
            Refusal::new(Code::Unknown, format!("make {}: {error}", place.display()))
        })?;
        let first = |maps: &[spec::IdMapping]| {
            maps.iter()
                .find(|map| map.container_id == 0)
                .map_or(0, |map| map.host_id)
        };
        let linux = order.spec.linux.as_ref();
        let owner = linux.map_or((0, 0), |linux| {
            (first(&linux.uid_mappings), first(&linux.gid_mappings))
        });
        self.mounted.push(place.clone());
        jail::mount_rootfs(order.rootfs, owner, &place)?;
        Ok(place)
    }

    /// Takes everything away again.
    pub fn clear(&self) {
        for point in self.mounted.iter().rev() {
            // Not mounted, when it is undone half way.
            let _ = unmount(point, UnmountFlags::DETACH);
        }
        // An empty place of mounts, or none.
        let _ = std::fs::remove_dir(&self.root);
        if let Err(error) = remove(&self.directory) {
            crate::journal::warn(&self.directory, "", &[in_gos_words(&error)]);
        }
        let _ = std::fs::remove_dir(self.directory.parent().unwrap_or(&self.directory));
    }
}

/// Makes the root's place, RUN/roots/ID, where the container's own root may pass: the commands look for it with his rights.
/// The bundle lies where he may not; in RUN all that is there is closed itself.
fn make_passable(place: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let roots = place.parent().unwrap_or(place);
    for directory in [roots, place] {
        match std::fs::create_dir(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    for directory in [roots.parent().unwrap_or(roots), roots, place] {
        let mode = std::fs::metadata(directory)?.permissions().mode();
        if mode & 0o011 != 0o011 {
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode | 0o011))?;
        }
    }
    Ok(())
}

/// Removes the directory, unless something is still mounted in it: a file system of a container is never emptied.
fn remove(directory: &Path) -> std::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(own) = rustix::fs::open(directory, flags, Mode::empty()) else {
        return Ok(());
    };
    let device = rustix::fs::fstat(&own)?.st_dev;
    remove_below(directory, device)
}

fn remove_below(directory: &Path, device: u64) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.dev() != device {
            return Err(rustix::io::Errno::BUSY.into());
        }
        if found.is_dir() {
            remove_below(&entry.path(), device)?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_dir(directory)
}
