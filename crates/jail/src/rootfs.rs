//! The root file system: a directory as it stands, or containerd's list of mounts, put together.
//!
//! It is assembled in the child's mount namespace, so that nothing of it is ever seen on the host — by the privileged caller,
//! which enters that namespace for the moment and keeps the host's rights to its layers, or by the child itself when the caller
//! has none. Layers are attached in a scratch tmpfs above `/`: kernels before 6.15 take neither a detached mount as a
//! layer nor as an overlay's place. The whole of it goes with the old root at pivot_root.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use crate::fault::{At, Fault, Outcome};
use crate::idmap::{IdMaps, Mappers, map_tree, parse_map};
use crate::mounts::{change, clone_tree, make, put};
use crate::options::MountOptions;
use crate::{Error, RootfsMount, Stage, beneath};

/// A path of the host, or one below another entry of the list.
#[derive(Debug)]
enum Place {
    Host(PathBuf, Option<OwnedFd>),
    Entry(usize, PathBuf),
}

#[derive(Debug)]
enum Kind {
    Bind {
        from: Place,
        recursive: bool,
    },
    Overlay {
        lower: Vec<Place>,
        upper: Option<(PathBuf, PathBuf)>,
    },
    FileSystem {
        kind: String,
        device: String,
    },
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    target: PathBuf,
    options: MountOptions,
    maps: Option<IdMaps>,
    /// A later entry names it: it is mounted in the scratch place alone.
    named: bool,
}

#[derive(Debug)]
enum Source {
    /// A directory; the privileged caller's copy of its mount tree.
    Directory(PathBuf, Option<OwnedFd>),
    List(Vec<Entry>),
}

#[derive(Debug)]
pub(crate) struct Plan {
    source: Source,
    /// Made directories belong to the container's root.
    owner: (u32, u32),
    privileged: bool,
}

impl Plan {
    pub fn new(
        path: &Path,
        list: &[RootfsMount],
        owner: (u32, u32),
        privileged: bool,
    ) -> Result<Plan, Error> {
        if list.is_empty() {
            let tree = privileged
                .then(|| clone_tree(path, true).at(Stage::MakeRoot, path.display()))
                .transpose();
            return Ok(Plan {
                source: Source::Directory(path.into(), tree.map_err(Fault::on_host)?),
                owner,
                privileged,
            });
        }
        let mut entries = Vec::with_capacity(list.len());
        for (number, mount) in list.iter().enumerate() {
            let (entry, uses) = Entry::new(number, mount, privileged)?;
            for used in uses {
                let Some(earlier) = entries.get_mut(used) else {
                    return Err(invalid(
                        number,
                        &format!("names mount {used}, which is not before it"),
                    ));
                };
                let earlier: &mut Entry = earlier;
                earlier.named = true;
            }
            entries.push(entry);
        }
        if !entries
            .iter()
            .any(|entry| !entry.named && entry.target.as_os_str().is_empty())
        {
            return Err(invalid(0, "none of the mounts is the root"));
        }
        Ok(Plan {
            source: Source::List(entries),
            owner,
            privileged,
        })
    }

    /// Whether the privileged caller must assemble it: the child may not mount these.
    pub fn needs_caller(&self) -> bool {
        self.privileged && matches!(self.source, Source::List(_))
    }

    /// How many mounts lie on the new root after pivot_root, one on the other: the old root, and the scratch tmpfs on that.
    pub fn stacked(&self) -> usize {
        if matches!(self.source, Source::List(_)) {
            2
        } else {
            1
        }
    }

