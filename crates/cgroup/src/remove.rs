//! The end: what is left inside is killed, directories are removed from the innermost out.

use std::fs;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::processes::subdirectories;
use crate::{Cgroup, Error};

/// A killed process holds its directory until it has really ended.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(1);
const LONGEST_STEP: Duration = Duration::from_millis(50);

impl Cgroup {
    /// Removes every directory of the container; one that is gone already is no error.
    pub fn remove(&self) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        let mut killed = false;
        for dir in self.all() {
            let path = dir.dir();
            let mut step = STEP;
            while let Err(source) = remove(&path) {
                let busy = source.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error());
                if !busy || Instant::now() > end {
                    return Err(Error::Remove { path, source });
                }
                if !killed {
                    self.kill(9)?;
                    killed = true;
                } else {
                    sleep(step);
                    step = (step * 2).min(LONGEST_STEP);
                }
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A container that made cgroups of its own leaves them, and they make ours busy.
        Err(_) => {}
    }
    for below in subdirectories(path) {
        remove(&below)?;
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
