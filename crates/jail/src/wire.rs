//! The socket between the caller and the container's process: packets of one tag and a payload, descriptors beside them.
//!
//! The end of the connection is a message too: before the gate it means that the other side died, after the gate that the
//! program was executed (the child's end closes on exec).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};

/// What a packet says; the first byte of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    /// To the child: ids are mapped; with one descriptor: the root that was made for it.
    Mapped = b'M',
    /// From the child: run the hooks of the host's side now.
    Hooks = b'H',
    /// To the child: go on.
    Continue = b'C',
    /// To the child: execute the program.
    Go = b'G',
    /// To the child: the system call filter, encoded.
    Filter = b'S',
    /// From the child: one warning, as text.
    Warning = b'W',
    /// From the child: the terminal's master.
    Console = b'T',
    /// From the child: all is set up; the descriptor is the root.
    Ready = b'R',
    /// From the child: a seccomp listener.
    Listener = b'L',
    /// From the child: an encoded fault; it exits.
    Fault = b'F',
}

impl Tag {
    fn from_byte(byte: u8) -> Option<Tag> {
        use Tag::*;
        [
            Mapped, Hooks, Continue, Go, Filter, Warning, Console, Ready, Listener, Fault,
        ]
        .into_iter()
        .find(|tag| *tag as u8 == byte)
    }
}

#[derive(Debug)]
pub(crate) struct Packet {
    pub tag: Tag,
    pub payload: Vec<u8>,
    pub descriptor: Option<OwnedFd>,
}

/// One end of the connection.
#[derive(Debug)]
pub(crate) struct Line(OwnedFd);

/// The longest is a filter of 4,096 instructions; a longer one is cut by the kernel and its sender is at fault.
const PACKET_LIMIT: usize = 40 << 10;

impl Line {
    pub fn pair() -> io::Result<(Line, Line)> {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Line(a), Line(b)))
    }

    pub fn over(socket: OwnedFd) -> Line {
        Line(socket)
    }

    /// Another descriptor of the same end.
    pub fn copy(&self) -> io::Result<Line> {
        Ok(Line(rustix::io::fcntl_dupfd_cloexec(&self.0, 3)?))
    }

    /// Whether the other side is gone already.
    pub fn is_closed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut wanted = [PollFd::new(&self.0, PollFlags::empty())];
        _ = poll(
            &mut wanted,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        );
        wanted[0].revents().contains(PollFlags::HUP)
    }

    pub fn send(
        &self,
        tag: Tag,
        payload: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        send_with_descriptor(
            self.0.as_fd(),
            &[IoSlice::new(&[tag as u8]), IoSlice::new(payload)],
            descriptor,
        )
    }

    /// The next packet; `None` when the other side is gone.
    pub fn receive(&self) -> io::Result<Option<Packet>> {
        // Almost all are of one byte, for which no pages should be touched.
        let peek = RecvFlags::PEEK | RecvFlags::TRUNC;
        let length = loop {
            match recv(&self.0, &mut [0u8; 1][..], peek) {
                Ok((_, length)) => break length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        let mut bytes = vec![0; length.clamp(1, PACKET_LIMIT)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            let mut into = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.0, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message.bytes,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        bytes.truncate(length);
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let tag =
            Tag::from_byte(first).ok_or_else(|| io::Error::other("a packet of unknown kind"))?;
        bytes.remove(0);
        Ok(Some(Packet {
            tag,
            payload: bytes,
            descriptor,
        }))
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// sendmsg(2) with at most one descriptor.
pub(crate) fn send_with_descriptor(
    socket: BorrowedFd<'_>,
    data: &[IoSlice<'_>],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(descriptor) = &descriptor {
        control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(
            descriptor,
        )));
    }
    loop {
        match sendmsg(socket, data, &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => continue,
            answer => return Ok(answer.map(drop)?),
        }
    }
}