    /// Puts the root together in the mount namespace of the calling process and leaves its working directory anywhere. The
    /// descriptor is the root's own mount, attached above `/`.
    pub fn assemble(&self, mappers: &mut Mappers<'_>) -> Outcome<OwnedFd> {
        isolate()?;
        let top = openat(
            rustix::fs::CWD,
            "/",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .at(Stage::MakeRoot, "/")?;
        match &self.source {
            Source::Directory(path, tree) => {
                let own = if tree.is_none() {
                    Some(clone_tree(path, true).at(Stage::MakeRoot, path.display())?)
                } else {
                    None
                };
                let tree = tree
                    .as_ref()
                    .or(own.as_ref())
                    .ok_or(Errno::BADF)
                    .at(Stage::MakeRoot, path.display())?;
                put(tree, &top).at(Stage::MakeRoot, path.display())?;
                rustix::io::fcntl_dupfd_cloexec(tree, 3).at(Stage::MakeRoot, path.display())
            }
            Source::List(entries) => {
                // A process whose root is covered counts as chrooted, and a chrooted one makes no user namespace.
                for maps in entries.iter().filter_map(|entry| entry.maps.as_ref()) {
                    mappers
                        .get(Some(maps))
                        .at(Stage::MapIds, "of a rootfs mount")?;
                }
                Assembly::new(self, &top)?.run(entries, mappers)
            }
        }
    }
}

/// Nothing that is mounted from here on reaches the host.
pub(crate) fn isolate() -> Outcome<()> {
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .at(Stage::MakeRoot, "/ as a slave")
}

/// A path that leads the kernel to an open file, for calls that take no descriptor.
pub(crate) fn through_proc(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn invalid(number: usize, reason: &str) -> Error {
    Error::Invalid {
        property: format!("rootfs mount {number}"),
        reason: reason.into(),
    }
}

impl Entry {
    /// Reads one entry, and says which earlier ones it names.
    fn new(
        number: usize,
        mount: &RootfsMount,
        privileged: bool,
    ) -> Result<(Entry, Vec<usize>), Error> {
        let kind = mount.kind.strip_prefix("format/").unwrap_or(&mount.kind);
        let mut words = Words::read(number, &mount.options)?;
        let mut uses = Vec::new();
        let mut place = |text: &str| -> Result<Place, Error> {
            let place = Place::read(number, text)?;
            if let Place::Entry(used, _) = place {
                uses.push(used);
            }
            Ok(place)
        };
        let kind = match kind {
            "bind" | "rbind" => {
                let recursive = words.options.bind.unwrap_or(true) || kind == "rbind";
                Kind::Bind {
                    from: place(&mount.source)?.open(privileged, recursive)?,
                    recursive,
                }
            }
            "overlay" => {
                let lower = words
                    .lower
                    .iter()
                    .map(|text| place(text)?.open(privileged, false))
                    .collect::<Result<Vec<_>, _>>()?;
                Kind::Overlay {
                    lower,
                    upper: words.upper(number)?,
                }
            }
            kind => Kind::FileSystem {
                kind: kind.into(),
                device: mount.source.clone(),
            },
        };
        if words.maps.is_some() && !privileged {
            return Err(Error::Unserved {
                property: format!("rootfs mount {number}: uidmap"),
                reason: "the caller has no CAP_SYS_ADMIN".into(),
            });
        }
        let target = beneath::clean(Path::new(&mount.target));
        Ok((
            Entry {
                kind,
                target,
                options: words.options,
                maps: words.maps.take(),
                named: false,
            },
            uses,
        ))
    }
}

/// The options of an entry, those of an overlay apart.
struct Words {
    options: MountOptions,
    lower: Vec<String>,
    upper: Option<String>,
    work: Option<String>,
    maps: Option<IdMaps>,
}

impl Words {
    fn read(number: usize, words: &[String]) -> Result<Words, Error> {
        let mut options = MountOptions::parse(words);
        let mut read = Words {
            options: MountOptions::default(),
            lower: Vec::new(),
            upper: None,
            work: None,
            maps: None,
        };
        let (mut uids, mut gids) = (None, None);
        let map = |text: &str| {
            parse_map(text).ok_or_else(|| invalid(number, &format!("{text:?} is no id map")))
        };
        let mut data = Vec::new();
        for (key, value) in options.data {
            match (key.as_str(), value) {
                ("lowerdir", Some(value)) => read.lower = split_layers(&value),
                ("upperdir", Some(value)) => read.upper = Some(value),
                ("workdir", Some(value)) => read.work = Some(value),
                ("uidmap", Some(value)) => uids = Some(map(&value)?),
                ("gidmap", Some(value)) => gids = Some(map(&value)?),
                (_, value) => data.push((key, value)),
            }
        }
        options.data = data;
        read.options = options;
        read.maps = match (uids, gids) {
            (Some(uids), Some(gids)) => Some(IdMaps { uids, gids }),
            (None, None) => None,
            _ => return Err(invalid(number, "uidmap and gidmap come together")),
        };
        Ok(read)
    }

    fn upper(&self, number: usize) -> Result<Option<(PathBuf, PathBuf)>, Error> {
        match (&self.upper, &self.work) {
            (Some(upper), Some(work)) => Ok(Some((upper.into(), work.into()))),
            (None, None) => Ok(None),
            _ => Err(invalid(number, "upperdir and workdir come together")),
        }
    }
}

/// Splits at colons; a backslash takes the meaning from what follows (overlayfs.rst).
fn split_layers(text: &str) -> Vec<String> {
    let mut layers = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ':' => layers.push(String::new()),
            '\\' => layers
                .last_mut()
                .into_iter()
                .for_each(|layer| layer.extend(letters.next())),
            letter => layers
                .last_mut()
                .into_iter()
                .for_each(|layer| layer.push(letter)),
        }
    }
    layers.retain(|layer| !layer.is_empty());
    layers
}

