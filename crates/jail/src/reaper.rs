//! Process 1 where the annotation `dev.stockade.init` asks for one: the program is its only child.
//!
//! The kernel drops signals that a process 1 does not handle, and gives it every orphan. This one passes on what it is sent and
//! collects them all. It parts from the program after everything else was set up, holds the same filter, fewer capabilities
//! and no descriptor but a pipe, on which it tells how the program ended: a signal's end is no code that it could end with.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use sys::{ChildEnd, Fork, SignalSet};

use crate::fault::{At, Outcome};
use crate::wire::Line;
use crate::{Error, Stage};

pub(crate) const ANNOTATION: &str = "dev.stockade.init";
/// Signals may be for a program that runs as another user.
const KILL: u64 = 1 << 5;

#[derive(Debug)]
pub(crate) struct Reaper {
    /// The caller's end, which never blocks.
    pub heard: OwnedFd,
    pub told: OwnedFd,
    /// The caller's arguments and environment, which are nothing for the container to see.
    words: sys::Words,
}

/// Whether the annotation asks for it.
pub(crate) fn wanted(annotations: &BTreeMap<String, String>) -> Result<bool, Error> {
    match annotations.get(ANNOTATION).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(invalid(&format!("{other:?} is neither true nor false"))),
    }
}

pub(crate) fn invalid(reason: &str) -> Error {
    Error::Invalid {
        property: format!("annotations.{ANNOTATION}"),
        reason: reason.into(),
    }
}

/// What process 1 has told of the program's end; nothing when it was killed itself.
pub(crate) fn told(heard: BorrowedFd<'_>) -> Option<ChildEnd> {
    let mut packet = [0; 2];
    match (rustix::io::read(heard, &mut packet), packet) {
        (Ok(2), [0, code]) => Some(ChildEnd::Exited(code)),
        (Ok(2), [_, signal]) => Some(ChildEnd::Killed(signal)),
        _ => None,
    }
}

impl Reaper {
    pub fn new() -> Outcome<Reaper> {
        let (heard, told) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .at(Stage::Prepare, "a pipe for init")?;
        let words = sys::Words::find().at(Stage::Prepare, "/proc/self/stat")?;
        Ok(Reaper { heard, told, words })
    }

    /// Makes process 2, which leads a session of its own with the terminal; its number in process 1, nothing in itself.
    pub fn part(&self, terminal: bool) -> Outcome<Option<i32>> {
        let before = sys::set_signal_mask(&SignalSet::all()).at(Stage::Clone, "block signals")?;
        if let Fork::Parent { pid, .. } =
            sys::fork(0, None).at(Stage::Clone, "the program's process")?
        {
            return Ok(Some(pid));
        }
        sys::set_signal_mask(&before).at(Stage::Clone, "unblock signals")?;
        rustix::process::setsid().at(Stage::OpenTerminal, "a new session")?;
        if terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
                .at(Stage::OpenTerminal, "the controlling terminal")?;
        }
        Ok(None)
    }

    /// In process 1: lets go of all that only the program needs.
    pub fn let_go(&self, line: &Line, filter: Option<&seccomp::Filter>) -> Outcome<()> {
        _ = rustix::thread::set_name(c"init");
        self.words.replace("stockade-init");
        sys::close_others(0, &[line.as_fd(), self.told.as_fd()])
            .at(Stage::SetSecurity, "close init's descriptors")?;
        if let Some(filter) = filter {
            filter
                .load()
                .map_err(|error| io::Error::other(error.to_string()))
                .at(Stage::LoadFilter, "in init")?;
        }
        drop_capabilities().at(Stage::SetSecurity, "init's capabilities")
    }

    /// Process 1 from here on.
    pub fn serve(&self, program: i32) -> ! {
        let all = SignalSet::all();
        loop {
            match sys::wait_for_signal(&all) {
                Ok(libc::SIGCHLD) => self.collect(program),
                // It may have ended meanwhile: that is seen next.
                Ok(signal) => _ = sys::kill(program, signal),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A filter that forbids it has no use for an init.
                Err(_) => sys::exit(1),
            }
        }
    }

    /// Collects whoever ended; the program's end is ours.
    fn collect(&self, program: i32) {
        while let Ok(Some(child)) = sys::reap_child() {
            if child.pid != program {
                continue;
            }
            let (packet, code) = match child.end {
                ChildEnd::Exited(code) => ([0, code], i32::from(code)),
                ChildEnd::Killed(signal) => ([1, signal], 128 + i32::from(signal)),
            };
            // Whoever listened may be gone.
            _ = rustix::io::write(&self.told, &packet);
            sys::exit(code);
        }
    }
}

/// Taking capabilities away leaves the parent death signal as it is.
fn drop_capabilities() -> io::Result<()> {
    let kept = rustix::thread::capabilities(None)?.permitted.bits() & KILL;
    sys::set_capabilities(sys::CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: 0,
    })
}
