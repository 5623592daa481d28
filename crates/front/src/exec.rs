//! The exec itself. The shim gets our descriptors and no byte of the streams passes here; the daemon is told of signals.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use sys::{SignalFd, SignalSet, set_signal_mask};

use crate::Error;
use crate::http::{Daemon, quoted};
use crate::words::Wanted;

/// What is passed on to the program.
const FORWARDED: [Signal; 7] = [
    Signal::INT,
    Signal::TERM,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::TSTP,
];
const MAX_PACKET: usize = 64 << 10;
const LOST: u8 = 125;

/// An exec whose program is held back, its streams attached.
pub struct Ready {
    daemon: Daemon,
    socket: PathBuf,
    id: String,
    /// The shim's private socket (docs/shim.md).
    seat: OwnedFd,
}

/// Brings an exec to where it can start; `None`: something is in the way, and Python finds out what.
pub fn prepare(wanted: &Wanted) -> Option<Ready> {
    let socket = socket()?;
    let mut daemon = Daemon::connect(&socket).ok()?;
    let body = json!({
        "Cmd": wanted.command,
        "Env": wanted.env,
        "WorkingDir": wanted.workdir,
        "User": wanted.user,
        "AttachStdin": wanted.stdin,
        "AttachStdout": true,
        "AttachStderr": true,
    });
    let made = daemon
        .post(
            &format!("/containers/{}/exec", quoted(&wanted.container)),
            &body,
        )
        .ok()?;
    let id = made.text("Id")?.to_owned();
    let prepared = daemon
        .post(&format!("/stockade/v1/exec/{id}/prepare"), &Value::Null)
        .ok()?;
    let attach = json!({ "attach": {
        "id": prepared.text("Container")?,
        "exec_id": id,
        "stdin": wanted.stdin,
        "stdout": true,
        "stderr": true,
    }});
    let seat = attach_streams(prepared.text("AttachSocket")?, &attach, wanted.stdin).ok()?;
    Some(Ready {
        daemon,
        socket,
        id,
        seat,
    })
}

/// Where root's daemon listens (host/paths.py); an ordinary user has none.
fn socket() -> Option<PathBuf> {
    let run = std::env::var_os("STOCKADE_RUN_DIR").filter(|run| !run.is_empty());
    let run = PathBuf::from(run.unwrap_or_else(|| "/run/stockade".into()));
    (rustix::process::geteuid().is_root() && run.is_absolute()).then(|| run.join("stockade.sock"))
}

/// Gives the shim our standard descriptors.
fn attach_streams(path: &str, request: &Value, stdin: bool) -> io::Result<OwnedFd> {
    let seat = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::connect(&seat, &SocketAddrUnix::new(path)?)?;
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    let all = [input.as_fd(), output.as_fd(), errors.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    beside.push(SendAncillaryMessage::ScmRights(&all[usize::from(!stdin)..]));
    let text = request.to_string();
    rustix::net::sendmsg(
        &seat,
        &[IoSlice::new(text.as_bytes())],
        &mut beside,
        SendFlags::NOSIGNAL,
    )?;
    match receive(&seat)? {
        Some(said) if said.get("ok").is_some() => Ok(seat),
        _ => Err(io::ErrorKind::ConnectionRefused.into()),
    }
}

/// The next packet; `None`: the shim is gone.
fn receive(seat: &OwnedFd) -> io::Result<Option<Value>> {
    let mut packet = vec![0; MAX_PACKET];
    let (count, _) = rustix::net::recv(seat, &mut packet[..], RecvFlags::empty())?;
    match count {
        0 => Ok(None),
        _ => Ok(serde_json::from_slice(&packet[..count])?),
    }
}

impl Ready {
    /// Lets the program run and returns its status; `None`: it could not be executed, and Python tells why.
    pub fn run(mut self) -> Result<Option<u8>, Error> {
        let set = FORWARDED
            .iter()
            .fold(SignalSet::empty(), |set, signal| set.with(signal.as_raw()));
        // Until here they end or stop us, as nothing runs yet; from here on they are the program's.
        let before = set_signal_mask(&set).map_err(Error::Wait)?;
        let signals = SignalFd::new(&set).map_err(Error::Wait)?;
        let begun = json!({ "Detach": true });
        let started = self
            .daemon
            .post(&format!("/exec/{}/start", self.id), &begun)
            .map_err(Error::Start)?;
        if started.status >= 400 {
            set_signal_mask(&before).map_err(Error::Wait)?;
            return Ok(None);
        }
        self.follow(&signals).map_err(Error::Wait).map(Some)
    }

    fn follow(&self, signals: &SignalFd) -> io::Result<u8> {
        loop {
            let mut ready = [
                PollFd::new(&self.seat, PollFlags::IN),
                PollFd::new(signals, PollFlags::IN),
            ];
            match poll(&mut ready, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !ready[0].revents().is_empty() {
                return match receive(&self.seat).unwrap_or_default() {
                    Some(said) => Ok(status(said.get("exited")).unwrap_or(0)),
                    // The shim died or let us go: the daemon knows the end from its record.
                    None => self.recorded(),
                };
            }
            while let Some(arrived) = signals.read()? {
                self.pass_on(arrived.signal)?;
            }
        }
    }

    /// Does with a signal what it is for. A program that ended meanwhile takes none; the next look finds out.
    fn pass_on(&self, signal: i32) -> io::Result<()> {
        if signal != Signal::TSTP.as_raw() {
            self.kill(&signal.to_string());
            return Ok(());
        }
        self.kill("SIGSTOP");
        rustix::process::kill_process(rustix::process::getpid(), Signal::STOP)?;
        self.kill("SIGCONT");
        Ok(())
    }

    /// On a connection of its own: the daemon may have ended the first, or have been started anew, since the start.
    fn kill(&self, signal: &str) {
        let target = format!("/stockade/v1/exec/{}/kill?signal={signal}", self.id);
        let _ =
            Daemon::connect(&self.socket).and_then(|mut daemon| daemon.post(&target, &Value::Null));
    }

    fn recorded(&self) -> io::Result<u8> {
        let found = Daemon::connect(&self.socket)?.get(&format!("/exec/{}/json", self.id))?;
        Ok(status(found.value.get("ExitCode")).unwrap_or(LOST))
    }
}

fn status(value: Option<&Value>) -> Option<u8> {
    value?.as_u64().and_then(|number| u8::try_from(number).ok())
}
