//! The root of a container that does not run, put together for this process alone.
//!
//! It is mounted in a mount namespace of the program's own and gone with it. Layers are attached in a scratch tmpfs under
//! short names, so that as many as the kernel takes fit into the options; that tmpfs covers `/`, which paths from `/` do not
//! notice. Unless something is to be written, the upper directory is one more lower one: then nothing is changed by looking.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chownat, mkdirat, openat, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount as mount_path,
    mount_change, move_mount, open_tree,
};

use super::inside::within;
use super::{Error, Result};
use crate::disk;
use crate::ids::Map;

/// An overlay as containerd's mounts describe it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Topmost first.
    pub lowers: Vec<PathBuf>,
    upper: Option<PathBuf>,
    work: Option<PathBuf>,
    uids: Option<Map>,
    gids: Option<Map>,
    rest: Vec<String>,
}

impl Overlay {
    /// Adds options, separated by commas; None when one cannot be read.
    pub fn add(&mut self, text: &str) -> Option<()> {
        let mut words: Vec<String> = Vec::new();
        for part in text.split(',') {
            // The runs of an id map are separated by commas too.
            match words.last_mut() {
                Some(last)
                    if (last.starts_with("uidmap=") || last.starts_with("gidmap="))
                        && part.starts_with(|first: char| first.is_ascii_digit()) =>
                {
                    last.push(',');
                    last.push_str(part);
                }
                _ => words.push(part.to_owned()),
            }
        }
        for word in words {
            match word.split_once('=') {
                Some(("lowerdir", layers)) => self.lowers.extend(split(layers)),
                Some(("upperdir", path)) => self.upper = Some(path.into()),
                Some(("workdir", path)) => self.work = Some(path.into()),
                Some(("uidmap", map)) => self.uids = Some(Map::parse(map)?),
                Some(("gidmap", map)) => self.gids = Some(Map::parse(map)?),
                _ if word.is_empty() => {}
                _ => self.rest.push(word),
            }
        }
        Some(())
    }
}

/// Splits at colons; a backslash takes the meaning from what follows (overlayfs.rst).
fn split(text: &str) -> Vec<PathBuf> {
    let mut layers = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ':' => layers.push(String::new()),
            letter => {
                let letter = if letter == '\\' {
                    letters.next()
                } else {
                    Some(letter)
                };
                layers
                    .last_mut()
                    .into_iter()
                    .for_each(|layer| layer.extend(letter));
            }
        }
    }
    layers.retain(|layer| !layer.is_empty());
    layers.into_iter().map(PathBuf::from).collect()
}

/// A directory or file of the host at a place in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    source: PathBuf,
    target: PathBuf,
    read_only: bool,
    /// Through the container's id map.
    mapped: bool,
}

impl Bind {
    /// Reads `SOURCE:TARGET[:ro][,idmap]`; a backslash takes the meaning from a colon.
    pub fn parse(text: &str) -> Option<Bind> {
        let parts = split(text);
        let (source, target, words) = match &parts[..] {
            [source, target] => (source, target, ""),
            [source, target, words] => (source, target, words.to_str()?),
            _ => return None,
        };
        let mut bind = Bind {
            source: source.clone(),
            target: target.clone(),
            read_only: false,
            mapped: false,
        };
        for word in words.split(',').filter(|word| !word.is_empty()) {
            match word {
                "ro" => bind.read_only = true,
                "rw" => {}
                "idmap" => bind.mapped = true,
                _ => return None,
            }
        }
        (bind.source.is_absolute() && bind.target.is_absolute()).then_some(bind)
    }
}

