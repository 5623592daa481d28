//! wait4(2): how a child ended and what it used, in one call.

use std::io;
use std::time::Duration;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildEnd {
    Exited(u8),
    Killed(u8),
}

/// A child that ended, and its resources with those of its descendants that were waited for in turn (getrusage(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    pub pid: i32,
    pub end: ChildEnd,
    pub user: Duration,
    pub system: Duration,
    /// The largest resident set of any one of them, in bytes.
    pub memory_peak: u64,
}

/// Takes one child that ended; none while all of them run or there is none.
pub fn reap_child() -> io::Result<Option<Reaped>> {
    let mut status = 0;
    // SAFETY: `struct rusage` is numbers only, for which all zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `status` and `usage` outlive the call, which writes nothing else.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    if pid < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ECHILD) => Ok(None),
            _ => Err(error),
        };
    }
    if pid == 0 {
        return Ok(None);
    }
    let end = if libc::WIFSIGNALED(status) {
        ChildEnd::Killed(libc::WTERMSIG(status) as u8)
    } else {
        ChildEnd::Exited(libc::WEXITSTATUS(status) as u8)
    };
    Ok(Some(Reaped {
        pid,
        end,
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        // The kernel counts in KiB.
        memory_peak: u64::try_from(usage.ru_maxrss).unwrap_or(0) << 10,
    }))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
        + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}
