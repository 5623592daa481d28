//! Children that take every signal, of a parent that blocks some in order to read them.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use crate::reset_signals;

/// Starts `command` with no signal blocked or ignored.
pub fn spawn_unblocked(mut command: Command) -> io::Result<Child> {
    // SAFETY: the closure runs in the child between fork and exec and makes plain system calls alone.
    unsafe {
        command.pre_exec(|| {
            reset_signals();
            Ok(())
        });
    }
    command.spawn()
}
