//! Which hierarchies this process sees, and where it stands in them (cgroups(7), /proc/self/mountinfo, /proc/self/cgroup).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, file};

/// What is mounted for cgroups here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    V1,
    /// v1 hierarchies with controllers, and v2 beside them.
    Hybrid,
    V2,
    Absent,
}

/// Looks anew each time: two small files of /proc.
pub fn layout() -> Layout {
    Mounts::probe().map_or(Layout::Absent, |mounts| mounts.layout())
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    /// v1: the controllers, or `name=…`; v2: empty.
    pub(crate) controllers: Vec<String>,
    /// This process' own directory below `point`; `None` when the mount does not show it.
    pub(crate) own: Option<PathBuf>,
}

#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub(crate) v1: Vec<Mount>,
    pub(crate) v2: Option<Mount>,
}

impl Mounts {
    pub(crate) fn probe() -> Result<Mounts, Error> {
        let read = |path: &'static str| file::read(Path::new(path));
        Ok(Mounts::parse(
            &read("/proc/self/mountinfo")?,
            &read("/proc/self/cgroup")?,
        ))
    }

    pub(crate) fn parse(mountinfo: &str, own: &str) -> Mounts {
        let mut mounts = Mounts::default();
        for line in mountinfo.lines() {
            let Some((mount, kind)) = Mount::parse(line, own) else {
                continue;
            };
            match kind {
                "cgroup2" if mounts.v2.is_none() => mounts.v2 = Some(mount),
                // A hierarchy mounted twice is used at its first place.
                "cgroup"
                    if !mounts
                        .v1
                        .iter()
                        .any(|known| known.controllers == mount.controllers) =>
                {
                    mounts.v1.push(mount)
                }
                _ => {}
            }
        }
        mounts
    }

    pub(crate) fn layout(&self) -> Layout {
        let controllers = self.v1.iter().any(|mount| {
            mount
                .controllers
                .iter()
                .any(|name| !name.starts_with("name="))
        });
        match (controllers, &self.v2) {
            (true, None) => Layout::V1,
            (true, Some(_)) => Layout::Hybrid,
            (false, Some(_)) => Layout::V2,
            (false, None) => Layout::Absent,
        }
    }
}

impl Mount {
    /// Fields of a line: id, parent, device, root, mount point, options, tags…, `-`, type, source, super options.
    fn parse<'a>(line: &'a str, own: &str) -> Option<(Mount, &'a str)> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        if kind != "cgroup" && kind != "cgroup2" {
            return None;
        }
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        let controllers: Vec<String> = match kind {
            "cgroup" => options
                .split(',')
                .filter(|option| is_controller(option))
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        let own = own_path(own, &controllers)
            .and_then(|path| Some(Path::new(path).strip_prefix(&root).ok()?.to_owned()));
        Some((
            Mount {
                point: point.into(),
                controllers,
                own,
            },
            kind,
        ))
    }
}

fn is_controller(option: &str) -> bool {
    const FLAGS: [&str; 8] = [
        "rw",
        "ro",
        "none",
        "noprefix",
        "xattr",
        "clone_children",
        "cpuset_v2_mode",
        "favordynmods",
    ];
    !FLAGS.contains(&option) && !option.starts_with("release_agent=")
}

/// The path in the line `id:controllers:path` of /proc/self/cgroup that has these controllers.
fn own_path<'a>(own: &'a str, controllers: &[String]) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let names = fields.nth(1)?;
        let path = fields.next()?;
        let same = match controllers.first() {
            None => names.is_empty(),
            Some(first) => names.split(',').any(|name| name == first),
        };
        same.then_some(path)
    })
}

/// Spaces, tabs, newlines and backslashes stand as octal in mountinfo.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part
            .get(..3)
            .and_then(|octal| u8::from_str_radix(octal, 8).ok())
        {
            Some(byte) => text.push(byte as char),
            None => text.push('\\'),
        }
        text.push_str(part.get(3..).unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /box /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw,nsdelegate";
    const OWN: &str = "9:name=systemd:/\n4:memory:/box/a:b\n1:cpu,cpuacct:/x\n0::/u\n";

    #[test]
    fn a_hybrid_host_is_read() {
        let mounts = Mounts::parse(HYBRID, OWN);
        assert_eq!(mounts.layout(), Layout::Hybrid);
        assert_eq!(mounts.v1[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(mounts.v1[0].own.as_deref(), Some(Path::new("x")));
        assert_eq!(mounts.v1[1].own.as_deref(), Some(Path::new("a:b")));
        assert_eq!(mounts.v1[2].controllers, ["name=systemd"]);
        let v2 = mounts.v2.expect("v2 is mounted");
        assert_eq!(
            (v2.point.to_str(), v2.own.as_deref()),
            (Some("/sys/fs/cgroup/uni fied"), Some(Path::new("u")))
        );
    }

    #[test]
    fn a_mount_that_does_not_show_our_own_place_says_so() {
        let mounts = Mounts::parse(
            "35 31 0:32 /other /m rw - cgroup cgroup rw,memory",
            "4:memory:/box\n",
        );
        assert_eq!(mounts.v1[0].own, None);
        assert_eq!(mounts.layout(), Layout::V1);
        assert_eq!(Mounts::parse("", "").layout(), Layout::Absent);
    }
}
