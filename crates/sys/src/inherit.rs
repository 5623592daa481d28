//! Descriptors at agreed numbers, handed to a program that this one executes.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, Command};

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

/// A copy of `fd` at the first free number from `lowest` on, closed on exec.
fn above(fd: &OwnedFd, lowest: i32) -> io::Result<OwnedFd> {
    // SAFETY: duplicates a descriptor that we own; the number given is a lower bound only.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
