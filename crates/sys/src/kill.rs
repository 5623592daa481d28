//! kill(2) with any signal: rustix knows the named ones only, and real-time signals have none.

use std::io;

/// Sends `signal` to the process `pid`, which must be positive: groups and "everybody" are nobody's to signal here.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the call takes two numbers and touches no memory of ours.
    if unsafe { libc::kill(pid, signal) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
