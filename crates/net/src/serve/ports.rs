//! Published ports, held: nobody else takes them, and one that somebody else has is said. What the kernel's rules cannot lead
//! to a container is carried: connections and datagrams from `::1`, and the host's own where the container's family is another
//! one. Other machines' are not: nothing of the host's forward hook is asked about what is carried. Everything else that comes
//! here came past the rules, and is turned away.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketType, ipproto, sockopt};

use super::carry::Carrier;
use super::flow::Flows;
use super::poll::{Flags, Kind, Poll};
use super::socket::{self, Failure};
use crate::request::{Protocol, Publication};

/// Connections and datagrams of one port that are taken before the others have their turn.
const AT_ONCE: usize = 32;

#[derive(Default)]
pub struct Ports {
    held: HashMap<u64, Held>,
    pub carrier: Carrier,
    pub flows: Flows,
}

/// A port that is held.
struct Held {
    owner: String,
    at: SocketAddr,
    protocol: Protocol,
    to: SocketAddr,
    socket: Socket,
}

enum Socket {
    Connections(TcpListener),
    Datagrams(UdpSocket),
    /// Not looked at.
    Silent {
        _socket: OwnedFd,
    },
}

/// Whom a port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carries {
    Nobody,
    Loopback,
    /// Whoever asks an address of the host's from that same address, too.
    Host,
}

impl Carries {
    /// Whether one who comes is carried.
    ///
    /// # Arguments
    /// * `at`: the host's address that was asked, where that is known.
    fn takes(self, from: IpAddr, at: Option<IpAddr>) -> bool {
        match self {
            Carries::Nobody => false,
            Carries::Loopback => from.is_loopback(),
            Carries::Host => from.is_loopback() || at == Some(from),
        }
    }
}

impl Held {
    fn carries(&self) -> Carries {
        carries(self.at, self.to)
    }
}

fn carries(at: SocketAddr, to: SocketAddr) -> Carries {
    if at.is_ipv4() != to.is_ipv4() {
        Carries::Host
    } else if at.is_ipv6() && (at.ip().is_unspecified() || at.ip().is_loopback()) {
        Carries::Loopback
    } else {
        Carries::Nobody
    }
}

