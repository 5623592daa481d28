//! The first process of a container that has none of its own: it waits, collects the dead, and ends when it is told to.
//!
//! It is bound into the container, so it must not trust what it finds there: it opens and reads nothing.

use std::os::fd::AsFd;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, WaitOptions, wait};
use sys::{SignalFd, SignalSet, set_signal_mask};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Returns when SIGTERM or SIGINT arrives.
fn serve() -> std::io::Result<()> {
    let ends = [Signal::TERM.as_raw(), Signal::INT.as_raw()];
    let set = ends.iter().fold(
        SignalSet::empty().with(Signal::CHILD.as_raw()),
        |set, &signal| set.with(signal),
    );
    set_signal_mask(&set)?;
    let arrivals = SignalFd::new(&set)?;
    loop {
        while let Some(arrived) = arrivals.read()? {
            if ends.contains(&arrived.signal) {
                return Ok(());
            }
        }
        // One signal may stand for many dead.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        match poll(&mut [PollFd::new(&arrivals.as_fd(), PollFlags::IN)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
