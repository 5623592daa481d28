//! The gate: a created container waits here until somebody says start, and who said it learns whether the program ran.
//!
//! Across processes it is a unix socket whose listening end only init holds: connecting fails once init is gone, so
//! nobody waits for a dead container. The first who connects is answered; the others find the gate open already.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};

use crate::fault::{At, Fault, Outcome};
use crate::wire::{Line, Tag, send_with_descriptor};
use crate::{Error, Stage, process};

const BACKLOG: i32 = 16;

/// A unix address for a path of any length: the directory by its descriptor, which the caller keeps open meanwhile.
fn address(path: &Path) -> io::Result<(SocketAddrUnix, OwnedFd)> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let holder = openat(
        rustix::fs::CWD,
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let short = PathBuf::from(crate::rootfs::through_proc(&holder)).join(name);
    Ok((SocketAddrUnix::new(&short)?, holder))
}

pub(crate) fn connect_to(path: &Path, kind: SocketType) -> io::Result<OwnedFd> {
    let (address, _holder) = address(path)?;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &address)?;
    Ok(socket)
}

/// Makes the gate's file, for its owner alone.
pub(crate) fn make(path: &Path) -> Outcome<OwnedFd> {
    let make = || -> io::Result<OwnedFd> {
        let (address, _holder) = address(path)?;
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = bind(&socket, &address);
        rustix::process::umask(umask);
        bound?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    make().at(Stage::Prepare, path.display())
}

/// In init: waits until the gate is opened; the connection is where a failing exec is told.
pub(crate) fn wait_at(listener: &OwnedFd) -> Outcome<Line> {
    let accepted = loop {
        match accept_with(listener, SocketFlags::CLOEXEC) {
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            answer => break answer.at(Stage::WaitForStart, "")?,
        }
    };
    // Nobody else is let in; those in the queue are told by the end of their connection, at exec.
    rustix::net::shutdown(listener, rustix::net::Shutdown::Both).at(Stage::WaitForStart, "")?;
    let line = Line::over(accepted);
    // If who opened it is gone again, the container starts all the same: the order was given.
    _ = line.send(Tag::Go, &[], None);
    Ok(line)
}

/// Opens a [`crate::Gate::Socket`]; returns when the program was executed, or with the reason why not. Answers
/// [`Error::NotRunning`] when init is gone and [`Error::AlreadyStarted`] when the gate was opened before.
pub fn open_gate(path: &Path, pid: i32, start_time: u64) -> Result<(), Error> {
    let failed = |reason: io::Error| Error::Host {
        stage: Stage::WaitForStart,
        subject: path.display().to_string(),
        source: reason,
    };
    let closed = || {
        if process::find(pid, start_time).is_ok() {
            Error::AlreadyStarted
        } else {
            Error::NotRunning
        }
    };
    let socket = match connect_to(path, SocketType::SEQPACKET) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) =>
        {
            return Err(closed());
        }
        socket => socket.map_err(failed)?,
    };
    let line = Line::over(socket);
    match line.receive().map_err(failed)? {
        Some(packet) if packet.tag == Tag::Go => follow(&line, pid),
        _ => Err(closed()),
    }
}

/// After the gate of process `pid`: hands a seccomp listener on, and waits for the end of the line, which is the program's begin.
pub(crate) fn follow(line: &Line, pid: i32) -> Result<(), Error> {
    let failed = |reason: io::Error| Error::Host {
        stage: Stage::WaitForStart,
        subject: "the program".into(),
        source: reason,
    };
    while let Some(packet) = line.receive().map_err(failed)? {
        match (packet.tag, packet.descriptor) {
            (Tag::Fault, _) => return Err(Fault::told(&packet.payload, Stage::Execute)),
            (Tag::Listener, Some(listener)) => {
                hand_over(&packet.payload, &listener, pid).map_err(Fault::on_host)?;
                line.send(Tag::Continue, &[], None).map_err(failed)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sends a seccomp listener to the agent at the path before the NUL, with the state behind it (config-linux.md,
/// "The Container Process State"), which lacks what the process could not know: its pid as the host sees it.
fn hand_over(payload: &[u8], listener: &OwnedFd, pid: i32) -> Outcome<()> {
    let mut parts = payload.splitn(2, |byte| *byte == 0);
    let (path, state) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let path = PathBuf::from(String::from_utf8_lossy(path).into_owned());
    let send = || -> io::Result<()> {
        let mut told: spec::ContainerProcessState = serde_json::from_slice(state)?;
        told.pid = pid;
        if told.state.pid == 0 {
            told.state.pid = pid;
        }
        let agent = connect_to(&path, SocketType::STREAM)?;
        send_with_descriptor(
            agent.as_fd(),
            &[IoSlice::new(&serde_json::to_vec(&told)?)],
            Some(listener.as_fd()),
        )
    };
    send().at(
        Stage::LoadFilter,
        format_args!("listener {}", path.display()),
    )
}
