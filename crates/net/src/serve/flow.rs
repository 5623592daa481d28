//! Datagrams that are carried: each sender has a socket of its own to the container, until neither says anything.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::SocketType;

use super::poll::{Flags, Kind, Poll};
use super::socket;

const MOST: usize = 512;
const SILENCE: Duration = Duration::from_secs(60);
/// Answers of one container that are taken before the others have their turn.
const AT_ONCE: usize = 32;

/// The port that a sender sends to, by its number, and the sender.
type Sender = (u64, SocketAddr);

#[derive(Default)]
pub struct Flows {
    flows: HashMap<u64, Flow>,
    by_sender: HashMap<Sender, u64>,
}

struct Flow {
    sender: Sender,
    socket: UdpSocket,
    until: Instant,
}

impl Flows {
    /// Sends a datagram on; what cannot be sent is lost, as datagrams are.
    pub fn carry(&mut self, poll: &mut Poll, sender: Sender, to: SocketAddr, bytes: &[u8]) {
        let number = match self.by_sender.get(&sender) {
            Some(&number) => number,
            None => match self.begin(poll, sender, to) {
                Ok(number) => number,
                Err(_) => return,
            },
        };
        if let Some(flow) = self.flows.get_mut(&number) {
            flow.until = Instant::now() + SILENCE;
            let _ = flow.socket.send(bytes);
        }
    }

    fn begin(&mut self, poll: &mut Poll, sender: Sender, to: SocketAddr) -> std::io::Result<u64> {
        if self.flows.len() >= MOST {
            let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.until);
            if let Some(number) = oldest.map(|(number, _)| *number) {
                self.end(number);
            }
        }
        let socket = UdpSocket::from(socket::connected(to, SocketType::DGRAM)?);
        let number = poll.number();
        poll.watch(&socket, Kind::Flow, number, Flags::IN)?;
        let flow = Flow {
            sender,
            socket,
            until: Instant::now() + SILENCE,
        };
        self.flows.insert(number, flow);
        self.by_sender.insert(sender, number);
        Ok(number)
    }

    fn end(&mut self, number: u64) {
        if let Some(flow) = self.flows.remove(&number) {
            self.by_sender.remove(&flow.sender);
        }
    }

    /// Ends all of a port.
    pub fn end_of(&mut self, port: u64) {
        self.flows.retain(|_, flow| flow.sender.0 != port);
        self.by_sender.retain(|sender, _| sender.0 != port);
    }

    /// Takes a container's answers; `give` sends one back: by which port, to whom.
    pub fn on_flow(&mut self, number: u64, mut give: impl FnMut(u64, SocketAddr, &[u8])) {
        let Some(flow) = self.flows.get_mut(&number) else {
            return;
        };
        let mut buffer = [0; 1 << 16];
        for _ in 0..AT_ONCE {
            match flow.socket.recv(&mut buffer) {
                Ok(length) => {
                    flow.until = Instant::now() + SILENCE;
                    give(flow.sender.0, flow.sender.1, &buffer[..length]);
                }
                Err(error) if socket::is_later(&error) => return,
                // Nobody listens in the container, now; the error is taken by having been told.
                Err(_) => {}
            }
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.flows.values().map(|flow| flow.until).min()
    }

    pub fn expire(&mut self, now: Instant) {
        let over = self.flows.iter().filter(|(_, flow)| flow.until <= now);
        let over: Vec<u64> = over.map(|(number, _)| *number).collect();
        over.into_iter().for_each(|number| self.end(number));
    }
}