/// Names what failed.
trait During<T> {
    fn during(self, action: &str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> During<T> for std::result::Result<T, E> {
    fn during(self, action: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::Mount {
            action: format!("{action} {}", path.display()),
            source: error.into(),
        })
    }
}

const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Mounts the root and returns it. `maps` are the container's, for binds that are mapped.
pub fn mount(
    overlay: &Overlay,
    binds: &[Bind],
    (uids, gids): (&Map, &Map),
    write: bool,
) -> Result<OwnedFd> {
    let top = Path::new("/");
    let layers = match (&overlay.uids, &overlay.gids) {
        (Some(uids), gids) => Some(namespace(uids, gids.as_ref().unwrap_or(uids))?),
        (None, _) => None,
    };
    let mapped = binds.iter().any(|bind| bind.mapped);
    let own = if mapped {
        Some(namespace(uids, gids)?)
    } else {
        None
    };
    sys::unshare(sys::CLONE_NEWNS).during("leave the mount namespace of", top)?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).during("make a slave of", top)?;
    let scratch = tmpfs().during("mount a tmpfs over", top)?;
    let top_fd = openat(CWD, "/", HANDLE, Mode::empty()).during("open", top)?;
    put(&scratch, &top_fd).during("mount a tmpfs over", top)?;
    rustix::process::fchdir(&scratch).during("enter", top)?;
    let stage = Stage {
        scratch,
        overlay,
        layers,
    };
    stage.attach_lowers()?;
    let mut root = stage.root("r", write)?;
    if !write && binds.iter().any(|bind| missing(&root, bind)) {
        // Places of binds that no start has made yet: they are made in the upper directory, as a start would.
        root = stage.root("w", true)?;
    }
    let owner = (uids.to_host(0).unwrap_or(0), gids.to_host(0).unwrap_or(0));
    for bind in binds {
        put_bind(&root, bind, own.as_ref(), owner)?;
    }
    // What came to lie on it is seen by whoever walks there by name, not by this descriptor: it is the mount itself.
    Ok(root)
}

fn namespace(uids: &Map, gids: &Map) -> Result<OwnedFd> {
    sys::mapping_namespace(&uids.text(), &gids.text()).map_err(|source| Error::Mount {
        action: "make a user namespace".to_owned(),
        source,
    })
}

fn tmpfs() -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "mode", "700")?;
    fsconfig_create(&context)?;
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?)
}

fn put(mount: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

fn clone(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(CWD, path, flags)?)
}

/// The scratch place while the root is put together: `l0`… are the lower layers, `u` and `k` links to upper and work.
struct Stage<'a> {
    scratch: OwnedFd,
    overlay: &'a Overlay,
    layers: Option<OwnedFd>,
}

impl Stage<'_> {
    fn directory(&self, name: &str) -> io::Result<OwnedFd> {
        mkdirat(&self.scratch, name, Mode::RWXU)?;
        Ok(openat(&self.scratch, name, HANDLE, Mode::empty())?)
    }

    fn attach_lowers(&self) -> Result<()> {
        for (number, path) in self.overlay.lowers.iter().enumerate() {
            let tree = clone(path, false).during("open layer", path)?;
            if let Some(layers) = &self.layers {
                sys::map_mount_ids(tree.as_fd(), false, layers.as_fd())
                    .during("map the ids of layer", path)?;
            }
            self.directory(&format!("l{number}"))
                .and_then(|place| put(&tree, &place))
                .during("attach layer", path)?;
        }
        for (name, path) in [("u", &self.overlay.upper), ("k", &self.overlay.work)] {
            if let Some(path) = path {
                symlinkat(path, &self.scratch, name).during("link to", path)?;
            }
        }
        Ok(())
    }

    fn root(&self, name: &str, write: bool) -> Result<OwnedFd> {
        let overlay = self.overlay;
        let shown = overlay.upper.as_deref().unwrap_or(Path::new("the layers"));
        let mut lowers: Vec<String> = (0..overlay.lowers.len())
            .map(|number| format!("l{number}"))
            .collect();
        let mut rest = overlay.rest.clone();
        let mut words = Vec::new();
        match (&overlay.upper, &overlay.work) {
            (Some(_), Some(_)) if write => {
                words.extend(["upperdir=u".to_owned(), "workdir=k".to_owned()])
            }
            (upper, _) => {
                if upper.is_some() {
                    lowers.insert(0, "u".to_owned());
                }
                rest.retain(|word| word != "volatile");
            }
        }
        let target = self.directory(name).during("make a place for", shown)?;
        if let (true, [alone]) = (words.is_empty(), &lowers[..]) {
            // No overlay has but one layer.
            let tree = clone(Path::new(alone), false).during("open", shown)?;
            protect(&tree, true)
                .and_then(|()| put(&tree, &target))
                .during("attach", shown)?;
        } else {
            words.insert(0, format!("lowerdir={}", lowers.join(":")));
            words.extend(rest);
            let text = CString::new(words.join(",")).during("mount", shown)?;
            let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
            mount_path("overlay", name, "overlay", flags, Some(text.as_c_str()))
                .during("mount the overlay of", shown)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.scratch, name, flags, Mode::empty()).during("open", shown)
    }
}

