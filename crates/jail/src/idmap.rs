//! User namespaces: their id maps, and namespaces that exist only to map the ids of mounts.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use rustix::fs::{Mode, OFlags, openat};
use spec::IdMapping;

use crate::Stage;
use crate::fault::{At, Fault, Outcome};

/// Both maps of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub uids: Vec<IdMapping>,
    pub gids: Vec<IdMapping>,
}

/// Reads containerd's `C:H:N[,C:H:N…]`.
pub(crate) fn parse_map(text: &str) -> Option<Vec<IdMapping>> {
    text.split(',')
        .map(|line| {
            let mut numbers = line.split(':').map(|number| number.parse::<u32>().ok());
            let mapping = IdMapping {
                container_id: numbers.next()??,
                host_id: numbers.next()??,
                size: numbers.next()??,
            };
            numbers.next().is_none().then_some(mapping)
        })
        .collect()
}

fn lines(map: &[IdMapping]) -> String {
    map.iter().fold(String::new(), |mut text, line| {
        _ = writeln!(text, "{} {} {}", line.container_id, line.host_id, line.size);
        text
    })
}

/// Writes a file below `/proc/PID` whole.
pub(crate) fn write_proc(pid: i32, name: &str, content: &str) -> io::Result<()> {
    let path = format!("/proc/{pid}/{name}");
    let file = openat(
        rustix::fs::CWD,
        path,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::io::write(&file, content.as_bytes())?;
    Ok(())
}

/// Maps the ids of process `pid`, which sits in a new user namespace.
///
/// With privileges the maps are written here; without, a map of nothing but the caller's own id is written here too, and
/// any other by newuidmap(1) and newgidmap(1), which know what /etc/subuid allows.
pub(crate) fn write_maps(pid: i32, maps: &IdMaps, privileged: bool) -> Outcome<()> {
    if privileged {
        write_proc(pid, "uid_map", &lines(&maps.uids)).at(Stage::MapIds, "uid_map")?;
        return write_proc(pid, "gid_map", &lines(&maps.gids)).at(Stage::MapIds, "gid_map");
    }
    let own = |map: &[IdMapping], id: u32| matches!(map, [IdMapping { host_id, size: 1, .. }] if *host_id == id);
    if own(&maps.uids, rustix::process::geteuid().as_raw()) {
        write_proc(pid, "uid_map", &lines(&maps.uids)).at(Stage::MapIds, "uid_map")?;
    } else {
        map_by_program("newuidmap", pid, &maps.uids)?;
    }
    if own(&maps.gids, rustix::process::getegid().as_raw()) {
        // Without privileges a group map is only taken when groups can no longer be dropped (user_namespaces(7)).
        write_proc(pid, "setgroups", "deny").at(Stage::MapIds, "setgroups")?;
        return write_proc(pid, "gid_map", &lines(&maps.gids)).at(Stage::MapIds, "gid_map");
    }
    map_by_program("newgidmap", pid, &maps.gids)
}

fn map_by_program(program: &str, pid: i32, map: &[IdMapping]) -> Outcome<()> {
    let numbers = map
        .iter()
        .flat_map(|line| [line.container_id, line.host_id, line.size])
        .map(|number| number.to_string());
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(numbers)
        .output()
        .at(Stage::MapIds, program)?;
    if output.status.success() {
        return Ok(());
    }
    Fault::refuse(
        Stage::MapIds,
        program,
        String::from_utf8_lossy(&output.stderr).trim(),
    )
}

/// The user namespace of process `pid`.
pub(crate) fn user_namespace(pid: i32) -> io::Result<OwnedFd> {
    Ok(openat(
        rustix::fs::CWD,
        format!("/proc/{pid}/ns/user"),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// User namespaces to map mounts through: the container's own where its maps are the same, else one made for the purpose.
#[derive(Debug)]
pub(crate) struct Mappers<'a> {
    container: Option<(&'a IdMaps, BorrowedFd<'a>)>,
    made: Vec<(IdMaps, OwnedFd)>,
}

impl<'a> Mappers<'a> {
    pub fn new(container: Option<(&'a IdMaps, BorrowedFd<'a>)>) -> Mappers<'a> {
        Mappers {
            container,
            made: Vec::new(),
        }
    }

    /// A namespace with these maps; without maps the container's own.
    pub fn get(&mut self, maps: Option<&IdMaps>) -> io::Result<BorrowedFd<'_>> {
        let missing =
            || io::Error::other("id-mapped without a map, and the container has no user namespace");
        let Some(maps) = maps else {
            return self.container.map(|(_, fd)| fd).ok_or_else(missing);
        };
        if let Some((own, fd)) = self.container
            && own == maps
        {
            return Ok(fd);
        }
        let place = match self.made.iter().position(|(known, _)| known == maps) {
            Some(place) => place,
            None => {
                let made = sys::mapping_namespace(&lines(&maps.uids), &lines(&maps.gids))?;
                self.made.push((maps.clone(), made));
                self.made.len() - 1
            }
        };
        Ok(self.made[place].1.as_fd())
    }
}

/// Maps the ids of a detached mount tree, the copy of what is mounted at `path`. Whether a file system can be mapped is found out
/// by trying; one that cannot is named.
pub(crate) fn map_tree(
    tree: BorrowedFd<'_>,
    recursive: bool,
    userns: BorrowedFd<'_>,
    path: &Path,
) -> io::Result<()> {
    let refused = rustix::io::Errno::INVAL.raw_os_error();
    match sys::map_mount_ids(tree, recursive, userns) {
        Err(error) if error.raw_os_error() == Some(refused) => {
            Err(unmappable(recursive, userns, path).unwrap_or(error))
        }
        answer => answer,
    }
}

/// The file system at `path`, or one mounted below it, that the kernel maps no ids of.
fn unmappable(recursive: bool, userns: BorrowedFd<'_>, path: &Path) -> Option<io::Error> {
    let path = std::fs::canonicalize(path).ok()?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    // ID, parent, device, root, mount point, options, optional fields up to "-", type (proc_pid_mountinfo(5)).
    let mounts: Vec<_> = table
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            Some((Path::new(left.split(' ').nth(4)?), right.split(' ').next()?))
        })
        .collect();
    let holder = mounts
        .iter()
        .filter(|(point, _)| path.starts_with(point))
        .max_by_key(|(point, _)| point.as_os_str().len())
        .map(|(_, kind)| (path.as_path(), *kind));
    let below = mounts
        .iter()
        .filter(|(point, _)| recursive && *point != path && point.starts_with(&path));
    let (place, kind) = holder
        .into_iter()
        .chain(below.copied())
        .find(|(place, _)| {
            crate::mounts::clone_tree(place, false)
                .is_ok_and(|tree| sys::map_mount_ids(tree.as_fd(), false, userns).is_err())
        })?;
    Some(io::Error::other(format!(
        "this kernel maps no ids of {}, a file system of type {kind}; remove the mapping",
        place.display()
    )))
}

/// Waits for a child that is about to end.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read() {
        let line = |container_id, host_id, size| IdMapping {
            container_id,
            host_id,
            size,
        };
        assert_eq!(
            parse_map("0:100000:65536"),
            Some(vec![line(0, 100_000, 65536)])
        );
        assert_eq!(
            parse_map("0:1:2,3:4:5"),
            Some(vec![line(0, 1, 2), line(3, 4, 5)])
        );
        for bad in ["", "0", "0:1", "0:1:2:3", "a:b:c", "0:1:2,", "-1:0:1"] {
            assert_eq!(parse_map(bad), None, "{bad:?}");
        }
    }
}
