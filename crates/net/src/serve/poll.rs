//! One epoll for all descriptors; each is known by what it is and by a number that is never given twice.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

pub use rustix::event::epoll::EventFlags as Flags;

/// What a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The daemon's door, and a connection to it.
    Control,
    Told,
    /// Where names are asked, a connection there, a question to another server.
    Asked,
    Asker,
    Upstream,
    /// A port that is held.
    Held,
    /// The two ends of a connection that is carried.
    Client,
    Server,
    /// Datagrams of one sender that are carried.
    Flow,
}

const KINDS: [Kind; 9] = [
    Kind::Control,
    Kind::Told,
    Kind::Asked,
    Kind::Asker,
    Kind::Upstream,
    Kind::Held,
    Kind::Client,
    Kind::Server,
    Kind::Flow,
];
const BITS: u32 = 4;

/// Something is ready.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub kind: Kind,
    pub number: u64,
    pub flags: Flags,
}

pub struct Poll {
    epoll: OwnedFd,
    next: u64,
}

impl Poll {
    pub fn new() -> io::Result<Poll> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Poll { epoll, next: 0 })
    }

    /// A fresh number: what was ready of a descriptor that is closed by now meets nobody.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn watch(&self, file: impl AsFd, kind: Kind, number: u64, flags: Flags) -> io::Result<()> {
        epoll::add(&self.epoll, file, token(kind, number), flags).map_err(io::Error::from)
    }

    pub fn change(&self, file: impl AsFd, kind: Kind, number: u64, flags: Flags) -> io::Result<()> {
        epoll::modify(&self.epoll, file, token(kind, number), flags).map_err(io::Error::from)
    }

    /// No more of a descriptor that stays open.
    pub fn forget(&self, file: impl AsFd) {
        let _ = epoll::delete(&self.epoll, file);
    }

    /// Sleeps until something is ready, or for as long as is said.
    pub fn wait(&self, found: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|left| Timespec {
            tv_sec: left.as_secs().min(1 << 20).cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut events = [MaybeUninit::uninit(); 64];
        found.clear();
        match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((events, _)) => found.extend(events.iter().filter_map(|event| {
                let token = event.data.u64();
                let kind = KINDS.get((token & ((1 << BITS) - 1)) as usize)?;
                Some(Event {
                    kind: *kind,
                    number: token >> BITS,
                    flags: event.flags,
                })
            })),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

fn token(kind: Kind, number: u64) -> epoll::EventData {
    epoll::EventData::new_u64((number << BITS) | kind as u64)
}
