//! The loop between a client and the bare stream: two bounded buffers, one poll(2).

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::frame::{BROKEN, Frames, Kind, NORMAL, put, put_close};

/// What is read at once.
const PIECE: usize = 32 * 1024;
/// With so much unsent to the client nothing more is read that would add to it.
const MOST: usize = 64 * 1024;
/// How long a client may let our last words wait.
const LAST_WORDS: Duration = Duration::from_secs(60);
/// How long it may take to answer a goodbye, or to take in ours.
const GOODBYE: Duration = Duration::from_secs(2);

/// How often it is looked whether the stream's reader has taken everything.
const GLANCE: Duration = Duration::from_millis(20);

/// Which of the two ends has ended first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The client said goodbye, hung up or broke the protocol: what it said before is still delivered.
    ClientLeft,
    /// The stream ended; the client is told goodbye, and its answer awaited.
    StreamEnded,
    Done,
}

pub struct Relay<'a> {
    client: BorrowedFd<'a>,
    stream: BorrowedFd<'a>,
    kind: Kind,
    frames: Frames,
    inward: Vec<u8>,
    outward: Vec<u8>,
    phase: Phase,
    stream_is_gone: bool,
    deadline: Option<Instant>,
}

impl<'a> Relay<'a> {
    pub fn new(client: BorrowedFd<'a>, stream: BorrowedFd<'a>, kind: Kind) -> Relay<'a> {
        Relay {
            client,
            stream,
            kind,
            frames: Frames::default(),
            inward: Vec::new(),
            outward: Vec::new(),
            phase: Phase::Open,
            stream_is_gone: false,
            deadline: None,
        }
    }

    /// Until both ends have heard what there was for them.
    pub fn run(mut self, early: &[u8]) -> io::Result<()> {
        self.hear(early);
        while !self.is_done() {
            let (client, stream) = (self.of_client(), self.of_stream());
            let mut waits = Vec::with_capacity(2);
            for (end, wanted) in [(&self.client, client), (&self.stream, stream)] {
                // Of an end that is asked for nothing poll would still tell that it hung up, for ever.
                if !wanted.is_empty() {
                    waits.push(PollFd::new(end, wanted));
                }
            }
            match poll(&mut waits, self.patience().as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // No call blocks, so that whatever was wanted may be tried.
            if client.contains(PollFlags::OUT) {
                self.tell_client();
            }
            if client.contains(PollFlags::IN) {
                self.hear_client();
            }
            if stream.contains(PollFlags::OUT) {
                self.tell_stream();
            }
            if stream.contains(PollFlags::IN) {
                self.hear_stream();
            }
        }
        Ok(())
    }

    fn is_done(&mut self) -> bool {
        let late = self.deadline.is_some_and(|end| Instant::now() >= end);
        if late {
            // Nobody waits for what the client does not take; what it said is still worth waiting for.
            self.outward.clear();
            self.deadline = None;
        }
        match self.phase {
            Phase::Open => false,
            Phase::ClientLeft => {
                // Whoever reads the stream may take our hanging up for the client's, and what lies unread for nothing.
                let unread = || sys::unread(self.stream).unwrap_or_default();
                let taken = self.stream_is_gone || self.inward.is_empty() && unread() == 0;
                taken && self.outward.is_empty()
            }
            Phase::StreamEnded => late,
            Phase::Done => true,
        }
    }

    /// What there is to do at the client's end.
    fn of_client(&self) -> PollFlags {
        let mut wanted = PollFlags::empty();
        if !self.outward.is_empty() {
            wanted |= PollFlags::OUT;
        }
        let room = self.inward.is_empty() && self.outward.len() < MOST;
        if self.phase == Phase::StreamEnded || self.phase == Phase::Open && room {
            wanted |= PollFlags::IN;
        }
        wanted
    }

    /// What there is to do at the stream's end.
    fn of_stream(&self) -> PollFlags {
        let mut wanted = PollFlags::empty();
        if self.stream_is_gone {
            return wanted;
        }
        if !self.inward.is_empty() {
            wanted |= PollFlags::OUT;
        }
        if self.phase == Phase::ClientLeft || self.phase == Phase::Open && self.outward.len() < MOST
        {
            wanted |= PollFlags::IN;
        }
        wanted
    }

    fn patience(&self) -> Option<Timespec> {
        if self.phase == Phase::ClientLeft && self.inward.is_empty() && !self.stream_is_gone {
            return Timespec::try_from(GLANCE).ok();
        }
        let left = self.deadline?.saturating_duration_since(Instant::now());
        Timespec::try_from(left + Duration::from_millis(1)).ok()
    }

    fn tell_client(&mut self) {
        match say(self.client, &mut self.outward) {
            Ok(()) if self.phase == Phase::StreamEnded && self.outward.is_empty() => {
                self.end_within(GOODBYE);
            }
            Ok(()) => {}
            Err(_) => self.client_is_gone(),
        }
    }

    fn tell_stream(&mut self) {
        if say(self.stream, &mut self.inward).is_err() {
            // Nobody takes input: output goes on.
            self.inward.clear();
        }
        if self.phase == Phase::ClientLeft && self.inward.is_empty() {
            self.end_input();
        }
    }

    fn hear_client(&mut self) {
        let mut piece = [0; PIECE];
        match recv(self.client, &mut piece, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => self.client_is_gone(),
            Ok((_, bytes)) => self.hear(&piece[..bytes]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.client_is_gone(),
        }
    }

    fn hear_stream(&mut self) {
        let mut piece = [0; PIECE];
        match recv(self.stream, &mut piece, RecvFlags::DONTWAIT) {
            Ok((_, bytes)) if bytes > 0 => {
                if self.phase == Phase::Open {
                    put(&mut self.outward, self.kind, &piece[..bytes]);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => self.stream_ended(),
        }
    }

    /// Takes in what the client said.
    fn hear(&mut self, said: &[u8]) {
        let mut replies = Vec::new();
        let closed = self.frames.feed(said, &mut self.inward, &mut replies);
        if self.phase == Phase::StreamEnded {
            self.inward.clear();
            if !matches!(closed, Ok(false)) {
                self.phase = Phase::Done;
            }
            return;
        }
        self.outward.append(&mut replies);
        if closed.is_err() {
            put_close(&mut self.outward, BROKEN);
        }
        if !matches!(closed, Ok(false)) {
            self.client_left();
        }
    }

    fn client_is_gone(&mut self) {
        self.outward.clear();
        match self.phase {
            Phase::Open => self.client_left(),
            Phase::StreamEnded => self.phase = Phase::Done,
            Phase::ClientLeft | Phase::Done => {}
        }
    }

    fn client_left(&mut self) {
        self.phase = Phase::ClientLeft;
        self.end_within(GOODBYE);
        if self.inward.is_empty() {
            self.end_input();
        }
    }

    fn stream_ended(&mut self) {
        self.inward.clear();
        self.stream_is_gone = true;
        if self.phase != Phase::Open {
            return;
        }
        self.phase = Phase::StreamEnded;
        put_close(&mut self.outward, NORMAL);
        self.end_within(LAST_WORDS);
    }

    fn end_input(&self) {
        // A stream that has ended needs no end.
        let _ = shutdown(self.stream, Shutdown::Write);
    }

    fn end_within(&mut self, time: Duration) {
        self.deadline = Some(Instant::now() + time);
    }
}

/// Sends as much as there is room for.
fn say(to: BorrowedFd<'_>, words: &mut Vec<u8>) -> Result<(), Errno> {
    match send(to, words, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(sent) => {
            words.drain(..sent);
            Ok(())
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}