impl Place {
    /// A path, or `{{ mount N }}` with a path behind it.
    fn read(number: usize, text: &str) -> Result<Place, Error> {
        let Some(inner) = text.strip_prefix("{{") else {
            return Ok(Place::Host(text.into(), None));
        };
        let parsed = inner.split_once("}}").and_then(|(name, rest)| {
            let used = name.trim().strip_prefix("mount")?.trim().parse().ok()?;
            Some(Place::Entry(used, beneath::clean(Path::new(rest))))
        });
        parsed.ok_or_else(|| {
            invalid(
                number,
                &format!("{text:?} is not of the form {{{{ mount N }}}}"),
            )
        })
    }

    fn open(self, privileged: bool, recursive: bool) -> Result<Place, Error> {
        match self {
            Place::Host(path, _) if privileged => {
                let tree = clone_tree(&path, recursive)
                    .at(Stage::MakeRoot, path.display())
                    .map_err(Fault::on_host)?;
                Ok(Place::Host(path, Some(tree)))
            }
            place => Ok(place),
        }
    }

    fn shown(&self) -> String {
        match self {
            Place::Host(path, _) => path.display().to_string(),
            Place::Entry(number, path) => format!("mount {number}, {}", path.display()),
        }
    }
}

/// The scratch tmpfs while the list is being worked off. Names in it are `n` for named entries, `r` for the root, `l`, `u`, `w`
/// for what overlays are made of, with numbers.
struct Assembly<'a> {
    plan: &'a Plan,
    scratch: OwnedFd,
    root: Option<OwnedFd>,
    layers: usize,
}

