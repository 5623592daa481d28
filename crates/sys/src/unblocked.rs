//! Children that take every signal, of a parent that blocks some in order to read them.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Starts `command` with no signal blocked.
pub fn spawn_unblocked(mut command: Command) -> io::Result<Child> {
    // SAFETY: the closure runs in the child between fork and exec; sigemptyset and sigprocmask are async-signal-safe, and the
    // set is the closure's own.
    unsafe {
        command.pre_exec(|| {
            let mut none = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            if libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn()
}
