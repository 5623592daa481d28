//! Processes by pid and start time.

use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Error;

/// Field 22 of `/proc/PID/stat`: when the process began, in clock ticks since boot.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may hold anything, parentheses too.
    text.rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

/// Opens the process that `pid` meant when it began at `start_time`; a zombie is not running.
pub(crate) fn find(pid: i32, start: u64) -> Result<OwnedFd, Error> {
    let open = || -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        (start_time(pid)? == start && !ended(&pidfd)).then_some(pidfd)
    };
    open().ok_or(Error::NotRunning)
}

/// A pidfd is readable once its process has ended.
fn ended(pidfd: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut wanted = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    poll(
        &mut wanted,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    )
    .is_ok_and(|count| count > 0)
}
