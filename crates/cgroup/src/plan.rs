//! Where a container's directories lie: decided from `linux.cgroupsPath` and the mounts, without touching anything.
//!
//! - `/a/b`: below the root of each hierarchy as this process sees it;
//! - `a/b`: below the cgroup this process is in; on v2 beside it, since a cgroup with processes cannot hand controllers on
//!   ("no internal processes"), unless that is the root;
//! - nothing: `/stockade/<id>`;
//! - `slice:prefix:name` asks for systemd, `..` leaves the place: both are refused.

use std::path::{Component, Path, PathBuf};

use crate::layout::{Mount, Mounts};
use crate::{Cgroup, Dir, Error, Layout};

/// Controllers that every container gets: limits, accounting and pausing need them, and a JVM looks for cpuset.
const ALWAYS: [&str; 8] = [
    "memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "freezer", "blkio",
];
/// Made only when a limit needs them.
const ON_DEMAND: [&str; 3] = ["hugetlb", "net_cls", "net_prio"];

impl Cgroup {
    /// Decides the directories for `linux.cgroupsPath` (`path`, may be empty) of container `id`; changes nothing.
    ///
    /// A place where somebody already is is refused here, before anybody records it as a container's: whoever undoes a
    /// failed creation kills what is inside.
    pub fn plan(path: &str, id: &str) -> Result<Cgroup, Error> {
        let systemd = Path::new("/run/systemd/system").is_dir();
        let cgroup = plan(&Mounts::probe()?, path, id, systemd)?;
        match cgroup.pids().is_empty() {
            true => Ok(cgroup),
            false => Err(Error::Busy(cgroup.telling().unwrap_or_default())),
        }
    }
}

fn plan(mounts: &Mounts, path: &str, id: &str, systemd: bool) -> Result<Cgroup, Error> {
    let (absolute, relative) = place(path, id)?;
    let layout = mounts.layout();
    let mut cgroup = Cgroup {
        layout,
        v1: Vec::new(),
        v2: None,
    };
    if layout == Layout::Absent {
        return Ok(cgroup);
    }
    for mount in &mounts.v1 {
        let has = |wanted: &[&str]| {
            mount
                .controllers
                .iter()
                .any(|name| wanted.contains(&name.as_str()))
        };
        let always = has(&ALWAYS) || systemd && has(&["name=systemd"]);
        if always || has(&ON_DEMAND) {
            cgroup
                .v1
                .push(dir(mount, absolute, &relative, !always, path)?);
        }
    }
    if let Some(mount) = &mounts.v2 {
        let mut own = mount.clone();
        own.own = mount
            .own
            .as_deref()
            .map(|own| own.parent().unwrap_or(Path::new("")).to_owned());
        cgroup.v2 = Some(dir(
            &own,
            absolute,
            &relative,
            layout == Layout::Hybrid,
            path,
        )?);
    }
    Ok(cgroup)
}

fn dir(
    mount: &Mount,
    absolute: bool,
    relative: &Path,
    on_demand: bool,
    path: &str,
) -> Result<Dir, Error> {
    let below = match (absolute, &mount.own) {
        (true, _) => Path::new(""),
        (false, Some(own)) => own,
        (false, None) => {
            return Err(Error::Path(
                path.to_owned(),
                "is relative, but the mounts do not show our own cgroup",
            ));
        }
    };
    let path = below.join(relative);
    Ok(Dir {
        mount: mount.point.clone(),
        controllers: mount.controllers.clone(),
        path,
        on_demand,
    })
}

/// Whether the place is absolute, and its components.
fn place(path: &str, id: &str) -> Result<(bool, PathBuf), Error> {
    let refuse = |why| Err(Error::Path(path.to_owned(), why));
    if path.is_empty() {
        let mut components = Path::new(id).components();
        return match (components.next(), components.next()) {
            (Some(Component::Normal(name)), None) => Ok((true, Path::new("stockade").join(name))),
            _ => Err(Error::Path(
                id.to_owned(),
                "the container's id is no file name",
            )),
        };
    }
    if path.split(':').count() == 3 && !path.contains('/') {
        return Err(Error::Unserved(
            "the systemd driver, which a cgroupsPath of the form slice:prefix:name asks for,",
        ));
    }
    if path.bytes().any(|byte| byte == 0 || byte == b'\n') {
        return refuse("holds a byte that no path of a cgroup can hold");
    }
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => return refuse("leaves its place by .."),
            _ => {}
        }
    }
    if clean.as_os_str().is_empty() {
        return refuse("is the root, which is not a container's");
    }
    Ok((path.starts_with('/'), clean))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str, controllers: &[&str], own: &str) -> Mount {
        Mount {
            point: point.into(),
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            own: Some(own.into()),
        }
    }

    fn hybrid() -> Mounts {
        Mounts {
            v1: vec![
                mount("/c/memory", &["memory"], "a"),
                mount("/c/hugetlb", &["hugetlb"], ""),
                mount("/c/perf", &["perf_event"], ""),
            ],
            v2: Some(mount("/c/unified", &[], "u/v")),
        }
    }

    #[test]
    fn absolute_relative_and_empty_paths() {
        let dirs = |path: &str| {
            let cgroup = plan(&hybrid(), path, "box", false).expect("the path is served");
            let v2 = cgroup.v2.expect("v2 is mounted").dir();
            (cgroup.v1.iter().map(Dir::dir).collect::<Vec<_>>(), v2)
        };
        assert_eq!(
            dirs("/p/./q//r"),
            (
                vec!["/c/memory/p/q/r".into(), "/c/hugetlb/p/q/r".into()],
                "/c/unified/p/q/r".into()
            )
        );
        assert_eq!(
            dirs("q"),
            (
                vec!["/c/memory/a/q".into(), "/c/hugetlb/q".into()],
                "/c/unified/u/q".into()
            )
        );
        assert_eq!(dirs("").0[0], PathBuf::from("/c/memory/stockade/box"));
    }

    #[test]
    fn what_leaves_its_place_is_refused() {
        for path in ["/a/../../b", "..", "/", "a/..", "a\nb", "."] {
            assert!(
                matches!(plan(&hybrid(), path, "box", false), Err(Error::Path(..))),
                "{path:?}"
            );
        }
        assert!(matches!(
            plan(&hybrid(), "system.slice:docker:abc", "box", false),
            Err(Error::Unserved(_))
        ));
        for id in ["..", "a/b", ""] {
            assert!(plan(&hybrid(), "", id, false).is_err(), "{id:?}");
        }
    }
}
