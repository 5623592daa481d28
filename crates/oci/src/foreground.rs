//! Staying with a process until it ends: signals go to it, its terminal comes to ours, its exit code becomes ours.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use sys::{SignalFd, SignalSet};

use crate::error::Error;
use crate::notify::Notify;

const SIGCHLD: i32 = 17;
const SIGWINCH: i32 = 28;
/// Faults of our own and job control of our own: left as they are.
const OURS: [i32; 11] = [4, 5, 6, 7, 8, 11, 18, 20, 21, 22, 31];
/// Sent for our sake, not for the container's.
const KEPT: [i32; 4] = [13, SIGCHLD, 23, SIGWINCH];
/// What a terminal sends for the end of input.
const END_OF_INPUT: u8 = 4;

/// Signals are held from before the process exists, so that none is lost.
pub struct Foreground {
    signals: SignalFd,
    notify: Option<Notify>,
}

impl Foreground {
    pub fn prepare() -> Result<Foreground, Error> {
        let set = OURS
            .iter()
            .fold(SignalSet::all(), |set, signal| set.without(*signal));
        let failed = |source| Error::System("hold signals", source);
        sys::set_signal_mask(&set).map_err(failed)?;
        Ok(Foreground {
            signals: SignalFd::new(&set).map_err(failed)?,
            notify: None,
        })
    }

    /// Passes on that the container is ready, when it says so.
    pub fn passing(self, notify: Option<Notify>) -> Foreground {
        Foreground { notify, ..self }
    }

    /// Orphans of the container become our children instead of the host's init's.
    pub fn adopt_orphans(&self) -> Result<(), Error> {
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own))
            .map_err(|error| Error::System("become a subreaper", error.into()))
    }

    /// Waits for our child `pid` and says its exit code, 128+n for a signal.
    pub fn wait(
        mut self,
        pid: i32,
        pidfd: &OwnedFd,
        console: Option<OwnedFd>,
    ) -> Result<u8, Error> {
        let mut relay = console.map(Relay::new).transpose()?;
        loop {
            if self.ready(relay.as_mut())? {
                while let Some(arrived) = self
                    .signals
                    .read()
                    .map_err(|source| Error::System("read signals", source))?
                {
                    match arrived.signal {
                        SIGCHLD => {}
                        SIGWINCH => relay.iter().for_each(Relay::resize),
                        signal if KEPT.contains(&signal) => {}
                        // A process that is gone is found by wait below.
                        signal => drop(sys::pidfd_signal(pidfd.as_fd(), signal)),
                    }
                }
                if let Some(code) = reap(pid)? {
                    relay.iter_mut().for_each(Relay::drain);
                    return Ok(code);
                }
            }
        }
    }

    /// Moves what can be moved through the terminal; says whether signals are to be read.
    fn ready(&mut self, relay: Option<&mut Relay>) -> Result<bool, Error> {
        let stdin = rustix::stdio::stdin();
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let mut watch = |fd| {
            fds.push(fd);
            Some(fds.len() - 1)
        };
        let (mut master, mut input, mut told) = (None, None, None);
        if let Some(notify) = &self.notify {
            told = watch(PollFd::new(notify, PollFlags::IN));
        }
        if let Some(relay) = relay.as_deref().filter(|relay| relay.master_open) {
            master = watch(PollFd::new(&relay.master, relay.wants()));
        }
        if relay.as_deref().is_some_and(Relay::listens) {
            input = watch(PollFd::new(&stdin, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::System("poll", error.into())),
        }
        let events = |at: Option<usize>| at.map_or(PollFlags::empty(), |at| fds[at].revents());
        let (signals, told) = (events(Some(0)), events(told));
        let (master, input) = (events(master), events(input));
        drop(fds);
        if !told.is_empty() && self.notify.as_ref().is_some_and(Notify::pass) {
            self.notify = None;
        }
        if let Some(relay) = relay {
            relay.turn(master, input);
        }
        Ok(!signals.is_empty())
    }
}

/// Reaps whoever ended; says the exit code when `pid` is among them.
fn reap(pid: i32) -> Result<Option<u8>, Error> {
    let mut code = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if Pid::as_raw(Some(ended)) == pid => {
                code = exit_code(status).or(code)
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return Ok(code),
            Err(rustix::io::Errno::CHILD) if code.is_some() => return Ok(code),
            Err(error) => {
                return Err(Error::System(
                    "wait for the container's process",
                    error.into(),
                ));
            }
        }
    }
}

fn exit_code(status: WaitStatus) -> Option<u8> {
    let signal = || status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or_else(signal).map(|code| code as u8)
}

/// Between our terminal and the process'.
struct Relay {
    master: File,
    /// Input that the process' terminal has no room for.
    pending: Vec<u8>,
    input_open: bool,
    master_open: bool,
    /// How our terminal was before, if our input is one.
    saved: Option<Termios>,
}

impl Relay {
    fn new(master: OwnedFd) -> Result<Relay, Error> {
        let failed = |error: rustix::io::Errno| Error::System("prepare the terminal", error.into());
        // The master is ours alone, so the flag disturbs nobody; our own descriptors may be shared and stay as they are.
        fcntl_setfl(
            &master,
            fcntl_getfl(&master).map_err(failed)? | OFlags::NONBLOCK,
        )
        .map_err(failed)?;
        let stdin = rustix::stdio::stdin();
        let saved = if isatty(stdin) {
            Some(tcgetattr(stdin).map_err(failed)?)
        } else {
            None
        };
        let relay = Relay {
            master: master.into(),
            pending: Vec::new(),
            input_open: true,
            master_open: true,
            saved,
        };
        relay.resize();
        if let Some(saved) = &relay.saved {
            let mut raw = saved.clone();
            raw.make_raw();
            tcsetattr(stdin, OptionalActions::Now, &raw).map_err(failed)?;
        }
        Ok(relay)
    }

    fn listens(&self) -> bool {
        self.input_open && self.master_open && self.pending.is_empty()
    }

    fn wants(&self) -> PollFlags {
        if self.pending.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        }
    }

    fn resize(&self) {
        if self.saved.is_some()
            && let Ok(size) = tcgetwinsize(rustix::stdio::stdin())
        {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    fn turn(&mut self, master: PollFlags, stdin: PollFlags) {
        if !stdin.is_empty() {
            self.input();
        }
        if !self.pending.is_empty() {
            self.push();
        }
        if self.master_open && master.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.output();
        }
    }

    fn input(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(0) => {
                self.input_open = false;
                self.pending.push(END_OF_INPUT);
            }
            Ok(count) => self.pending.extend_from_slice(&buffer[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => self.input_open = false,
        }
    }

    fn push(&mut self) {
        match self.master.write(&self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.pending.clear(),
        }
    }

    /// One piece of output; says whether there was any.
    fn output(&mut self) -> bool {
        let mut buffer = [0; 16384];
        match self.master.read(&mut buffer) {
            Ok(count) if count > 0 => {
                print(&buffer[..count]);
                true
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                false
            }
            // EIO: nobody holds the other side for now.
            _ => {
                self.master_open = false;
                false
            }
        }
    }

    fn drain(&mut self) {
        self.master_open = true;
        while self.output() {}
    }
}

/// Writes all to standard output. That nobody reads it must not stop the process: then it is dropped.
fn print(mut bytes: &[u8]) {
    let stdout = rustix::stdio::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(stdout, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                _ = poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None);
            }
            Err(_) => return,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, saved);
        }
    }
}
