//! A process that cannot be mistaken: its number and the moment it began (proc_pid_stat(5), field 22).
//!
//! Numbers are reused; the pair is not. Whoever signals holds a pidfd first and compares afterwards.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub pid: i32,
    /// In clock ticks after boot.
    pub start_time: u64,
}

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Debug, PartialEq)]
pub struct Stat {
    pub state: u8,
    pub parent: i32,
    pub tty: u32,
    /// User and system time, in clock ticks.
    pub ticks: u64,
    pub start_time: u64,
}

impl Identity {
    /// The caller itself.
    pub fn own() -> io::Result<Identity> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Ok(Identity {
            pid,
            start_time: stat(pid)?.start_time,
        })
    }

    /// Whether the very process still runs; a zombie does not.
    pub fn alive(self) -> bool {
        self.pid > 0
            && stat(self.pid).is_ok_and(|stat| {
                stat.start_time == self.start_time && !matches!(stat.state, b'Z' | b'X')
            })
    }

    /// A descriptor of the process, or `None` when it is gone.
    pub fn open(self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        self.alive().then_some(pidfd)
    }
}

/// Sends a signal by its number; `Ok(false)` says that the process is gone.
pub fn signal(identity: Identity, signal: i32) -> io::Result<bool> {
    let Some(pidfd) = identity.open() else {
        return Ok(false);
    };
    match sys::pidfd_signal(pidfd.as_fd(), signal) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

pub fn stat(pid: i32) -> io::Result<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat"))?;
    parse(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "malformed /proc/PID/stat"))
}

/// The command's name stands in parentheses and may hold any byte, parentheses too: fields are counted after its last.
fn parse(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&str> = std::str::from_utf8(&text[end + 1..])
        .ok()?
        .split_ascii_whitespace()
        .collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: i32::try_from(number(4)?).ok()?,
        tty: number(7)? as u32,
        ticks: (number(14)? + number(15)?) as u64,
        start_time: fields.get(22 - 3)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses() {
        let line = b"42 (a) R (b) S 7 1 1 34816 1 0 0 0 0 0 30 12 0 0 20 0 1 0 998877 0";
        assert_eq!(
            parse(line),
            Some(Stat {
                state: b'S',
                parent: 7,
                tty: 34816,
                ticks: 42,
                start_time: 998_877
            })
        );
    }

    #[test]
    fn one_self_is_alive_and_a_namesake_is_not() {
        let own = Identity::own().unwrap();
        assert!(own.alive());
        assert!(
            !Identity {
                start_time: own.start_time + 1,
                ..own
            }
            .alive()
        );
        assert!(
            !Identity {
                pid: 0,
                start_time: 0
            }
            .alive()
        );
    }
}
