//! What the shim knows of one process and of one container: values, no behaviour beyond looking them up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cgroup::{Cgroup, OomWatch};

use crate::kept::Kept;
use crate::phase::Phase;
use crate::poll::{ClientKey, ConnKey, ContainerKey, ProcessKey};
use crate::record::Steps;
use crate::stdio::{ChildEnds, Io};
use crate::taken::Untaken;
use crate::wall::Wall;

/// How a process ended, as replies and events say it.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub status: u32,
    pub at: SystemTime,
}

/// Init of a container, or a process that Exec added.
pub struct Process {
    pub container: ContainerKey,
    /// Empty for init.
    pub exec_id: String,
    pub phase: Phase,
    /// 0 before an exec is started.
    pub pid: i32,
    pub pidfd: Option<std::os::fd::OwnedFd>,
    pub io: Io,
    /// An exec's own ends, until it is started.
    pub child_ends: Option<ChildEnds>,
    /// An exec's configuration, until it is started.
    pub spec: Option<Box<spec::Process>>,
    /// Callers of Wait: their connection and stream.
    pub waiters: Vec<(ConnKey, u32)>,
    pub clients: Vec<ClientKey>,
    pub end: Option<End>,
    /// Whether callers and the engine heard of the end.
    pub told: bool,
    /// Output that its readers have not taken from FIFOs.
    pub untaken: Option<Untaken>,
    pub started_at: Option<SystemTime>,
    pub steps: Steps,
    /// Deleted; only its last output is still under way.
    pub deleted: bool,
    /// Another shim was told that no input comes any more.
    pub input_ended: bool,
}

impl Process {
    /// One that was asked for and has no pid yet.
    pub fn new(container: ContainerKey, exec_id: &str, io: Io) -> Process {
        Process {
            container,
            exec_id: exec_id.into(),
            phase: Phase::Created,
            pid: 0,
            pidfd: None,
            io,
            child_ends: None,
            spec: None,
            waiters: Vec::new(),
            clients: Vec::new(),
            end: None,
            told: false,
            untaken: None,
            started_at: None,
            steps: Steps::default(),
            deleted: false,
            input_ended: false,
        }
    }
}

pub struct Container {
    pub id: String,
    pub bundle: PathBuf,
    pub spec: Kept,
    pub cgroup: Cgroup,
    pub wall: Wall,
    pub init: ProcessKey,
    pub execs: BTreeMap<String, ProcessKey>,
    pub oom: Option<OomWatch>,
    /// Kills by the kernel that were reported.
    pub oom_kills: u64,
    /// Those of them that ends of execs were explained by.
    pub oom_explained: u64,
    pub time_limit: Option<Duration>,
    pub timed_out: bool,
    /// The connection that the container's life hangs on.
    pub lifeline: Option<ConnKey>,
}
