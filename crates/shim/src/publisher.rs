//! Forwards events to the engine in their order: one at a time, kept until it answered, through its restarts.
//!
//! The queue is bounded: a daemon that stays away loses the oldest events, never the shim its memory.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::events::{Event, forward};
use crate::poll::{Alarm, BOTH, Poll, Source};
use crate::stdio::Scratch;
use crate::ttrpc::{Incoming, ask};
use crate::wire::Wire;

/// Events that wait; containerd's own shims keep as many.
const QUEUE: usize = 2048;
/// Between two attempts to reach the engine.
const RETRY: Duration = Duration::from_millis(500);
const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";

pub struct Publisher {
    /// `None`: nobody wants events.
    address: Option<PathBuf>,
    namespace: String,
    queue: VecDeque<Vec<u8>>,
    wire: Option<Wire>,
    /// The stream of the event at the front of the queue, once it is sent.
    asked: Option<u32>,
    stream: u32,
}

impl Publisher {
    /// `address` is the value of TTRPC_ADDRESS: a path, with or without `unix://`.
    pub fn new(address: &str, namespace: &str) -> Publisher {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let address = (!path.is_empty()).then(|| PathBuf::from(path));
        Publisher {
            address,
            namespace: namespace.into(),
            queue: VecDeque::new(),
            wire: None,
            asked: None,
            stream: 1,
        }
    }

    pub fn publish(&mut self, event: Event, poll: &mut Poll) {
        if self.address.is_none() {
            return;
        }
        if self.queue.len() == QUEUE {
            // The front may be under way; the one behind it is the oldest that nobody has seen.
            self.queue.remove(1);
        }
        self.queue
            .push_back(forward(event, &self.namespace, SystemTime::now()));
        self.advance(poll);
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The connection reports something.
    pub fn ready(&mut self, poll: &mut Poll, scratch: &mut Scratch) {
        let Some(wire) = &mut self.wire else { return };
        let received = wire.receive(scratch);
        let flushed = wire.flush();
        for message in received.messages {
            let stream = match message {
                Incoming::Response { stream, .. } | Incoming::Refused { stream, .. } => stream,
                Incoming::Request { .. } => continue,
            };
            // A refusal counts as an answer: the same event would be refused again.
            if self.asked == Some(stream) {
                self.asked = None;
                self.queue.pop_front();
            }
        }
        if received.closed || flushed.is_err() {
            return self.lose(poll);
        }
        self.advance(poll);
    }

    /// Connects if need be and sends the next event.
    pub fn advance(&mut self, poll: &mut Poll) {
        if self.asked.is_some() {
            return;
        }
        let Some(event) = self.queue.front() else {
            self.queue = VecDeque::new();
            return;
        };
        if self.wire.is_none() {
            self.wire = self.connect(poll);
        }
        let Some(wire) = &mut self.wire else {
            return poll.set_alarm(RETRY, Alarm::Publish);
        };
        ask(wire.out(), self.stream, SERVICE, "Forward", event.clone());
        self.asked = Some(self.stream);
        self.stream = self.stream.wrapping_add(2);
        if wire.flush().is_err() {
            self.lose(poll);
        }
    }

    fn connect(&self, poll: &mut Poll) -> Option<Wire> {
        let address = SocketAddrUnix::new(self.address.as_deref()?).ok()?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
        rustix::net::connect(&fd, &address).ok()?;
        poll.add(&fd, BOTH, Source::Publisher).ok()?;
        Some(Wire::new(fd))
    }

    fn lose(&mut self, poll: &mut Poll) {
        poll.forget(|source| source == Source::Publisher);
        self.wire = None;
        self.asked = None;
        if !self.queue.is_empty() {
            poll.set_alarm(RETRY, Alarm::Publish);
        }
    }
}
