//! A socket to the kernel. It is connected to the kernel's side, so that nobody else's messages reach it: whoever has
//! CAP_NET_ADMIN in a container could send to any other socket of its network namespace.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, connect, netlink, recv,
    send, socket_with, sockopt,
};

use crate::message::{Batch, Message, Messages, Reply, flag};

pub struct Socket {
    socket: OwnedFd,
    sequence: u32,
}

/// More than a batch's failures or a part of a dump take.
const BUFFER: usize = 64 << 10;

impl Socket {
    /// Of links, addresses and routes, in the caller's network namespace.
    pub fn route() -> Result<Socket> {
        Socket::open(None)
    }

    /// Of nftables, in the caller's network namespace.
    pub fn netfilter() -> Result<Socket> {
        Socket::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> Result<Socket> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Socket {
            socket,
            sequence: 0,
        })
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Makes room for the answers to a batch of `messages` messages; an administrator may go above the system's limit.
    pub fn make_room(&self, messages: usize) -> Result<()> {
        const EACH: usize = 2048;
        const USUAL: usize = 64;
        if messages > USUAL {
            sockopt::set_socket_recv_buffer_size_force(&self.socket, messages * EACH)?;
            sockopt::set_socket_send_buffer_size_force(&self.socket, messages * EACH)?;
        }
        Ok(())
    }

    /// The number of the next message.
    pub fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends one message and waits until it is done.
    pub fn change(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        fill: impl FnOnce(&mut Batch),
    ) -> Result<()> {
        let mut batch = Batch::new();
        let sequence = self.next();
        fill(batch.message(kind, flags | flag::ACK, sequence, header));
        self.settle(&batch)
    }

    /// Sends messages that each ask for an acknowledgement; the first failure is the answer.
    pub fn settle(&mut self, batch: &Batch) -> Result<()> {
        let count = Messages(batch.bytes()).count();
        self.give(batch.bytes())?;
        let (mut settled, mut answer) = (0, Ok(()));
        while settled < count {
            self.take(RecvFlags::empty(), |message| match message.reply() {
                Reply::Done => settled += 1,
                Reply::Failed(errno) => {
                    settled += 1;
                    if answer.is_ok() {
                        answer = Err(Errno::from_raw_os_error(errno));
                    }
                }
                Reply::Data(_) => {}
            })?;
        }
        answer
    }

    /// Sends one request that is answered with data, and reads all of it.
    pub fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        fill: impl FnOnce(&mut Batch),
        mut each: impl FnMut(Message<'_>),
    ) -> Result<()> {
        let mut batch = Batch::new();
        let sequence = self.next();
        fill(batch.message(kind, flags | flag::ACK, sequence, header));
        self.give(batch.bytes())?;
        let mut answer = None;
        while answer.is_none() {
            self.take(RecvFlags::empty(), |message| {
                if message.sequence == sequence {
                    match message.reply() {
                        Reply::Done => answer = Some(Ok(())),
                        Reply::Failed(errno) => {
                            answer = Some(Err(Errno::from_raw_os_error(errno)));
                        }
                        Reply::Data(message) => each(message),
                    }
                }
            })?;
        }
        answer.unwrap_or(Ok(()))
    }

    /// Sends a batch whose messages are answered within the call, and only when they fail or were asked for data; `each` sees
    /// what is waiting.
    pub fn exchange(&mut self, bytes: &[u8], mut each: impl FnMut(Message<'_>)) -> Result<()> {
        self.give(bytes)?;
        loop {
            match self.take(RecvFlags::DONTWAIT, &mut each) {
                Err(Errno::AGAIN) => return Ok(()),
                other => other?,
            }
        }
    }

    fn give(&self, bytes: &[u8]) -> Result<()> {
        loop {
            match send(&self.socket, bytes, SendFlags::empty()) {
                Err(Errno::INTR) => {}
                other => return other.map(drop),
            }
        }
    }

    /// Receives one datagram of messages.
    fn take(&self, flags: RecvFlags, each: impl FnMut(Message<'_>)) -> Result<()> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); BUFFER];
        let (bytes, _) = loop {
            match recv(&self.socket, &mut buffer, flags | RecvFlags::TRUNC) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
                Ok(((bytes, _), length)) if length > bytes.len() => return Err(Errno::MSGSIZE),
                Ok((found, _)) => break found,
            }
        };
        Messages(bytes).for_each(each);
        Ok(())
    }
}
