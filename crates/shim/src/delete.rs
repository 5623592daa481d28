//! `delete`: what a shim that died left is killed, removed and explained; the answer is a DeleteResponse.
//!
//! Everything it needs stands in the bundle. Mounts need no removal: they were the container's own and went with it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use prost::Message;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::api::containerd::task::v3::DeleteResponse;
use crate::args::Shim;
use crate::events::timestamp;
use crate::record::{Exit, Reason, Record};
use crate::socket::{self, Sockets};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("find the working directory")]
    WorkingDirectory(#[source] io::Error),
    #[error("record the end in {path}")]
    Exit {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    #[error("write the answer")]
    Output(#[source] io::Error),
}

/// How long the killed may take to disappear.
const PATIENCE: Duration = Duration::from_secs(5);
const KILLED: u32 = 137;
/// How long a killed shim may go on answering.
const DYING: Duration = Duration::from_millis(500);

/// Cleans up the container of the bundle; twice does no harm.
pub fn delete(args: &Shim) -> Result<(), Error> {
    let bundle = match &args.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().map_err(Error::WorkingDirectory)?,
    };
    let record = Record::read(&bundle).ok();
    if let Some(record) = &record {
        kill(record)?;
        if let Some(foreign) = &record.foreign {
            foreign.clean(&record.id, &record.namespace, &bundle);
        }
    }
    remove_sockets(&bundle);
    let at = SystemTime::now();
    let exit = match Exit::read(&bundle, "") {
        Ok(exit) => exit,
        Err(_) => {
            let exit = Exit::bare(
                KILLED,
                at,
                Reason::ShimDied,
                "its shim died, so it was killed".into(),
            );
            // A bundle that is gone already needs no record.
            if bundle.is_dir() {
                exit.write(&bundle, "").map_err(|source| Error::Exit {
                    path: bundle.clone(),
                    source,
                })?;
            }
            exit
        }
    };
    let pid = record.map_or(0, |record| record.pid as u32);
    let response = DeleteResponse {
        pid,
        exit_status: exit.exit_status,
        exited_at: Some(timestamp(at)),
    };
    io::stdout()
        .write_all(&response.encode_to_vec())
        .map_err(Error::Output)
}

/// Kills init (if the pid still means it) and everything in the cgroup, then removes the cgroup.
fn kill(record: &Record) -> Result<(), Error> {
    if let Some(init) = Pid::from_raw(record.pid)
        && let Ok(pidfd) = rustix::process::pidfd_open(init, PidfdFlags::empty())
        && start_time(record.pid) == Some(record.start_time)
    {
        // Fails only when it is gone, which is what is wanted.
        let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
    }
    record.cgroup.kill(Signal::KILL.as_raw())?;
    let until = Instant::now() + PATIENCE;
    while !record.cgroup.pids().is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(record.cgroup.remove()?)
}

/// Removes the sockets that the bundle names when no shim answers there any more (a pod's other containers may be alive).
fn remove_sockets(bundle: &Path) {
    let read = |name: &str| std::fs::read_to_string(bundle.join(name)).ok();
    let (Some(address), Some(attach)) = (read("address"), read("attach")) else {
        return;
    };
    let Some(ttrpc) = address.trim().strip_prefix("unix://") else {
        return;
    };
    let sockets = Sockets {
        ttrpc: ttrpc.into(),
        attach: attach.trim().into(),
    };
    if !socket::alive(&sockets.ttrpc, DYING) {
        sockets.remove();
    }
}

/// Field 22 of /proc/PID/stat, counted after the name, which may hold anything.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn our_own_start_time_is_found() {
        assert!(super::start_time(std::process::id() as i32).is_some_and(|time| time > 0));
        assert_eq!(super::start_time(-1), None);
    }
}