impl<'a> Assembly<'a> {
    fn new(plan: &'a Plan, top: &OwnedFd) -> Outcome<Assembly<'a>> {
        let options = MountOptions {
            data: vec![("mode".into(), Some("755".into()))],
            ..MountOptions::default()
        };
        let scratch = make("tmpfs", "scratch", &options).at(Stage::MakeRoot, "scratch tmpfs")?;
        put(&scratch, top).at(Stage::MakeRoot, "scratch tmpfs")?;
        rustix::process::fchdir(&scratch).at(Stage::MakeRoot, "scratch tmpfs")?;
        Ok(Assembly {
            plan,
            scratch,
            root: None,
            layers: 0,
        })
    }

    fn run(mut self, entries: &[Entry], mappers: &mut Mappers<'_>) -> Outcome<OwnedFd> {
        for (number, entry) in entries.iter().enumerate() {
            self.mount(number, entry, mappers)?;
        }
        self.root.ok_or(Errno::NOENT).at(Stage::MakeRoot, "/")
    }

    fn mount(&mut self, number: usize, entry: &Entry, mappers: &mut Mappers<'_>) -> Outcome<()> {
        let subject = || {
            format!(
                "mount {number} at {:?}",
                if entry.named {
                    Path::new("(scratch)")
                } else {
                    &entry.target
                }
            )
        };
        let target = self.target(number, entry).at(
            Stage::MakeRoot,
            format_args!("{}: the mount point", subject()),
        )?;
        match &entry.kind {
            Kind::Bind { from, recursive } => {
                let tree = self
                    .tree(from, *recursive, entry.maps.as_ref(), mappers)
                    .at(
                        Stage::MakeRoot,
                        format_args!("{}: {}", subject(), from.shown()),
                    )?;
                change(&tree, &entry.options)
                    .and_then(|()| put(&tree, &target))
                    .at(Stage::MakeRoot, subject())?;
            }
            Kind::Overlay { lower, upper } => {
                self.overlay(entry, (lower, upper.as_ref()), &target, mappers)?;
                let mounted = self.target(number, entry).at(Stage::MakeRoot, subject())?;
                change(&mounted, &entry.options).at(Stage::MakeRoot, subject())?;
            }
            Kind::FileSystem { kind, device } => {
                let mount = make(kind, device, &entry.options).at(Stage::MakeRoot, subject())?;
                put(&mount, &target).at(Stage::MakeRoot, subject())?;
            }
        }
        if !entry.named && entry.target.as_os_str().is_empty() {
            self.root = Some(
                openat(
                    &self.scratch,
                    "r",
                    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                )
                .at(Stage::MakeRoot, "/")?,
            );
        }
        Ok(())
    }

    /// Where an entry goes: a directory of the scratch place, or one below the root so far.
    fn target(&self, number: usize, entry: &Entry) -> io::Result<OwnedFd> {
        let scratch = |name: String| -> io::Result<OwnedFd> {
            match mkdirat(&self.scratch, name.as_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(openat(
                &self.scratch,
                name.as_str(),
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?)
        };
        if entry.named {
            return scratch(format!("n{number}"));
        }
        match &self.root {
            _ if entry.target.as_os_str().is_empty() => scratch("r".into()),
            None => Err(io::Error::other(
                "the root must come before what lies in it",
            )),
            Some(root) if self.plan.privileged => {
                let (uid, gid) = self.plan.owner;
                sys::set_file_ids(uid, gid);
                let made = beneath::directory(root, &entry.target);
                sys::set_file_ids(
                    rustix::process::geteuid().as_raw(),
                    rustix::process::getegid().as_raw(),
                );
                made
            }
            Some(root) => beneath::directory(root, &entry.target),
        }
    }

    /// A detached, mapped mount of a place.
    fn tree(
        &self,
        place: &Place,
        recursive: bool,
        maps: Option<&IdMaps>,
        mappers: &mut Mappers<'_>,
    ) -> io::Result<OwnedFd> {
        let tree = match place {
            Place::Host(_, Some(tree)) => rustix::io::fcntl_dupfd_cloexec(tree, 3)?,
            Place::Host(path, None) => clone_tree(path, recursive)?,
            Place::Entry(number, path) => {
                clone_tree(&Path::new(&format!("n{number}")).join(path), recursive)?
            }
        };
        if let Some(maps) = maps {
            let path = match place {
                Place::Host(path, _) => path.clone(),
                Place::Entry(number, path) => Path::new(&format!("n{number}")).join(path),
            };
            map_tree(tree.as_fd(), recursive, mappers.get(Some(maps))?, &path)?;
        }
        sys::set_mount_propagation(tree.as_fd(), recursive, libc::MS_SLAVE)?;
        Ok(tree)
    }

    fn overlay(
        &mut self,
        entry: &Entry,
        (lower, upper): (&[Place], Option<&(PathBuf, PathBuf)>),
        target: &OwnedFd,
        mappers: &mut Mappers<'_>,
    ) -> Outcome<()> {
        let mut names = Vec::with_capacity(lower.len());
        for place in lower {
            names.push(
                self.layer(place, entry.maps.as_ref(), mappers)
                    .at(Stage::MakeRoot, format_args!("layer {}", place.shown()))?,
            );
        }
        let mut data = vec![format!("lowerdir={}", names.join(":"))];
        if let Some((upper, work)) = upper {
            // Links keep the host's paths, with commas and colons or not, out of the option string.
            for (key, path) in [("upperdir", upper), ("workdir", work)] {
                let name = format!("{}{}", &key[..1], self.layers);
                symlinkat(path, &self.scratch, name.as_str())
                    .at(Stage::MakeRoot, path.display())?;
                data.push(format!("{key}={name}"));
            }
            self.layers += 1;
        }
        if !self.plan.privileged && upper.is_some() {
            data.push("userxattr".into());
        }
        data.extend(entry.options.data.iter().map(|(key, value)| {
            value
                .as_ref()
                .map_or(key.clone(), |value| format!("{key}={value}"))
        }));
        data.dedup();
        let subject = || format!("overlay with {}", data.join(","));
        let text = CString::new(data.join(","))
            .map_err(io::Error::from)
            .at(Stage::MakeRoot, subject())?;
        let place = through_proc(target);
        mount(
            "overlay",
            place.as_str(),
            "overlay",
            MountFlags::empty(),
            Some(text.as_c_str()),
        )
        .at(Stage::MakeRoot, subject())
    }

    /// Attaches one lower layer in the scratch place; its name there.
    fn layer(
        &mut self,
        place: &Place,
        maps: Option<&IdMaps>,
        mappers: &mut Mappers<'_>,
    ) -> io::Result<String> {
        if let Place::Entry(number, path) = place {
            return Ok(Path::new(&format!("n{number}"))
                .join(path)
                .display()
                .to_string());
        }
        let tree = self.tree(place, false, maps, mappers)?;
        let name = format!("l{}", self.layers);
        self.layers += 1;
        mkdirat(&self.scratch, name.as_str(), Mode::from_raw_mode(0o755))?;
        put(
            &tree,
            &openat(
                &self.scratch,
                name.as_str(),
                OFlags::PATH | OFlags::CLOEXEC,
                Mode::empty(),
            )?,
        )?;
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_split_as_overlayfs_does() {
        assert_eq!(split_layers(r"/a:/b\:c:/d\\"), ["/a", "/b:c", r"/d\"]);
    }

    #[test]
    fn lists_without_sense_are_refused() {
        let entry = |kind: &str, target: &str, options: &[&str]| RootfsMount {
            kind: kind.into(),
            source: "/".into(),
            target: target.into(),
            options: options.iter().map(|word| (*word).to_owned()).collect(),
        };
        let bad = [
            vec![entry("bind", "usr", &["rbind"])],
            vec![entry("format/overlay", "", &["lowerdir={{ mount 0 }}"])],
            vec![entry("format/overlay", "", &["lowerdir={{ overlay 0 }}"])],
            vec![entry("overlay", "", &["lowerdir=/", "upperdir=/tmp"])],
            vec![entry("bind", "", &["uidmap=0:1:1"])],
        ];
        for list in bad {
            assert!(
                Plan::new(Path::new("/"), &list, (0, 0), false).is_err(),
                "{list:?}"
            );
        }
    }
}
