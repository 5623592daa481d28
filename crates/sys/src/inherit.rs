//! Descriptors at agreed numbers, handed to a program that this one executes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::{Child, Command};

use crate::{Fork, StringVector, exec_descriptor, exit, fork, set_stdio};

/// Below this number lie the agreed ones.
const FIRST_FREE: i32 = 16;

/// Takes the descriptor at an agreed number and closes it on the next exec(2). To be called once a number.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on a number that may not be open answers EBADF.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by agreement with the program that executed this one nobody else here knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Starts `command` with each descriptor at its number (below 16), open across exec(2).
pub fn spawn_with<const N: usize>(
    mut command: Command,
    fds: [(OwnedFd, i32); N],
) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    // First out of the way, since one may stand where another is to go; the copies are closed on exec.
    let mut moved = Vec::with_capacity(N);
    for (fd, number) in fds {
        moved.push((above(&fd, FIRST_FREE)?, number));
    }
    // The numbers are taken here too, so that the pipe by which the child reports a failed exec stands elsewhere.
    let taken: io::Result<Vec<OwnedFd>> = moved
        .iter()
        .map(|(fd, number)| above(fd, *number))
        .collect();
    let taken = taken?;
    // SAFETY: the closure runs in the child between fork and exec and only calls dup2, which is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            for (fd, number) in &moved {
                if libc::dup2(fd.as_raw_fd(), *number) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let child = command.spawn();
    drop(taken);
    child
}

/// A program that is being executed beside its caller.
#[derive(Debug)]
pub struct Spawned {
    pub pid: i32,
    /// Says why it was not executed; ends when it was.
    report: File,
}

impl Spawned {
    /// Waits until the program runs. Whoever has something else to do meanwhile asks late.
    pub fn executed(&mut self) -> io::Result<()> {
        let mut reason = [0; 4];
        match self.report.read_exact(&mut reason) {
            Ok(()) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(reason))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Starts the program of an open file, `stdio` thrice its standard streams, with each descriptor at its number (below 16), and
/// returns before it is executed. With `cgroup` (cgroup v2) it is born in that directory. The caller must have one thread only.
pub fn spawn_file<const N: usize>(
    file: BorrowedFd<'_>,
    args: &StringVector,
    env: &StringVector,
    stdio: BorrowedFd<'_>,
    fds: [(OwnedFd, i32); N],
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Spawned> {
    let (report, told) = io::pipe()?;
    // Out of the way of the numbers that others are to have.
    let (file, stdio) = (above(&file, FIRST_FREE)?, above(&stdio, FIRST_FREE)?);
    let told = File::from(above(&told, FIRST_FREE)?);
    let mut moved = Vec::with_capacity(N);
    for (fd, number) in fds {
        moved.push((above(&fd, FIRST_FREE)?, number));
    }
    if let Fork::Parent { pid, .. } = fork(0, cgroup)? {
        return Ok(Spawned {
            pid,
            report: File::from(OwnedFd::from(report)),
        });
    }
    let error = match place(&moved, stdio.as_fd()) {
        Ok(()) => exec_descriptor(file.as_fd(), args, env),
        Err(error) => error,
    };
    let reason = error.raw_os_error().unwrap_or(libc::EIO);
    // Nobody is left to hear of a failure of this.
    _ = io::Write::write_all(&mut &told, &reason.to_ne_bytes());
    exit(127)
}

fn place(moved: &[(OwnedFd, i32)], stdio: BorrowedFd<'_>) -> io::Result<()> {
    for number in 0..3 {
        set_stdio(stdio, number)?;
    }
    for (fd, number) in moved {
        // SAFETY: the child executes or exits next; no owner of what stood at this number acts again.
        if unsafe { libc::dup2(fd.as_raw_fd(), *number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// A copy of `fd` at the first free number from `lowest` on, closed on exec.
fn above(fd: &impl AsRawFd, lowest: i32) -> io::Result<OwnedFd> {
    // SAFETY: duplicates a descriptor that the caller holds; the number given is a lower bound only.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
