//! Who is inside, and how all of them get a signal.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Signal;

use crate::{Cgroup, Dir, Error, file};

/// How long processes may take to end after SIGKILL before somebody else has to worry.
const PATIENCE: Duration = Duration::from_secs(10);
/// Hierarchies in the order in which they are asked who is inside.
const TELLING: [&str; 8] = [
    "freezer", "pids", "memory", "devices", "cpuacct", "cpu", "blkio", "cpuset",
];

impl Cgroup {
    /// Every process inside and below, as this process' pid namespace numbers them; none where there is no directory.
    pub fn pids(&self) -> Vec<i32> {
        let Some(dir) = self.telling() else {
            return Vec::new();
        };
        let mut pids = BTreeSet::new();
        collect(&dir, &mut pids);
        pids.remove(&0); // a process of another pid namespace
        pids.into_iter().collect()
    }

    pub(crate) fn telling(&self) -> Option<PathBuf> {
        let told = |dir: &&Dir| {
            let known = |name: &String| TELLING.contains(&name.as_str());
            !dir.controllers.is_empty() && dir.controllers.iter().any(known)
        };
        TELLING
            .iter()
            .filter_map(|name| self.holder(name))
            .chain(self.all().filter(|dir| !told(dir)))
            .map(|dir| dir.dir())
            .find(|dir| dir.is_dir())
    }

    /// Signals every process inside, those that are being forked meanwhile too; without a directory it reaches nobody.
    /// SIGKILL also thaws, since a frozen process of v1 would not die.
    pub fn kill(&self, signal: i32) -> Result<(), Error> {
        let Some(dir) = self.telling() else {
            return Ok(());
        };
        let lethal = signal == Signal::KILL.as_raw();
        if lethal && file::write(&dir.join("cgroup.kill"), "1").is_ok() {
            return Ok(());
        }
        let before = self.frozen();
        // A forest of forks cannot outrun a signal while it is frozen; where freezing fails, rounds have to do.
        let frozen = before || self.freeze().is_ok();
        let done = self.each(signal);
        if frozen && (!before || lethal) {
            self.thaw()?;
        }
        if lethal && !frozen {
            return self.each_until_none(signal);
        }
        done
    }

    fn each(&self, signal: i32) -> Result<(), Error> {
        for pid in self.pids() {
            send(pid, signal)?;
        }
        Ok(())
    }

    fn each_until_none(&self, signal: i32) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        while !self.pids().is_empty() {
            if Instant::now() > end {
                let path = self.telling().unwrap_or_default();
                return Err(Error::Timeout {
                    path,
                    wanted: "empty",
                    millis: PATIENCE.as_millis() as u64,
                });
            }
            self.each(signal)?;
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

fn send(pid: i32, signal: i32) -> Result<(), Error> {
    match sys::kill(pid, signal) {
        // It ended meanwhile.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(()),
        done => done.map_err(|source| Error::Signal {
            pid,
            signal,
            source,
        }),
    }
}

fn collect(dir: &Path, pids: &mut BTreeSet<i32>) {
    if let Ok(text) = file::read(&dir.join("cgroup.procs")) {
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    for below in subdirectories(dir) {
        collect(&below, pids);
    }
}

/// The directories directly below; none when `dir` is gone.
pub(crate) fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
