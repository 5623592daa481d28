//! The server: everything it knows, and the loop that waits, hands each event to its owner and sends what came of it.
//!
//! One thread. A handler never waits: it changes what is known, appends answers, and returns. What could not be finished in
//! one turn is put on the `again` list, so that no stream and no caller holds up the others.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use spec::Spec;
use sys::SignalFd;

use crate::attach::{Client, DETACHED};
use crate::poll::{Alarm, BOTH, ClientKey, ConnKey, ContainerKey, Poll, ProcessKey, READ, Source};
use crate::process::{Container, Process};
use crate::publisher::Publisher;
use crate::record::{Ended, Usage};
use crate::socket::Sockets;
use crate::stdio::{Scratch, Turn};
use crate::ttrpc::{Incoming, answer};
use crate::wire::Wire;

/// A shim that nobody uses leaves after this time; or when it looks and its bundle is gone.
const UNUSED: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(2);
/// Buffers are given back when nothing was copied for so long.
const COOL_DOWN: Duration = Duration::from_millis(200);
/// How long the last events and answers may take when the shim leaves.
const LEAVE: Duration = Duration::from_secs(2);

/// The listening sockets and how they are named.
pub struct Listeners {
    pub ttrpc: OwnedFd,
    pub attach: OwnedFd,
    pub sockets: Option<Sockets>,
    /// The directory that it was started for; held only while it holds no container.
    pub bundle: Option<OwnedFd>,
}

pub struct Shim {
    pub namespace: String,
    pub poll: Poll,
    pub publisher: Publisher,
    pub scratch: Scratch,
    pub containers: BTreeMap<ContainerKey, Container>,
    pub processes: BTreeMap<ProcessKey, Process>,
    pub conns: BTreeMap<ConnKey, Wire>,
    pub clients: BTreeMap<ClientKey, Client>,
    /// Sources that had more than one turn's worth.
    pub again: VecDeque<Source>,
    /// What Create read. To give back its thousand small pieces takes as long as to send the answer three times over.
    pub dropped_later: Option<Box<Spec>>,
    listeners: Listeners,
    signals: SignalFd,
    next_key: u32,
    /// A lifeline was cut here: with its last container the shim goes too.
    pub mortal: bool,
    leaving: bool,
    unused_since: Instant,
}

impl Shim {
    pub fn new(
        namespace: &str,
        events: &str,
        listeners: Listeners,
        signals: SignalFd,
    ) -> io::Result<Shim> {
        let mut poll = Poll::new()?;
        poll.add(&listeners.ttrpc, READ, Source::TtrpcListener)?;
        poll.add(&listeners.attach, READ, Source::AttachListener)?;
        poll.add(&signals, READ, Source::Signals)?;
        poll.set_alarm(LOOK, Alarm::Unused);
        Ok(Shim {
            namespace: namespace.into(),
            poll,
            publisher: Publisher::new(events, namespace),
            scratch: Scratch::default(),
            containers: BTreeMap::new(),
            processes: BTreeMap::new(),
            conns: BTreeMap::new(),
            clients: BTreeMap::new(),
            again: VecDeque::new(),
            dropped_later: None,
            listeners,
            signals,
            next_key: 0,
            mortal: false,
            leaving: false,
            unused_since: Instant::now(),
        })
    }

    pub fn key(&mut self) -> u32 {
        self.next_key += 1;
        self.next_key
    }

    /// Serves until it is told to leave and the last answers and events are gone.
    pub fn run(&mut self) -> io::Result<()> {
        let mut idle = false;
        loop {
            if self.leaving && self.is_done() {
                break;
            }
            let limit = match (self.again.is_empty(), idle) {
                (false, _) => Some(Duration::ZERO),
                (true, false) => Some(COOL_DOWN),
                (true, true) => None,
            };
            let (ready, alarms) = self.poll.wait(limit)?;
            let again = std::mem::take(&mut self.again);
            idle = ready.is_empty() && alarms.is_empty() && again.is_empty();
            if idle {
                self.give_back();
            }
            for source in again.into_iter().chain(ready) {
                self.handle(source);
            }
            for alarm in alarms {
                if alarm == Alarm::Leave {
                    return Ok(());
                }
                self.ring(alarm);
            }
        }
        Ok(())
    }

