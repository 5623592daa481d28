//! What every command does with a container that exists: describe it, end it, take it away.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spec::{Spec, State, Status};

use crate::error::Error;
use crate::log::Log;
use crate::process::{self, Identity};
use crate::signal;
use crate::store::{Locked, Record};

/// How long a killed process may take to be gone.
const DEATH: Duration = Duration::from_secs(10);

/// The document that hooks read on their standard input.
pub fn state(record: &Record, status: Status) -> State {
    State {
        oci_version: spec::OCI_VERSION.into(),
        id: record.id.clone(),
        status,
        pid: if status == Status::Stopped {
            0
        } else {
            record.init.map_or(0, |init| init.pid)
        },
        bundle: record.bundle.clone(),
        annotations: record.annotations.clone(),
    }
}

/// Whether the specification gives the container a pid namespace of its own.
pub fn own_pids(spec: &Spec) -> bool {
    let namespaces = spec.linux.iter().flat_map(|linux| &linux.namespaces);
    namespaces
        .filter(|namespace| namespace.kind == spec::NamespaceKind::Pid)
        .any(|namespace| namespace.path.is_none())
}

/// Kills every process of the container and waits until init is gone.
pub fn kill(record: &Record) -> Result<(), Error> {
    let Some(init) = record.init else {
        return Ok(record.cgroup.kill(signal::KILL)?);
    };
    let pidfd = init.open();
    process::signal(init, signal::KILL).map_err(Error::SignalInit)?;
    if !record.own_pids || pidfd.is_none() {
        record.cgroup.kill(signal::KILL)?;
    }
    if pidfd.is_some() && record.cgroup.frozen() {
        // A frozen process of cgroup v1 dies only when it is thawed.
        record.cgroup.thaw()?;
    }
    if let Some(pidfd) = pidfd {
        wait(pidfd.as_fd(), init)?;
    }
    Ok(())
}

/// Waits until the process ended; it may be somebody else's child, so a zombie will do.
fn wait(pidfd: impl AsFd, identity: Identity) -> Result<(), Error> {
    let end = Instant::now() + DEATH;
    while identity.alive() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Refused(
                "the container's init does not die of SIGKILL",
            ));
        }
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout));
    }
    Ok(())
}

/// Takes away what is left of a container whose init is gone, then runs the `poststop` hooks.
///
/// Order: processes, cgroup, state directory; a caller that is killed in between leaves a record by which the next one
/// finishes.
pub fn destroy(locked: Locked, log: &Log) -> Result<(), Error> {
    let record = locked.record.clone();
    if let Some(record) = &record {
        if !record.own_pids {
            record.cgroup.kill(signal::KILL)?;
        }
        if record.cgroup.remove().is_err() {
            // Somebody who was only on his way in.
            record.cgroup.kill(signal::KILL)?;
            record.cgroup.remove()?;
        }
    }
    locked.remove()?;
    if let Some(record) = record {
        let state = state(&record, Status::Stopped);
        for hook in &record.poststop {
            // runtime.md, "Lifecycle" 13: a failure is logged and the other hooks still run.
            if let Err(error) = jail::run_hooks(
                jail::HookStage::Poststop,
                std::slice::from_ref(hook),
                &state,
            ) {
                log.warning(&causes::in_gos_words(&error));
            }
        }
    }
    Ok(())
}

/// Ends a container whatever it is doing.
pub fn undo(locked: Locked, log: &Log) -> Result<(), Error> {
    if let Some(record) = &locked.record {
        kill(record)?;
    }
    destroy(locked, log)
}
