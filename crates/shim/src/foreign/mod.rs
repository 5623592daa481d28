//! Walls of other makers: a runc-compatible command, or another shim, that `BinaryName` of the options names.
//!
//! The law: whoever drives this shim sees no difference. Stdio, logs, attached clients, records of ends and the cgroup stay
//! this shim's; the foreign program makes the container and ends it. It finds its root file system mounted, in a mount
//! namespace that this shim shares with nobody, so that everything of it goes when the processes have gone. Each call is
//! bounded and holds the loop.

mod command;
mod console;
mod document;
mod ground;
mod peer;
mod run;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};
use spec::Spec;

use crate::delete::start_time;
use crate::options::Options;
use crate::stdio::ChildEnds;
use crate::ttrpc::{Code, Refusal};
use command::Command;
use ground::Ground;
use peer::Peer;

pub use ground::enter as enter_own_mounts;

/// What a foreign program is to make.
pub struct Order<'a> {
    pub id: &'a str,
    pub namespace: &'a str,
    pub bundle: &'a Path,
    pub spec: &'a Spec,
    pub text: &'a [u8],
    pub rootfs: &'a [jail::RootfsMount],
    pub options: &'a Options,
    pub terminal: bool,
    /// Who takes the events of another shim: this one's socket.
    pub events: &'a str,
}

/// What finds a foreign container again when this shim was killed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trace {
    program: PathBuf,
    /// The command's directory of states, or the other shim's bundle.
    place: PathBuf,
    /// Where its root file system is mounted, for this shim's children.
    root: PathBuf,
    /// A shim rather than a command.
    peer: bool,
}

/// A container behind somebody else's wall.
#[derive(Debug)]
pub struct Foreign {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub start_time: u64,
    /// The container's root, as an `O_PATH` descriptor.
    pub rootfs: Option<OwnedFd>,
    ground: Ground,
    driver: Driver,
}

#[derive(Debug)]
enum Driver {
    Command(Command),
    Peer(Peer),
}

/// A process that a foreign program started.
pub struct Started {
    pub pid: i32,
    /// `None`: it has ended already.
    pub pidfd: Option<OwnedFd>,
    /// The master of its terminal, from a command.
    pub console: Option<OwnedFd>,
}

/// Where a container is at home.
pub struct Place<'a> {
    pub id: &'a str,
    pub namespace: &'a str,
    pub bundle: &'a Path,
    /// What is there lives as long as the machine runs.
    pub run: &'a Path,
}

impl Trace {
    /// Whose the container will be.
    pub fn new(program: &Path, options: &Options, place: &Place<'_>) -> Trace {
        let peer = is_shim(program);
        let states = || {
            options
                .root
                .clone()
                .unwrap_or_else(|| place.run.join("oci").join(place.namespace))
        };
        Trace {
            program: program.to_owned(),
            place: if peer {
                ground::place(place.bundle, place.id)
            } else {
                states()
            },
            root: place.run.join("roots").join(place.id),
            peer,
        }
    }

    pub fn is_shim(&self) -> bool {
        self.peer
    }

    /// Has the program take away what is left of a container whose shim was killed. What it cannot, the cgroup's end does.
    pub fn clean(&self, id: &str, namespace: &str, bundle: &Path) {
        if self.peer {
            peer::clean(&self.program, &self.place, id, namespace);
        } else {
            let command = Command::new(&self.program, &self.place, id, &ground::place(bundle, id));
            // Gone already, or killed with the cgroup.
            let _ = command.delete();
        }
        // Nothing is mounted there any more, and nothing ever was for this process.
        let _ = std::fs::remove_dir(&self.root);
    }
}

/// By containerd's rule for the names of shims.
pub fn is_shim(program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with("containerd-shim-")
}

impl Foreign {
    /// Makes the container up to its start; also the master of its terminal.
    pub fn create(
        order: &Order<'_>,
        trace: &Trace,
        ends: Option<ChildEnds>,
    ) -> Result<(Foreign, Option<OwnedFd>), Refusal> {
        let ground = Ground::lay(order, &trace.root)?;
        let made = if trace.peer {
            Peer::create(&trace.program, &ground.directory, order, ends)
                .map(|(peer, started)| (Driver::Peer(peer), started))
        } else {
            let command = Command::new(&trace.program, &trace.place, order.id, &ground.directory);
            command
                .create(ends, order.options)
                .map(|started| (Driver::Command(command), started))
        };
        let (driver, started) = match made {
            Ok(made) => made,
            Err(refusal) => {
                ground.clear();
                return Err(refusal);
            }
        };
        let Started {
            pid,
            pidfd,
            console,
        } = started;
        let Some(pidfd) = pidfd else {
            let text = format!("container {}: its first process is gone", order.id);
            return Err(Refusal::new(Code::Unknown, text));
        };
        let root = format!("/proc/{pid}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let foreign = Foreign {
            pid,
            pidfd,
            start_time: start_time(pid).unwrap_or(0),
            rootfs: rustix::fs::open(root, flags, Mode::empty()).ok(),
            ground,
            driver,
        };
        Ok((foreign, console))
    }

