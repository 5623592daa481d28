//! Kernel parameters that belong to a namespace; all others are the host's and refused.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags, fstatfs, openat, openat2};
use spec::{Linux, NamespaceKind};

use crate::fault::{At, Outcome};
use crate::namespaces::Namespaces;
use crate::{Error, Stage};

const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// Parameters of System V and POSIX IPC, by their path below /proc/sys.
const IPC: [&str; 9] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
    "kernel/auto_msgmni",
];

/// Fails unless the file is procfs' own (CVE-2025-52881: a write redirected to a file that only stands in its place).
pub(crate) fn prove_procfs(file: impl AsFd) -> io::Result<()> {
    if fstatfs(file)?.f_type as u64 == PROC_SUPER_MAGIC {
        Ok(())
    } else {
        Err(io::Error::other("not a file of procfs"))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Plan(Vec<(String, PathBuf, String)>);

impl Plan {
    pub fn new(linux: &Linux, namespaces: &Namespaces, has_hostname: bool) -> Result<Plan, Error> {
        let entries = linux.sysctl.iter().map(|(name, value)| {
            let path = to_path(name);
            let refuse = |reason: &str| {
                Err(Error::Unserved {
                    property: format!("linux.sysctl {name:?}"),
                    reason: reason.into(),
                })
            };
            let needs = match path.as_str() {
                path if path.starts_with("net/") => NamespaceKind::Network,
                path if IPC.contains(&path) || path.starts_with("fs/mqueue/") => NamespaceKind::Ipc,
                "kernel/domainname" => NamespaceKind::Uts,
                "kernel/hostname" if has_hostname => return refuse("it contradicts hostname"),
                "kernel/hostname" => NamespaceKind::Uts,
                _ => return refuse("it is not in a separate kernel namespace"),
            };
            if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return refuse("it is not the name of a parameter");
            }
            match namespaces.has(needs) {
                true => Ok((name.clone(), path.into(), value.clone())),
                false => refuse("the container shares the host's namespace"),
            }
        });
        Ok(Plan(entries.collect::<Result<_, _>>()?))
    }

    /// Writes them through the host's /proc: a parameter's file shows the namespaces of whoever opens it.
    pub fn apply(&self) -> Outcome<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let base = openat(
            rustix::fs::CWD,
            "/proc/sys",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let base = base.at(Stage::SetSysctl, "/proc/sys")?;
        prove_procfs(&base).at(Stage::SetSysctl, "/proc/sys")?;
        self.0.iter().try_for_each(|(name, path, value)| {
            write(&base, path, value).at(Stage::SetSysctl, name)
        })
    }
}

fn write(base: &OwnedFd, path: &PathBuf, value: &str) -> io::Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let file = openat2(
        base,
        path,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )?;
    prove_procfs(&file)?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}

/// `net.ipv4.ip_forward` and `net/ipv4/conf/eth0.1/forwarding`: whichever separator comes first separates, the other one is part
/// of a name (sysctl(8)).
fn to_path(name: &str) -> String {
    if name
        .find(['.', '/'])
        .is_some_and(|place| name.as_bytes()[place] == b'/')
    {
        return name.to_owned();
    }
    name.chars()
        .map(|c| {
            if c == '.' {
                '/'
            } else if c == '/' {
                '.'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        assert_eq!(to_path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(
            to_path("net/ipv4/conf/eth0.1/forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            to_path("net.ipv4.conf.eth0/1.forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
    }

    #[test]
    fn the_hosts_are_refused() {
        let namespaces = Namespaces {
            new: sys::CLONE_NEWNET,
            ..Namespaces::default()
        };
        let plan = |name: &str| {
            let linux = Linux {
                sysctl: [(name.to_owned(), "1".to_owned())].into(),
                ..Linux::default()
            };
            Plan::new(&linux, &namespaces, false)
        };
        assert!(plan("net.ipv4.ip_forward").is_ok());
        for bad in [
            "kernel.panic",
            "kernel.msgmax",
            "net/../kernel/panic",
            "vm.swappiness",
            "net.",
        ] {
            assert!(plan(bad).is_err(), "{bad}");
        }
    }
}
