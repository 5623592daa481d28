//! The one place that waits: edge-triggered epoll(7). A token is never used twice, so an event of something that is gone
//! finds nothing.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

/// Names within one shim; each counts up.
pub type ContainerKey = u32;
pub type ProcessKey = u32;
pub type ConnKey = u32;
pub type ClientKey = u32;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    TtrpcListener,
    AttachListener,
    Signals,
    Publisher,
    Conn(ConnKey),
    Client(ClientKey),
    /// A process's output: the pipe or terminal it comes from, or one of the places it goes to.
    Output(ProcessKey, usize),
    Input(ProcessKey),
    Oom(ContainerKey),
    /// A process that is another shim's child has ended.
    Ended(ProcessKey),
}

/// What happens at a time instead of on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    TimeLimit(ContainerKey),
    Publish,
    /// Nothing was ever asked of this shim.
    Unused,
    /// Output of a deleted process that nobody takes.
    Linger(ProcessKey),
    /// Output in a FIFO that its reader has not taken.
    Taken(ProcessKey),
    /// Output of another shim's child that has ended is still under way.
    Streams(ProcessKey),
    /// The shim has been told to go.
    Leave,
}

const BATCH: usize = 32;

pub struct Poll {
    epoll: OwnedFd,
    sources: BTreeMap<u64, Source>,
    next: u64,
    alarms: Vec<(Instant, Alarm)>,
}

/// The ways of waiting for a descriptor.
pub const READ: epoll::EventFlags = epoll::EventFlags::IN;
pub const WRITE: epoll::EventFlags = epoll::EventFlags::OUT;
pub const BOTH: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::OUT);
pub const URGENT: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::PRI);

impl Poll {
    pub fn new() -> io::Result<Poll> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Poll {
            epoll,
            sources: BTreeMap::new(),
            next: 0,
            alarms: Vec::new(),
        })
    }

    /// Reports each change of `fd` as `source` from now on, once more too what is ready already. A file that is always ready cannot be waited for: `false`.
    pub fn add(
        &mut self,
        fd: impl AsFd,
        flags: epoll::EventFlags,
        source: Source,
    ) -> io::Result<bool> {
        let data = epoll::EventData::new_u64(self.next);
        let flags = flags | epoll::EventFlags::ET;
        let added = match epoll::add(&self.epoll, &fd, data, flags) {
            Err(rustix::io::Errno::EXIST) => epoll::modify(&self.epoll, &fd, data, flags),
            other => other,
        };
        match added {
            Ok(()) => {
                self.sources.insert(self.next, source);
                self.next += 1;
                Ok(true)
            }
            Err(rustix::io::Errno::PERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Events of these sources are no longer of interest; their descriptors are about to be closed.
    pub fn forget(&mut self, gone: impl Fn(Source) -> bool) {
        self.sources.retain(|_, source| !gone(*source));
    }

    pub fn set_alarm(&mut self, after: Duration, alarm: Alarm) {
        self.clear_alarm(alarm);
        self.alarms.push((Instant::now() + after, alarm));
    }

    pub fn has_alarm(&self, alarm: Alarm) -> bool {
        self.alarms.iter().any(|(_, other)| *other == alarm)
    }

    pub fn clear_alarm(&mut self, alarm: Alarm) {
        self.alarms.retain(|(_, other)| *other != alarm);
    }

    /// Waits, at most for `limit` or until the next alarm; the sources come in the order of the kernel, each once.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<(Vec<Source>, Vec<Alarm>)> {
        let next = self.alarms.iter().map(|(at, _)| *at).min();
        let until = next.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = match (until, limit) {
            (Some(until), Some(limit)) => Some(until.min(limit)),
            (until, limit) => until.or(limit),
        };
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().min(1 << 30) as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let mut events = Vec::with_capacity(BATCH);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = Vec::with_capacity(events.len());
        for event in &events {
            if let Some(&source) = self.sources.get(&event.data.u64())
                && !ready.contains(&source)
            {
                ready.push(source);
            }
        }
        Ok((ready, self.due()))
    }

    fn due(&mut self) -> Vec<Alarm> {
        if self.alarms.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let due = self
            .alarms
            .iter()
            .filter(|(at, _)| *at <= now)
            .map(|(_, alarm)| *alarm)
            .collect();
        self.alarms.retain(|(at, _)| *at > now);
        due
    }
}
