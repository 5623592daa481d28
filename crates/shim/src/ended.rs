//! Children of another shim: what they write passes through it, and it alone is told how they ended.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::foreign::{Foreign, Started};
use crate::journal;
use crate::poll::{Alarm, ProcessKey, READ, Source};
use crate::record::{Ended, Usage};
use crate::shim::Shim;
use crate::ttrpc::{Code, Refusal};

/// How long output may be under way when the process has ended; somebody else may hold the streams.
const ON_THE_WAY: Duration = Duration::from_secs(2);
/// What a process gets of which nobody can say how it ended.
const UNKNOWN: u32 = 255;

impl Shim {
    /// Has the loop see when a process ends that is not this shim's child.
    pub fn watch_end(&mut self, key: ProcessKey, pidfd: impl AsFd) -> Result<(), Refusal> {
        let watched = self.poll.add(pidfd, READ, Source::Ended(key));
        watched
            .map(|_| ())
            .map_err(|error| Refusal::new(Code::Unknown, format!("watch the process: {error}")))
    }

    /// Takes a process that a foreign program started in a container.
    pub fn take_foreign(&mut self, key: ProcessKey, begun: Started) -> Result<(), Refusal> {
        let process = self.processes.get_mut(&key).expect("the caller found it");
        process.pid = begun.pid;
        process.pidfd = begun.pidfd;
        if let Some(master) = begun.console {
            process.io.connect_console(master)?;
        }
        let container = &self.containers[&process.container];
        if container.wall.foreign().and_then(Foreign::peer).is_none() {
            return Ok(());
        }
        match process.pidfd.as_ref().map(|pidfd| pidfd.try_clone()) {
            Some(Ok(pidfd)) => self.watch_end(key, pidfd),
            _ => {
                self.again.push_back(Source::Ended(key));
                Ok(())
            }
        }
    }

    /// A child of another shim has ended: asks how, once its output is there or `now`.
    pub fn see_end(&mut self, key: ProcessKey, now: bool) {
        let Some(process) = self
            .processes
            .get_mut(&key)
            .filter(|process| process.end.is_none())
        else {
            return;
        };
        let container = &self.containers[&process.container];
        let Some(peer) = container.wall.foreign().and_then(Foreign::peer) else {
            return;
        };
        process.io.drain(&mut self.scratch);
        if !now && !process.io.has_output_ended() {
            return self.poll.set_alarm(ON_THE_WAY, Alarm::Streams(key));
        }
        self.poll.clear_alarm(Alarm::Streams(key));
        let status = peer.ended(&process.exec_id).unwrap_or_else(|refusal| {
            journal::warn(&container.bundle, &container.id, &[refusal.text]);
            UNKNOWN
        });
        self.exited(key, Ended::of_status(status), Usage::default());
    }

    /// The end of a program's input, which another shim cannot see: it holds the other end itself.
    pub fn tell_input_end(&mut self, key: ProcessKey) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        let runs = process.started_at.is_some() && process.end.is_none();
        if process.input_ended || !runs || !process.io.has_input_ended() {
            return;
        }
        let container = &self.containers[&process.container];
        if let Some(peer) = container.wall.foreign().and_then(Foreign::peer) {
            process.input_ended = true;
            if let Err(refusal) = peer.close_input(&process.exec_id) {
                journal::warn(&container.bundle, &container.id, &[refusal.text]);
            }
        }
    }
}
