//! The socket over which an OCI command gives a terminal's master away (runc's `--console-socket`).

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

const NAME: &str = "console";
/// The command has ended by then: the message is there or does not come.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Console {
    listener: OwnedFd,
    /// Names of sockets are short; directories are not. Their paths go by way of this.
    directory: OwnedFd,
}

impl Console {
    pub fn listen(directory: &Path) -> Result<Console, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        let _ = rustix::fs::unlinkat(&directory, NAME, rustix::fs::AtFlags::empty());
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let console = Console {
            listener,
            directory,
        };
        rustix::net::bind(&console.listener, &SocketAddrUnix::new(console.path())?)?;
        rustix::net::listen(&console.listener, 1)?;
        Ok(console)
    }

    /// As other processes reach it.
    pub fn path(&self) -> String {
        let (pid, number) = (std::process::id(), self.directory.as_raw_fd());
        format!("/proc/{pid}/fd/{number}/{NAME}")
    }

    /// The master that was sent.
    pub fn receive(self) -> Result<OwnedFd, Errno> {
        let _ = rustix::fs::unlinkat(&self.directory, NAME, rustix::fs::AtFlags::empty());
        await_input(&self.listener)?;
        let peer = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC)?;
        await_input(&peer)?;
        let (mut name, mut space) = (
            [0; 4096],
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))],
        );
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        rustix::net::recvmsg(
            &peer,
            &mut [IoSliceMut::new(&mut name)],
            &mut control,
            flags,
        )?;
        let mut sent = control.drain().filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
            _ => None,
        });
        sent.next().ok_or(Errno::NOMSG)
    }
}

fn await_input(fd: impl AsFd) -> Result<(), Errno> {
    let timeout = Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    let fd = fd.as_fd();
    match poll(
        &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
        Some(&timeout),
    )? {
        0 => Err(Errno::TIMEDOUT),
        _ => Ok(()),
    }
}
