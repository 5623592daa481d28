//! Sockets of the Internet, none of which blocks, and the words for why there is none.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt,
};
use serde::Serialize;

/// An address that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub host_ip: String,
    pub host_port: u16,
    pub protocol: &'static str,
    pub error: String,
}

impl Failure {
    pub fn new(address: SocketAddr, protocol: &'static str, error: &io::Error) -> Failure {
        Failure {
            host_ip: address.ip().to_string(),
            host_port: address.port(),
            protocol,
            error: words(error),
        }
    }
}

/// The reason as people know it.
fn words(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ADDRINUSE) => "address already in use".to_owned(),
        Some(Errno::ADDRNOTAVAIL) => "cannot assign requested address".to_owned(),
        Some(Errno::ACCESS | Errno::PERM) => "permission denied".to_owned(),
        Some(Errno::MFILE | Errno::NFILE) => "too many open files".to_owned(),
        _ => error.to_string(),
    }
}

fn open(of: SocketAddr, kind: SocketType, protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    let family = if of.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, kind, flags, protocol)?;
    if of.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

/// A socket that has an address and does not listen.
pub fn bound(to: SocketAddr, kind: SocketType, protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    let socket = open(to, kind, protocol)?;
    bind(&socket, &to)?;
    Ok(socket)
}

/// A socket that takes connections. What is left of ended ones does not stand in its way.
pub fn listening(to: SocketAddr) -> io::Result<OwnedFd> {
    const WAITING: i32 = 128;
    let socket = open(to, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &to)?;
    listen(&socket, WAITING)?;
    Ok(socket)
}

/// A socket with another end, which a stream may still be on its way to.
pub fn connected(to: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let socket = open(to, kind, None)?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether an error is only that nothing is there yet.
pub fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
