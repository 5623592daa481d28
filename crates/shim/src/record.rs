//! What stands on disk beside `config.json`, so that a killed shim's container can be found, cleaned up and explained.
//!
//! Files are replaced by rename: a reader sees the old or the new one. No fsync: they serve against killed processes; after a
//! power cut there is no container either.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::foreign::Trace;
use crate::log::rfc3339;

/// The container that a shim is making or has made; written before its cgroup exists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    pub namespace: String,
    pub cgroup: cgroup::Cgroup,
    /// Of init; 0 while it is being made.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat.
    pub start_time: u64,
    /// Whose container it is, when the wall is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<Trace>,
}

pub const RECORD: &str = "shim.json";

impl Record {
    pub fn write(&self, bundle: &Path) -> io::Result<()> {
        replace(&bundle.join(RECORD), &serde_json::to_vec(self)?)
    }

    /// Fills in what was 0 in the record that is there. In place, as a second new file would cost more than the first: what is
    /// written is longer than what it replaces, and lies in one page, which no kill can cut.
    pub fn complete(&self, bundle: &Path) -> io::Result<()> {
        let mut file = File::options().write(true).open(bundle.join(RECORD))?;
        file.write_all(&serde_json::to_vec(self)?)
    }

    pub fn read(bundle: &Path) -> io::Result<Record> {
        Ok(serde_json::from_slice(&std::fs::read(
            bundle.join(RECORD),
        )?)?)
    }
}

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    Exited,
    Signaled,
    #[serde(rename = "OOMKilled")]
    OomKilled,
    TimedOut,
    ShimDied,
    StartFailed,
}

impl Usage {
    pub fn of(child: &sys::Reaped) -> Usage {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Usage {
            cpu_ns: nanoseconds(child.user + child.system),
            user_ns: nanoseconds(child.user),
            system_ns: nanoseconds(child.system),
            memory_peak: child.memory_peak,
        }
    }
}

/// How a process ended, as the wait status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Code(u8),
    Signal(u8),
}

impl From<sys::ChildEnd> for Ended {
    fn from(end: sys::ChildEnd) -> Ended {
        match end {
            sys::ChildEnd::Exited(code) => Ended::Code(code),
            sys::ChildEnd::Killed(signal) => Ended::Signal(signal),
        }
    }
}

impl Ended {
    /// What a status told by others means, which does not say which of the two it was.
    pub fn of_status(status: u32) -> Ended {
        match status {
            129..=192 => Ended::Signal((status - 128) as u8),
            status => Ended::Code(status as u8),
        }
    }

    /// As a shell counts: 128 and the signal's number.
    pub fn status(self) -> u32 {
        match self {
            Ended::Code(code) => code.into(),
            Ended::Signal(signal) => 128 + u32::from(signal),
        }
    }
}

/// Explains an end by what was seen of the container. Only SIGKILL comes from the kernel's OOM killer and from a time limit.
pub fn reason(ended: Ended, oom_kills: u64, timed_out: bool) -> (Reason, String) {
    match ended {
        Ended::Signal(9) if timed_out => (Reason::TimedOut, "killed at its time limit".into()),
        Ended::Signal(9) if oom_kills > 0 => (
            Reason::OomKilled,
            "killed by the kernel: the container reached its memory limit".into(),
        ),
        Ended::Signal(signal) => (Reason::Signaled, format!("killed by signal {signal}")),
        Ended::Code(_) => (Reason::Exited, String::new()),
    }
}

/// How long the shim's own steps took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    pub create_us: u64,
    pub start_us: u64,
}

/// What the container used, of an exec what it and the descendants that it waited for used; zero where the kernel does not count
/// it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    /// Bytes.
    pub memory_peak: u64,
}

/// The end of one process, kept until somebody reads it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exit {
    pub exit_status: u32,
    pub exited_at: String,
    pub reason: Reason,
    pub message: String,
    pub oom_kills: u64,
    /// Forks that the pids limit refused.
    pub pids_refused: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<String>,
    pub usage: Usage,
    pub steps: Steps,
    /// Bytes of output that no log and nobody took.
    pub output_dropped: u64,
}

impl Exit {
    /// One of which nothing but its end is known.
    pub fn bare(exit_status: u32, at: SystemTime, reason: Reason, message: String) -> Exit {
        Exit {
            exit_status,
            exited_at: rfc3339(at),
            reason,
            message,
            oom_kills: 0,
            pids_refused: 0,
            started_at: None,
            usage: Usage::default(),
            steps: Steps::default(),
            output_dropped: 0,
        }
    }

    pub fn write(&self, bundle: &Path, exec_id: &str) -> io::Result<()> {
        replace(&bundle.join(file_name(exec_id)), &serde_json::to_vec(self)?)
    }

    pub fn read(bundle: &Path, exec_id: &str) -> io::Result<Exit> {
        Ok(serde_json::from_slice(&std::fs::read(
            bundle.join(file_name(exec_id)),
        )?)?)
    }
}

fn file_name(exec_id: &str) -> String {
    if exec_id.is_empty() {
        "exit.json".into()
    } else {
        format!("exit-{exec_id}.json")
    }
}

/// Writes a file whole or not at all.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let replaced = std::fs::write(&beside, content).and_then(|()| std::fs::rename(&beside, path));
    if replaced.is_err() {
        // The disk may be full: half a file helps nobody.
        let _ = std::fs::remove_file(&beside);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_release_wrote_is_read() {
        // `delete` of a newer release cleans up after a shim of an older one. These texts are never changed.
        let record = r#"{"id":"c","namespace":"stockade","cgroup":{"layout":"hybrid","v1":[{"mount":"/m","controllers":["pids"],
            "path":"stockade/c"}],"v2":{"mount":"/u","path":"stockade/c","on_demand":true}},"pid":7,"start_time":8,
            "foreign":{"program":"/bin/runc","place":"/r/oci/n","root":"/r/roots/c","peer":false}}"#;
        let exit = r#"{"exit_status":137,"exited_at":"2026-01-01T00:00:00Z","reason":"OOMKilled","message":"killed",
            "oom_kills":1,"pids_refused":0,"started_at":"2026-01-01T00:00:00Z","usage":{"cpu_ns":1,"user_ns":1,"system_ns":0,
            "memory_peak":9},"steps":{"create_us":1,"start_us":2},"output_dropped":0}"#;
        let record: Record = serde_json::from_str(record).unwrap();
        assert_eq!((record.id.as_str(), record.pid), ("c", 7));
        let exit: Exit = serde_json::from_str(exit).unwrap();
        assert_eq!((exit.exit_status, exit.reason), (137, Reason::OomKilled));
    }

    #[test]
    fn reasons() {
        let cases = [
            (Ended::Code(0), 0, false, 0, Reason::Exited),
            (Ended::Code(3), 1, true, 3, Reason::Exited),
            (Ended::Signal(9), 1, false, 137, Reason::OomKilled),
            (Ended::Signal(9), 0, false, 137, Reason::Signaled),
            (Ended::Signal(9), 1, true, 137, Reason::TimedOut),
            (Ended::Signal(15), 1, false, 143, Reason::Signaled),
        ];
        for (ended, oom_kills, timed_out, status, expected) in cases {
            assert_eq!(
                (ended.status(), reason(ended, oom_kills, timed_out).0),
                (status, expected),
                "{ended:?}"
            );
        }
    }
}