    /// Nothing happened for a while: a thousand idle shims are to cost little.
    fn give_back(&mut self) {
        self.scratch.release();
        self.again = VecDeque::new();
        // Saves memory or does not; nothing else hangs on it.
        let _ = (sys::forget_code(), sys::forget_stack());
        sys::trim_arena();
    }

    /// Takes the names of the sockets away: whoever asks for a shim from now on gets another, on new ones.
    fn close(&mut self) {
        if let Some(sockets) = self.listeners.sockets.take() {
            sockets.remove();
        }
    }

    /// The directory of what lives as long as the machine runs: that of the sockets lies in it.
    pub fn run_directory(&self) -> &Path {
        let sockets = self.listeners.sockets.as_ref();
        let directory = sockets.and_then(|own| own.ttrpc.parent()?.parent());
        directory.unwrap_or(Path::new("/run/stockade"))
    }

    /// The path of this shim's own socket.
    pub fn own_socket(&self) -> String {
        let sockets = self.listeners.sockets.as_ref();
        sockets.map_or(String::new(), |own| own.ttrpc.display().to_string())
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Leaves once what is under way is sent, or after a bounded time. From its first moment on nobody finds this shim:
    /// the next `start` would take it for one that stays.
    pub fn leave(&mut self) {
        if !self.leaving {
            self.leaving = true;
            self.close();
            self.poll.set_alarm(LEAVE, Alarm::Leave);
        }
    }

    fn is_done(&self) -> bool {
        self.publisher.is_empty()
            && self.processes.is_empty()
            && self.conns.values().all(Wire::is_flushed)
    }

    fn handle(&mut self, source: Source) {
        match source {
            Source::TtrpcListener => self.accept(),
            Source::AttachListener => self.accept_clients(),
            Source::Signals => self.take_signals(),
            Source::Publisher => self.publisher.ready(&mut self.poll, &mut self.scratch),
            Source::Conn(key) => self.serve(key),
            Source::Client(key) => self.serve_client(key),
            Source::Output(key, index) => self.copy_output(key, index),
            Source::Input(key) => self.copy_input(key),
            Source::Oom(key) => self.see_oom(key),
            Source::Ended(key) => self.see_end(key, false),
        }
    }

    fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::TimeLimit(key) => self.time_out(key),
            Alarm::Publish => self.publisher.advance(&mut self.poll),
            Alarm::Linger(key) => self.forget_process(key),
            Alarm::Taken(key) => self.look_again(key),
            Alarm::Streams(key) => self.see_end(key, true),
            Alarm::Unused => self.look_whether_used(),
            Alarm::Leave => {}
        }
    }

    /// Whoever had it started may have been killed before he said what for, and have been swept since.
    fn look_whether_used(&mut self) {
        if !self.containers.is_empty() {
            self.listeners.bundle = None;
            return;
        }
        // The end of the last connection sets the alarm again.
        if !self.conns.is_empty() {
            return;
        }
        let bundle = self.listeners.bundle.as_ref();
        let gone =
            bundle.is_some_and(|fd| rustix::fs::fstat(fd).is_ok_and(|now| now.st_nlink == 0));
        if gone || self.unused_since.elapsed() >= UNUSED {
            self.leave();
        } else {
            self.poll.set_alarm(LOOK, Alarm::Unused);
        }
    }

    fn accept(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        while let Ok(fd) = rustix::net::accept_with(&self.listeners.ttrpc, flags) {
            let key = self.key();
            // Without memory for one more descriptor the peer sees a closed connection.
            if self.poll.add(&fd, BOTH, Source::Conn(key)).is_ok() {
                self.conns.insert(key, Wire::new(fd));
                self.serve(key);
            }
        }
    }

    fn accept_clients(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        while let Ok(fd) = rustix::net::accept_with(&self.listeners.attach, flags) {
            let key = self.key();
            if self.poll.add(&fd, BOTH, Source::Client(key)).is_ok() {
                self.clients.insert(key, Client::new(fd));
                self.serve_client(key);
            }
        }
    }

    /// Answers what a caller asked in one turn.
    fn serve(&mut self, key: ConnKey) {
        let Some(wire) = self.conns.get_mut(&key) else {
            return;
        };
        // First what it did not take before: it is not read while too much waits.
        let mut closed = wire.flush().is_err();
        let received = wire.receive(&mut self.scratch);
        for message in received.messages {
            match message {
                Incoming::Request { stream, request } => {
                    if let Some(result) = self.call(key, stream, &request) {
                        self.reply(key, stream, result);
                    }
                }
                Incoming::Refused { stream, refusal } => self.reply(key, stream, Err(refusal)),
                // Nobody was asked anything here.
                Incoming::Response { .. } => closed = true,
            }
        }
        if let Some(wire) = self.conns.get_mut(&key) {
            closed |= wire.flush().is_err();
        }
        self.dropped_later = None;
        if closed || received.closed {
            self.hang_up(key);
        } else if received.more {
            self.again.push_back(Source::Conn(key));
        }
    }

    /// Answers one request, at once or long after it came; nobody may be there any more.
    pub fn reply(
        &mut self,
        key: ConnKey,
        stream: u32,
        result: Result<Vec<u8>, crate::ttrpc::Refusal>,
    ) {
        if let Some(wire) = self.conns.get_mut(&key) {
            answer(wire.out(), stream, result);
            // An error shows again at the next event of this connection, which ends it.
            let _ = wire.flush();
        }
    }

    fn hang_up(&mut self, key: ConnKey) {
        self.poll.forget(|source| source == Source::Conn(key));
        self.conns.remove(&key);
        for process in self.processes.values_mut() {
            process.waiters.retain(|(conn, _)| *conn != key);
        }
        self.cut_lifelines(key);
        if self.containers.is_empty() && self.conns.is_empty() {
            if self.mortal {
                self.leave();
            } else {
                self.unused_since = Instant::now();
                self.poll.set_alarm(LOOK, Alarm::Unused);
            }
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(arrived)) = self.signals.read() {
            if arrived.signal == Signal::TERM.as_raw() {
                self.kill_everything();
                self.leave();
            }
        }
        self.reap();
    }

    /// Takes the status of every child that ended: processes of containers, logging programs, adopted orphans.
    pub fn reap(&mut self) {
        let mut inits = Vec::new();
        while let Ok(Some(child)) = sys::reap_child() {
            let Some(key) = self.whose(child.pid) else {
                continue;
            };
            let (ended, usage) = (Ended::from(child.end), Usage::of(&child));
            let process = &self.processes[&key];
            if process.exec_id.is_empty() {
                let container = self.containers.get(&process.container);
                let seen = container.and_then(|container| container.wall.program_end());
                inits.push((key, seen.map_or(ended, Ended::from), usage));
            } else {
                self.exited(key, ended, usage);
            }
        }
        // A container's end is the last that is told of it.
        for (key, ended, usage) in inits {
            self.exited(key, ended, usage);
        }
    }

    fn whose(&self, pid: i32) -> Option<ProcessKey> {
        let (key, _) = self
            .processes
            .iter()
            .find(|(_, process)| process.pid == pid && process.end.is_none())?;
        Some(*key)
    }

    fn copy_output(&mut self, key: ProcessKey, index: usize) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        let turn = process.io.pump_output(index, &mut self.scratch);
        if process.io.has_output_ended() && self.poll.has_alarm(Alarm::Streams(key)) {
            self.see_end(key, true);
            return;
        }
        let ended = process.end.is_some();
        if let Some(client) = process.io.take_broken(index)
            && !process.io.names.terminal
            && self.clients.get(&client).is_some_and(Client::is_there)
        {
            process.io.hang_up(index);
        }
        match turn {
            Turn::More => self.again.push_back(Source::Output(key, index)),
            Turn::Idle | Turn::Ended if ended => self.tell_when_taken(key),
            Turn::Ended => {
                self.is_taken(key);
            }
            Turn::Blocked | Turn::Idle => {}
        }
    }

    pub fn copy_input(&mut self, key: ProcessKey) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        let left = process.io.pump_input(&mut self.scratch);
        self.tell_input_end(key);
        if left.more {
            self.again.push_back(Source::Input(key));
        }
        for client in left.detached {
            self.dismiss(client, DETACHED);
        }
        for client in left.gone {
            self.dismiss(client, DETACHED);
        }
    }
}