/// The host's address of a publication.
fn address(port: &Publication) -> SocketAddr {
    let all = match port.to {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(port.host_ip.unwrap_or(all), port.host_port)
}

impl Ports {
    /// Holds a container's ports, and no others of it; those that could not be taken are the answer.
    pub fn set(&mut self, poll: &mut Poll, owner: &str, wanted: &[Publication]) -> Vec<Failure> {
        let mut leads: HashMap<(SocketAddr, Protocol), SocketAddr> = wanted
            .iter()
            .map(|port| {
                (
                    (address(port), port.protocol),
                    SocketAddr::new(port.to, port.port),
                )
            })
            .collect();
        let (carrier, flows) = (&mut self.carrier, &mut self.flows);
        self.held.retain(|number, held| {
            if held.owner != owner {
                return true;
            }
            let to = leads.remove(&(held.at, held.protocol));
            let same = to == Some(held.to);
            if !same {
                flows.end_of(*number);
                carrier.end_of(*number);
            }
            held.to = to.unwrap_or(held.to);
            to.is_some()
        });
        let mut failed = Vec::new();
        for ((at, protocol), to) in leads {
            let held = self.hold(poll, owner, (at, protocol), to);
            if let Err(error) = held.or_else(|error| nobody_can(at, error)) {
                failed.push(Failure::new(at, protocol.word(), &error));
            }
        }
        failed.sort_unstable_by_key(|one| one.host_port);
        failed
    }

    fn hold(
        &mut self,
        poll: &mut Poll,
        owner: &str,
        (at, protocol): (SocketAddr, Protocol),
        to: SocketAddr,
    ) -> io::Result<()> {
        let number = poll.number();
        let socket = match protocol {
            Protocol::Tcp => {
                let listener = TcpListener::from(socket::listening(at)?);
                poll.watch(&listener, Kind::Held, number, Flags::IN)?;
                Socket::Connections(listener)
            }
            Protocol::Udp => {
                let socket = socket::bound(at, SocketType::DGRAM, None)?;
                if carries(at, to) == Carries::Nobody {
                    // What comes past the rules is kept as short as can be.
                    sockopt::set_socket_recv_buffer_size(&socket, 1)?;
                    Socket::Silent { _socket: socket }
                } else {
                    poll.watch(&socket, Kind::Held, number, Flags::IN)?;
                    Socket::Datagrams(UdpSocket::from(socket))
                }
            }
            Protocol::Sctp => {
                let socket = socket::bound(at, SocketType::STREAM, Some(ipproto::SCTP))?;
                Socket::Silent { _socket: socket }
            }
        };
        let held = Held {
            owner: owner.to_owned(),
            at,
            protocol,
            to,
            socket,
        };
        self.held.insert(number, held);
        Ok(())
    }

    /// Somebody came to a port.
    pub fn on_held(&mut self, poll: &mut Poll, number: u64) {
        let Some(held) = self.held.get(&number) else {
            return;
        };
        let carries = held.carries();
        for _ in 0..AT_ONCE {
            match &held.socket {
                Socket::Connections(listener) => match listener.accept() {
                    Ok((stream, from)) => {
                        let at = stream.local_addr().ok().map(|at| at.ip());
                        if carries.takes(from.ip(), at) {
                            self.carrier.begin(poll, number, stream, held.to);
                        } else {
                            turn_away(&stream);
                        }
                    }
                    Err(_) => return,
                },
                Socket::Datagrams(socket) => {
                    let mut buffer = [0; 1 << 16];
                    match socket.recv_from(&mut buffer) {
                        Ok((length, from)) if carries.takes(from.ip(), None) => {
                            let bytes = &buffer[..length];
                            self.flows.carry(poll, (number, from), held.to, bytes);
                        }
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                        Err(_) => {}
                    }
                }
                Socket::Silent { .. } => return,
            }
        }
    }

    /// A container answered datagrams of somebody.
    pub fn on_flow(&mut self, number: u64) {
        let held = &self.held;
        self.flows.on_flow(number, |port, to, bytes| {
            if let Some(Held {
                socket: Socket::Datagrams(socket),
                ..
            }) = held.get(&port)
            {
                let _ = socket.send_to(bytes, to);
            }
        });
    }

    /// When the next thing ends by itself.
    pub fn deadline(&self) -> Option<Instant> {
        let both = [self.carrier.deadline(), self.flows.deadline()];
        both.into_iter().flatten().min()
    }

    pub fn expire(&mut self, now: Instant) {
        self.carrier.expire(now);
        self.flows.expire(now);
    }
}

/// A kernel without SCTP, or without IPv6 where all of its addresses are meant, has nobody who could take the port.
fn nobody_can(at: SocketAddr, error: io::Error) -> io::Result<()> {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PROTONOSUPPORT) => Ok(()),
        Some(Errno::AFNOSUPPORT) if at.ip().is_unspecified() => Ok(()),
        _ => Err(error),
    }
}

/// Ends a connection so that its other end learns that nobody is here.
pub fn turn_away(stream: &std::net::TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_rules_cannot_lead_is_carried() {
        for (at, to, wanted) in [
            ("0.0.0.0:80", "10.0.0.2:80", Carries::Nobody),
            ("127.0.0.1:80", "10.0.0.2:80", Carries::Nobody),
            ("[::]:80", "10.0.0.2:80", Carries::Host),
            ("[::1]:80", "10.0.0.2:80", Carries::Host),
            ("0.0.0.0:80", "[fd00::2]:80", Carries::Host),
            ("[fd01::1]:80", "10.0.0.2:80", Carries::Host),
            ("[::]:80", "[fd00::2]:80", Carries::Loopback),
            ("[::1]:80", "[fd00::2]:80", Carries::Loopback),
            ("[fd01::1]:80", "[fd00::2]:80", Carries::Nobody),
        ] {
            let found = carries(at.parse().unwrap(), to.parse().unwrap());
            assert_eq!(found, wanted, "{at} {to}");
        }
    }

    #[test]
    fn of_the_hosts_own_are_those_that_ask_from_where_they_ask() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let (own, other) = (ip("fd99::1"), ip("fd99::2"));
        assert!(Carries::Host.takes(ip("::1"), None));
        assert!(Carries::Host.takes(own, Some(own)));
        assert!(!Carries::Host.takes(other, Some(own)));
        assert!(!Carries::Host.takes(other, None));
        assert!(!Carries::Loopback.takes(own, Some(own)));
        assert!(!Carries::Nobody.takes(ip("::1"), None));
    }
}
