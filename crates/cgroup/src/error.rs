//! What can go wrong, and on which file.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("no cgroup hierarchy is mounted here, so {0} cannot be held")]
    NoHierarchy(String),
    #[error("{what} cannot be limited: this kernel's {controller} controller is {state}")]
    NoController {
        what: String,
        controller: &'static str,
        state: &'static str,
    },
    #[error("{what} cannot be limited: {file} does not exist on this kernel")]
    NoFile { what: String, file: PathBuf },
    #[error("{what} = {value}: {why}")]
    Value {
        what: String,
        value: String,
        why: &'static str,
    },
    #[error("cgroupsPath {0:?}: {1}")]
    Path(String, &'static str),
    #[error("invalid --cgroup argument {0:?}: {1}")]
    Below(String, &'static str),
    #[error("{0} is not served")]
    Unserved(&'static str),
    #[error(
        "cgroup {0} is another container's, or holds processes: it must be the container's alone"
    )]
    Busy(PathBuf),
    #[error("send signal {signal} to process {pid}")]
    Signal {
        pid: i32,
        signal: i32,
        #[source]
        source: io::Error,
    },
    #[error(
        "{what} cannot be limited: {path} is not ours to make (an ordinary user needs a delegated cgroup)"
    )]
    NotOurs {
        what: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("make cgroup {path}")]
    Make {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("open {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("write {value:?} to {path}")]
    Write {
        path: PathBuf,
        value: String,
        #[source]
        source: io::Error,
    },
    #[error("{path} holds {content:?}, which is not what the kernel documents")]
    Content { path: PathBuf, content: String },
    #[error("remove cgroup {path}")]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("memory limit {limit} is below what the container already uses ({usage})")]
    BelowUsage { limit: i64, usage: u64 },
    #[error("{path} did not reach the state {wanted} within {millis} ms")]
    Timeout {
        path: PathBuf,
        wanted: &'static str,
        millis: u64,
    },
    #[error("device rules of cgroup {path}")]
    Devices {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("wait for events of {path}")]
    Watch {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("this container has no cgroup, so it cannot be {0}")]
    Disabled(&'static str),
}

/// What was not done although the container can run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    #[error("device rule {rule:?} is not in force: the cgroup above does not allow so much")]
    DeviceNotAllowed { rule: String },
    #[error("linux.resources.memory.{0} is ignored: the kernel counts this memory with the rest")]
    KernelMemory(&'static str),
    #[error("device rules are not enforced: {path} is not ours to write ({reason})")]
    DevicesSkipped { path: PathBuf, reason: String },
    #[error(
        "no cgroup: this process may not write below {path} ({reason}), and no limit was asked"
    )]
    NoCgroup { path: PathBuf, reason: String },
}
