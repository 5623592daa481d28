//! What an operator may want to know, for the FIFO `log` that containerd reads in each bundle; without one it is not said.

use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};

use crate::log::rfc3339;

/// Says each sentence as one line of containerd's log format.
pub fn warn(bundle: &Path, id: &str, sentences: &[String]) {
    if sentences.is_empty() {
        return;
    }
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    // No such file, or nobody reads it: there is no one to tell.
    let Ok(fd) = rustix::fs::open(bundle.join("log"), flags, Mode::empty()) else {
        return;
    };
    let time = rfc3339(SystemTime::now());
    for sentence in sentences {
        let line = format!(
            "time={time:?} level=warning msg={sentence:?} runtime=io.containerd.stockade.v2 id={id}\n"
        );
        let _ = rustix::io::write(&fd, line.as_bytes());
    }
}
