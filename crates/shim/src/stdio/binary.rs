//! containerd's logging binary: a program that gets both streams at descriptors 3 and 4 and says by 5 that it is ready.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Error, Handed, Owner};

/// How long it may take to become ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts it and waits until it is ready; the shim's ends of its streams. It ends by itself when these are closed, and is
/// reaped with all other children.
pub fn start(path: &Path, args: &[String], owner: &Owner<'_>) -> Result<[Handed; 2], Error> {
    let failed = |reason: String| Error::Logger {
        path: path.to_owned(),
        reason,
    };
    let make = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::Pipe(error.into()));
    let (stdout, stdout_sink) = make()?;
    let (stderr, stderr_sink) = make()?;
    let (ready, ready_sink) = make()?;
    let mut child = spawn(path, args, owner, [stdout, stderr, ready_sink])
        .map_err(|error| failed(error.to_string()))?;
    if let Err(reason) = wait_ready(ready) {
        // Both fail only when it is gone already.
        let _ = child.kill();
        let _ = child.wait();
        return Err(failed(reason.into()));
    }
    Ok([
        Handed::own(stdout_sink).map_err(Error::Pipe)?,
        Handed::own(stderr_sink).map_err(Error::Pipe)?,
    ])
}

fn spawn(
    path: &Path,
    args: &[String],
    owner: &Owner<'_>,
    fds: [OwnedFd; 3],
) -> std::io::Result<Child> {
    let mut command = Command::new(path);
    command.args(args).env_clear();
    for name in ["PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("CONTAINER_ID", owner.id)
        .env("CONTAINER_NAMESPACE", owner.namespace);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let [stdout, stderr, ready] = fds;
    sys::spawn_with(command, [(stdout, 3), (stderr, 4), (ready, 5)])
}

/// Ready is one byte, or that the descriptor is closed; a program that died closes it too, and then fails to take output.
fn wait_ready(ready: OwnedFd) -> Result<(), &'static str> {
    let timeout = Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(ready.as_fd(), PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(0) => return Err("it did not become ready within 10 seconds"),
        Ok(_) => {}
        Err(_) => return Err("waiting for it failed"),
    }
    let mut byte = [0];
    std::fs::File::from(ready)
        .read(&mut byte)
        .map(|_| ())
        .map_err(|_| "it did not say that it is ready")
}
