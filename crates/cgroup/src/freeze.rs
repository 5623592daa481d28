//! Pausing: the freezer of v1, `cgroup.freeze` of v2.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Cgroup, Error, Layout, file};

const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_micros(500);
/// After so many steps in FREEZING v1 is thawed and frozen anew: a process that was forked at the wrong moment, or that
/// waits in vfork, can hold the first attempt up for ever.
const STEPS_BEFORE_RETRY: u32 = 40;

impl Cgroup {
    /// Stops every process inside; back only when all have stopped, or with an error and nothing frozen.
    pub fn freeze(&self) -> Result<(), Error> {
        let done = match self.freezer()? {
            (path, Layout::V2) => freeze_v2(&path),
            (path, _) => freeze_v1(&path),
        };
        if done.is_err() {
            // The first error is the one to tell.
            let _ = self.thaw();
        }
        done
    }

    /// Lets every process inside go on.
    pub fn thaw(&self) -> Result<(), Error> {
        match self.freezer()? {
            (path, Layout::V2) => file::write(&path.join("cgroup.freeze"), "0"),
            (path, _) => file::write(&path.join("freezer.state"), "THAWED"),
        }
    }

    /// Whether the processes inside are stopped (or about to be).
    pub fn frozen(&self) -> bool {
        match self.freezer() {
            Ok((path, Layout::V2)) => {
                file::number(&path.join("cgroup.freeze")).is_ok_and(|value| value == 1)
            }
            Ok((path, _)) => file::read(&path.join("freezer.self_freezing"))
                .is_ok_and(|value| value.trim() == "1"),
            Err(_) => false,
        }
    }

    /// The directory, and by which layout it is frozen: a hybrid host without v1's freezer uses v2's.
    fn freezer(&self) -> Result<(PathBuf, Layout), Error> {
        let dir = self.holder("freezer").ok_or(Error::Disabled("paused"))?;
        if !dir.exists() {
            return Err(Error::Disabled("paused"));
        }
        Ok((
            dir.dir(),
            if dir.controllers.is_empty() {
                Layout::V2
            } else {
                Layout::V1
            },
        ))
    }
}

fn freeze_v1(dir: &std::path::Path) -> Result<(), Error> {
    let state = dir.join("freezer.state");
    let end = Instant::now() + PATIENCE;
    for step in 0.. {
        if step % STEPS_BEFORE_RETRY == STEPS_BEFORE_RETRY - 1 {
            file::write(&state, "THAWED")?;
        }
        file::write(&state, "FROZEN")?;
        if file::read(&state)?.trim() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() > end {
            break;
        }
        sleep(STEP);
    }
    Err(Error::Timeout {
        path: state,
        wanted: "FROZEN",
        millis: PATIENCE.as_millis() as u64,
    })
}

fn freeze_v2(dir: &std::path::Path) -> Result<(), Error> {
    file::write(&dir.join("cgroup.freeze"), "1")?;
    let events = dir.join("cgroup.events");
    let end = Instant::now() + PATIENCE;
    while file::keyed(&events)?.get("frozen") != Some(&1) {
        if Instant::now() > end {
            return Err(Error::Timeout {
                path: events,
                wanted: "frozen",
                millis: PATIENCE.as_millis() as u64,
            });
        }
        sleep(STEP);
    }
    Ok(())
}