    pub fn start(&self) -> Result<(), Refusal> {
        match &self.driver {
            Driver::Command(command) => command.start(),
            Driver::Peer(peer) => peer.start("").map(|_| ()),
        }
    }

    pub fn exec(
        &self,
        exec_id: &str,
        process: &spec::Process,
        ends: Option<ChildEnds>,
    ) -> Result<Started, Refusal> {
        let mut document = serde_json::to_value(process)
            .map_err(|error| Refusal::new(Code::InvalidArgument, error.to_string()))?;
        if let Some(process) = document.as_object_mut() {
            document::limit(process, &ground::attainable()?);
        }
        let text = document.to_string().into_bytes();
        match &self.driver {
            Driver::Command(command) => command.exec(exec_id, &text, ends),
            Driver::Peer(peer) => peer.exec(exec_id, text, process.terminal, ends),
        }
    }

    /// Sends a signal to init or, with `all`, to everything.
    pub fn kill(&self, signal: i32, all: bool) -> Result<(), Refusal> {
        match &self.driver {
            Driver::Command(command) => command.kill(signal, all),
            Driver::Peer(peer) => peer.kill("", signal, all),
        }
    }

    pub fn pause(&self) -> Result<(), Refusal> {
        match &self.driver {
            Driver::Command(command) => command.pause(),
            Driver::Peer(peer) => peer.pause(),
        }
    }

    pub fn resume(&self) -> Result<(), Refusal> {
        match &self.driver {
            Driver::Command(command) => command.resume(),
            Driver::Peer(peer) => peer.resume(),
        }
    }

    /// `resources` is the `linux.resources` object.
    pub fn update(&self, resources: &[u8]) -> Result<(), Refusal> {
        match &self.driver {
            Driver::Command(command) => command.update(resources),
            Driver::Peer(peer) => peer.update(resources),
        }
    }

    /// The other shim, which alone is told of its children's ends and holds their streams.
    pub fn peer(&self) -> Option<&Peer> {
        match &self.driver {
            Driver::Peer(peer) => Some(peer),
            Driver::Command(_) => None,
        }
    }

    /// Undoes what is left of an ended container.
    pub fn delete(&self) -> Result<(), Refusal> {
        let deleted = match &self.driver {
            Driver::Command(command) => command.delete(),
            Driver::Peer(peer) => peer.delete(),
        };
        self.ground.clear();
        deleted
    }
}

/// The host's ids of a user inside.
pub fn owner(spec: &Spec, user: &spec::User) -> (u32, u32) {
    let mapped = |maps: &[spec::IdMapping], id: u32| {
        let line = maps
            .iter()
            .find(|map| id >= map.container_id && id - map.container_id < map.size);
        line.map_or(id, |map| map.host_id + (id - map.container_id))
    };
    spec.linux.as_ref().map_or((user.uid, user.gid), |linux| {
        (
            mapped(&linux.uid_mappings, user.uid),
            mapped(&linux.gid_mappings, user.gid),
        )
    })
}

/// A refusal with the status that a shell would give.
pub fn with_status(refusal: Refusal) -> (Refusal, u32) {
    let status = status(&refusal).into();
    (refusal, status)
}

/// The status that a shell would give, from a foreign program's words: they are all that is known of its reasons.
pub fn status(refusal: &Refusal) -> u8 {
    let says = |words: &[&str]| {
        let text = refusal.text.to_ascii_lowercase();
        words.iter().any(|word| text.contains(word))
    };
    if says(&[
        "executable file not found",
        "executable file `",
        "no such file or directory",
    ]) {
        127
    } else if says(&["permission denied", "exec format error", "not a directory"]) {
        126
    } else {
        1
    }
}

/// A process by its pid, held so that the pid keeps its meaning.
fn started(pid: i32, console: Option<OwnedFd>) -> Result<Started, Refusal> {
    let opened = Pid::from_raw(pid)
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
    match opened {
        Ok(pidfd) => Ok(Started {
            pid,
            pidfd: Some(pidfd),
            console,
        }),
        Err(error) => Err(Refusal::new(
            Code::Unknown,
            format!("process {pid} is gone: {error}"),
        )),
    }
}

/// Whether a process has ended, reaped or not.
pub fn has_ended(pidfd: impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let fd = pidfd.as_fd();
    poll(
        &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
        Some(&now),
    )
    .is_ok_and(|count| count > 0)
}