fn protect(tree: &OwnedFd, read_only: bool) -> io::Result<()> {
    let mut set = sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NOEXEC;
    if read_only {
        set |= sys::MOUNT_ATTR_RDONLY;
    }
    sys::set_mount_attributes(tree.as_fd(), true, set, 0)
}

fn missing(root: &OwnedFd, bind: &Bind) -> bool {
    matches!(
        within(root, bind.target.as_os_str().as_bytes(), OFlags::PATH),
        Err(Errno::NOENT)
    )
}

fn put_bind(root: &OwnedFd, bind: &Bind, own: Option<&OwnedFd>, owner: (u32, u32)) -> Result<()> {
    let tree = clone(&bind.source, true).during("open", &bind.source)?;
    if let (true, Some(own)) = (bind.mapped, own) {
        sys::map_mount_ids(tree.as_fd(), true, own.as_fd())
            .during("map the ids of", &bind.source)?;
    }
    protect(&tree, bind.read_only).during("attach", &bind.source)?;
    let kind = disk::look_at(&tree).map(|found| disk::kind(&found));
    let directory = kind.during("look at", &bind.source)? == FileType::Directory;
    let target = place(root, bind.target.as_os_str().as_bytes(), directory, owner);
    put(&tree, &target.during("find", &bind.target)?).during("attach", &bind.source)
}

/// Opens a path in the root; what is missing of it is made, as at the start of a container.
fn place(root: &OwnedFd, path: &[u8], directory: bool, owner: (u32, u32)) -> io::Result<OwnedFd> {
    match within(root, path, OFlags::PATH) {
        Err(Errno::NOENT) => {}
        found => return Ok(found?),
    }
    let path: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .collect();
    for end in 1..=path.len() {
        let parent = within(root, &path[..end - 1].join(&b'/'), OFlags::PATH)?;
        let name = path[end - 1];
        let made = if directory || end < path.len() {
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))
        } else {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            openat(
                &parent,
                name,
                flags | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o755),
            )
            .map(drop)
        };
        match made {
            Ok(()) => {
                let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
                chownat(
                    &parent,
                    name,
                    Some(uid),
                    Some(gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(within(root, &path.join(&b'/'), OFlags::PATH)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_are_read_as_they_are_mounted() {
        let mut overlay = Overlay::default();
        let text = r"lowerdir=/a:/b\:c,upperdir=/u,workdir=/w,uidmap=0:1000:1,1:2000:9,gidmap=0:5:1,volatile,index=off";
        overlay.add(text).unwrap();
        assert_eq!(overlay.lowers, [Path::new("/a"), Path::new("/b:c")]);
        assert_eq!(overlay.upper.as_deref(), Some(Path::new("/u")));
        assert_eq!(overlay.uids, Map::parse("0:1000:1,1:2000:9"));
        assert_eq!(overlay.rest, ["volatile", "index=off"]);
        assert_eq!(Overlay::default().add("uidmap=x"), None);
    }

    #[test]
    fn binds() {
        let bind = Bind::parse(r"/a\:b:/c:ro,idmap").unwrap();
        assert_eq!((bind.source, bind.target), ("/a:b".into(), "/c".into()));
        assert!(bind.read_only && bind.mapped);
        for bad in ["", "/a", "/a:b", "a:/b", "/a:/b:zz", "/a:/b:ro:x"] {
            assert_eq!(Bind::parse(bad), None, "{bad}");
        }
    }
}
