//! The end of a process is told once its readers took its output, for what lies in a FIFO is lost with its last user.
//!
//! A client that was just woken may not have opened its end yet, and closes it as soon as it hears of the exit. So the shim
//! keeps the FIFO, and the news, until it is empty; bounded, for there may be no reader at all.

use std::time::{Duration, Instant};

use crate::exits::LINGER;
use crate::poll::{Alarm, ContainerKey, ProcessKey};
use crate::process::Process;
use crate::shim::Shim;

/// How long an end waits for readers; as long as containerd's own shim waits for an exec's.
const TAKE: Duration = Duration::from_secs(2);
/// The first look whether they have taken it; each later one is after twice the time.
const FIRST_LOOK: Duration = Duration::from_micros(250);
const LAST_LOOK: Duration = Duration::from_millis(16);

/// Since when output waits in FIFOs, and when to look again.
#[derive(Debug, Clone, Copy)]
pub struct Untaken {
    until: Instant,
    look: Duration,
}

impl Shim {
    /// Looks again later when readers have not taken what was written for them; whether they have.
    pub fn is_taken(&mut self, key: ProcessKey) -> bool {
        let Some(process) = self.processes.get_mut(&key) else {
            return true;
        };
        if !process.io.is_untaken(process.end.is_some()) {
            process.untaken = None;
            return true;
        }
        let now = Instant::now();
        let untaken = process.untaken.get_or_insert(Untaken {
            until: now + if process.deleted { LINGER } else { TAKE },
            look: FIRST_LOOK,
        });
        if now >= untaken.until {
            process.io.give_up();
            process.untaken = None;
            return true;
        }
        let look = untaken.look;
        untaken.look = (look * 2).min(LAST_LOOK);
        self.poll.set_alarm(look, Alarm::Taken(key));
        false
    }

    /// The time to look again.
    pub fn look_again(&mut self, key: ProcessKey) {
        if let Some(process) = self.processes.get_mut(&key) {
            process.io.drain(&mut self.scratch);
            self.tell_when_taken(key);
        }
    }

    /// Tells the end of a process as soon as that is right: output first, a container's own end last.
    pub fn tell_when_taken(&mut self, key: ProcessKey) {
        if !self.is_taken(key) {
            return;
        }
        let Some(process) = self.processes.get(&key) else {
            return;
        };
        let (container, is_init) = (process.container, process.exec_id.is_empty());
        match process.end {
            Some(end) if !process.told => {
                if is_init && self.execs_to_tell(container).next().is_some() {
                    // The last of them brings it about.
                    return;
                }
                self.tell_end(key, end);
                if !is_init {
                    self.tell_init(container);
                }
            }
            _ => self.settle(key),
        }
    }

    fn tell_init(&mut self, key: ContainerKey) {
        if let Some(container) = self.containers.get(&key) {
            self.tell_when_taken(container.init);
        }
    }

    /// Tells every end that was not told yet, whoever reads or not: the container is being deleted.
    pub fn tell_all(&mut self, key: ContainerKey) {
        let Some(container) = self.containers.get(&key) else {
            return;
        };
        let init = container.init;
        let execs: Vec<ProcessKey> = self.execs_to_tell(key).collect();
        for process in execs.into_iter().chain([init]) {
            self.tell_now(process);
        }
    }

    pub fn tell_now(&mut self, key: ProcessKey) {
        if let Some(Process {
            end: Some(end),
            told: false,
            ..
        }) = self.processes.get(&key)
        {
            self.tell_end(key, *end);
        }
    }

    fn execs_to_tell(&self, key: ContainerKey) -> impl Iterator<Item = ProcessKey> {
        let execs = self.containers.get(&key).map(|container| &container.execs);
        let waits = |process: &ProcessKey| {
            self.processes
                .get(process)
                .is_some_and(|process| process.end.is_some() && !process.told)
        };
        execs
            .into_iter()
            .flat_map(|execs| execs.values().copied())
            .filter(waits)
            .collect::<Vec<_>>()
            .into_iter()
    }
}
