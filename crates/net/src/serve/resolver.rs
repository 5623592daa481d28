//! Names, asked by containers: by UDP and TCP, on the host's addresses of each network.
//!
//! A question of ours is answered at once. Another one goes on as it came, with a number and a port that nobody can guess,
//! by the protocol that it came by; the answer goes back as it came. Everything that waits has a limit and an end.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::SocketType;

use super::names::{Decision, Names};
use super::packet::{self, Code, Unsound};
use super::poll::{Flags, Kind, Poll};
use super::record::{DNS, Network};
use super::socket::{self, Failure, is_later};
use super::stream::{Progress, Stream};

/// How long a server has for its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a question goes out, to as many servers.
const TRIES: usize = 3;
/// How many questions are on their way: of all, of one asker.
const MOST: usize = 1024;
const MOST_OF_ONE: u32 = 128;
/// Connections of askers: of all, of one; how long one may be silent.
const CONNECTIONS: usize = 256;
const CONNECTIONS_OF_ONE: usize = 32;
const SILENCE: Duration = Duration::from_secs(10);
/// A question is no longer than this.
const QUESTION: usize = 4096;
/// Questions of one socket that are taken before the others have their turn.
const AT_ONCE: usize = 32;

#[derive(Default)]
pub struct Resolver {
    listeners: HashMap<u64, Listener>,
    askers: HashMap<u64, Asker>,
    waiting: HashMap<u64, Waiting>,
    /// The ends of all that waits, in order; what was answered is passed over.
    ends: VecDeque<(Instant, u64)>,
    of_one: HashMap<IpAddr, u32>,
}

struct Listener {
    network: String,
    address: IpAddr,
    socket: Socket,
}

enum Socket {
    Datagrams(UdpSocket),
    Connections(TcpListener),
}

impl Socket {
    fn protocol(&self) -> &'static str {
        match self {
            Socket::Datagrams(_) => "udp",
            Socket::Connections(_) => "tcp",
        }
    }
}

/// An asker's connection; one question of it at a time.
struct Asker {
    stream: Stream,
    network: String,
    source: IpAddr,
    /// Whether its question is on its way.
    waits: bool,
    until: Instant,
}

/// Where an answer goes.
#[derive(Clone, Copy)]
enum Back {
    Datagram { listener: u64, to: SocketAddr },
    Connection(u64),
}

/// A question on its way to a server.
struct Waiting {
    question: Question,
    id: [u8; 2],
    way: Way,
}

struct Question {
    back: Back,
    source: IpAddr,
    bytes: Vec<u8>,
    servers: Vec<SocketAddr>,
    tried: usize,
    /// The last thing that a server said, if none says better.
    said: Option<Vec<u8>>,
}

enum Way {
    Datagram(UdpSocket),
    Connection(Stream),
}

impl Resolver {
    /// Listens for a network, or not any more; what cannot be listened at is the answer.
    pub fn set_network(
        &mut self,
        poll: &mut Poll,
        id: &str,
        network: Option<&Network>,
    ) -> Vec<Failure> {
        let wanted = network.map_or(&[][..], |network| &network.listen);
        self.listeners
            .retain(|_, one| one.network != id || wanted.contains(&one.address));
        let mut failed = Vec::new();
        for &address in wanted {
            for protocol in ["udp", "tcp"] {
                let stands = self.listeners.values().any(|one| {
                    one.address == address && one.network == id && one.socket.protocol() == protocol
                });
                if !stands && let Err(error) = self.listen(poll, id, address, protocol) {
                    let address = SocketAddr::new(address, DNS);
                    failed.push(Failure::new(address, protocol, &error));
                }
            }
        }
        failed
    }

    fn listen(
        &mut self,
        poll: &mut Poll,
        id: &str,
        address: IpAddr,
        protocol: &str,
    ) -> io::Result<()> {
        let number = poll.number();
        let at = SocketAddr::new(address, DNS);
        let socket = if protocol == "udp" {
            let socket = UdpSocket::from(socket::bound(at, SocketType::DGRAM, None)?);
            poll.watch(&socket, Kind::Asked, number, Flags::IN)?;
            Socket::Datagrams(socket)
        } else {
            let socket = TcpListener::from(socket::listening(at)?);
            poll.watch(&socket, Kind::Asked, number, Flags::IN)?;
            Socket::Connections(socket)
        };
        let listener = Listener {
            network: id.to_owned(),
            address,
            socket,
        };
        self.listeners.insert(number, listener);
        Ok(())
    }

    /// Something came where names are asked.
    pub fn on_asked(&mut self, poll: &mut Poll, names: &mut Names, number: u64) {
        let mut buffer = [0; QUESTION];
        for _ in 0..AT_ONCE {
            let Some(listener) = self.listeners.get(&number) else {
                return;
            };
            match &listener.socket {
                Socket::Datagrams(socket) => match socket.recv_from(&mut buffer) {
                    Ok((length, from)) => {
                        let network = listener.network.clone();
                        let back = Back::Datagram {
                            listener: number,
                            to: from,
                        };
                        let bytes = &buffer[..length];
                        self.question(poll, names, &network, (back, from.ip()), bytes);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    // An answer that did not reach its asker.
                    Err(_) => {}
                },
                Socket::Connections(socket) => match socket.accept() {
                    Ok((stream, from)) => {
                        let network = listener.network.clone();
                        let _ = self.admit(poll, stream, from.ip(), network);
                    }
                    Err(_) => return,
                },
            }
        }
    }

    fn admit(
        &mut self,
        poll: &mut Poll,
        stream: TcpStream,
        source: IpAddr,
        network: String,
    ) -> io::Result<()> {
        let same = self.askers.values().filter(|one| one.source == source);
        if self.askers.len() >= CONNECTIONS || same.count() >= CONNECTIONS_OF_ONE {
            return Ok(());
        }
        stream.set_nonblocking(true)?;
        let number = poll.number();
        poll.watch(&stream, Kind::Asker, number, Flags::IN)?;
        let asker = Asker {
            stream: Stream::new(stream, QUESTION),
            network,
            source,
            waits: false,
            until: Instant::now() + SILENCE,
        };
        self.askers.insert(number, asker);
        Ok(())
    }

    /// A connection of an asker can be read or written.
    pub fn on_asker(&mut self, poll: &mut Poll, names: &mut Names, (number, flags): (u64, Flags)) {
        if flags.intersects(Flags::ERR | Flags::HUP) {
            self.askers.remove(&number);
        }
        loop {
            let Some(asker) = self.askers.get_mut(&number) else {
                return;
            };
            match asker.stream.go_on(!asker.waits) {
                Ok(Progress::Message(bytes)) => {
                    asker.waits = true;
                    asker.until = Instant::now() + SILENCE;
                    let (network, source) = (asker.network.clone(), asker.source);
                    let back = Back::Connection(number);
                    self.question(poll, names, &network, (back, source), &bytes);
                }
                Ok(Progress::Later) => {
                    let flags = asker.stream.interest(!asker.waits);
                    if poll
                        .change(asker.stream.socket(), Kind::Asker, number, flags)
                        .is_ok()
                    {
                        return;
                    }
                    self.askers.remove(&number);
                }
                Ok(Progress::End) | Err(_) => drop(self.askers.remove(&number)),
            }
        }
    }

    fn question(
        &mut self,
        poll: &mut Poll,
        names: &mut Names,
        network: &str,
        (back, source): (Back, IpAddr),
        bytes: &[u8],
    ) {
        let query = match packet::parse(bytes) {
            Ok(query) => query,
            Err(Unsound::Answer(answer)) => return self.answer(poll, back, &answer),
            Err(Unsound::Silent) => return self.silence(back),
        };
        let limit = match back {
            Back::Datagram { .. } => query.limit(),
            Back::Connection(_) => usize::from(u16::MAX),
        };
        let (code, records) = match names.decide(network, source, &query) {
            Decision::Known(records) => (Code::Fine, records),
            Decision::Forward(servers) if self.has_room(source) => {
                *self.of_one.entry(source).or_default() += 1;
                let question = Question {
                    back,
                    source,
                    bytes: bytes.to_vec(),
                    servers,
                    tried: 0,
                    said: None,
                };
                return self.forward(poll, question);
            }
            Decision::Forward(_) | Decision::Fail => (Code::Failed, Vec::new()),
            Decision::Refuse => (Code::Refused, Vec::new()),
        };
        let answer = query.answer(code, &records, limit);
        self.answer(poll, back, &answer);
    }

    fn has_room(&self, source: IpAddr) -> bool {
        let own = self.of_one.get(&source).copied().unwrap_or(0);
        self.waiting.len() < MOST && own < MOST_OF_ONE
    }

    /// Sends a question to the next server that can be reached; without one it has failed.
    fn forward(&mut self, poll: &mut Poll, mut question: Question) {
        let tries = TRIES.max(question.servers.len().min(TRIES + 1));
        while question.tried < tries {
            let server = question.servers[question.tried % question.servers.len()];
            question.tried += 1;
            let number = poll.number();
            match send(poll, number, &question, server) {
                Ok((id, way)) => {
                    let waiting = Waiting { question, id, way };
                    self.waiting.insert(number, waiting);
                    if self.ends.len() > 4 * MOST {
                        let waiting = &self.waiting;
                        self.ends.retain(|(_, number)| waiting.contains_key(number));
                    }
                    self.ends.push_back((Instant::now() + PATIENCE, number));
                    return;
                }
                Err(_) => continue,
            }
        }
        self.settle(poll, question);
    }

    /// Gives the asker what was said last, or that nobody said anything.
    fn settle(&mut self, poll: &mut Poll, mut question: Question) {
        if let Some(count) = self.of_one.get_mut(&question.source) {
            *count -= 1;
            if *count == 0 {
                self.of_one.remove(&question.source);
            }
        }
        let said = question.said.take().or_else(|| {
            let query = packet::parse(&question.bytes).ok()?;
            Some(query.answer(Code::Failed, &[], packet::PLAIN))
        });
        if let Some(mut said) = said
            && let Some(id) = said.get_mut(..2)
        {
            id.copy_from_slice(&question.bytes[..2]);
            self.answer(poll, question.back, &said);
        }
    }

    /// A server answered, or cannot be reached.
    pub fn on_upstream(&mut self, poll: &mut Poll, number: u64) {
        let Some(waiting) = self.waiting.get_mut(&number) else {
            return;
        };
        let mut buffer = [0; 1 << 14];
        let came = match &mut waiting.way {
            Way::Datagram(socket) => match socket.recv(&mut buffer) {
                Ok(length) => Ok(Some(buffer[..length].to_vec())),
                Err(error) if is_later(&error) => Ok(None),
                Err(error) => Err(error),
            },
            Way::Connection(stream) => match stream.go_on(true) {
                Ok(Progress::Message(bytes)) => Ok(Some(bytes)),
                Ok(Progress::Later) => {
                    let flags = stream.interest(true);
                    poll.change(stream.socket(), Kind::Upstream, number, flags)
                        .map(|()| None)
                }
                Ok(Progress::End) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => Err(error),
            },
        };
        let asked = packet::parse(&waiting.question.bytes);
        let fits = |answer: &[u8]| {
            asked.is_ok_and(|asked| packet::is_answer(answer, waiting.id, asked.question))
        };
        let bad = match came {
            // Somebody else's, or an old one's: the right one may still come.
            Ok(Some(answer)) if !fits(&answer) => return,
            Ok(Some(answer)) => {
                let bad = packet::is_failure(&answer);
                waiting.question.said = Some(answer);
                bad
            }
            Ok(None) => return,
            Err(_) => true,
        };
        if let Some(Waiting { question, .. }) = self.waiting.remove(&number) {
            if bad && question.tried < question.servers.len() {
                self.forward(poll, question);
            } else {
                self.settle(poll, question);
            }
        }
    }

    fn answer(&mut self, poll: &mut Poll, back: Back, answer: &[u8]) {
        match back {
            Back::Datagram { listener, to } => {
                if let Some(Listener {
                    socket: Socket::Datagrams(socket),
                    ..
                }) = self.listeners.get(&listener)
                {
                    // As with every datagram, it may get lost.
                    let _ = socket.send_to(answer, to);
                }
            }
            Back::Connection(number) => {
                let Some(asker) = self.askers.get_mut(&number) else {
                    return;
                };
                asker.waits = false;
                asker.until = Instant::now() + SILENCE;
                asker.stream.put(answer);
                // It goes out when its turn comes, and with it the next question comes in.
                let flags = Flags::OUT;
                if poll
                    .change(asker.stream.socket(), Kind::Asker, number, flags)
                    .is_err()
                {
                    self.askers.remove(&number);
                }
            }
        }
    }

    fn silence(&mut self, back: Back) {
        if let Back::Connection(number) = back {
            self.askers.remove(&number);
        }
    }

    /// When the next thing ends by itself.
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = self.ends.front().map(|(at, _)| *at);
        let silent = self.askers.values().map(|asker| asker.until).min();
        waiting.into_iter().chain(silent).min()
    }

    /// Ends what has waited for too long.
    pub fn expire(&mut self, poll: &mut Poll, now: Instant) {
        while let Some(&(at, number)) = self.ends.front() {
            let waits = self.waiting.contains_key(&number);
            if waits && at > now {
                break;
            }
            self.ends.pop_front();
            if let Some(Waiting { question, .. }) = self.waiting.remove(&number) {
                self.forward(poll, question);
            }
        }
        self.askers.retain(|_, asker| asker.until > now);
    }
}

/// Sends a question as it came, but for its number.
fn send(
    poll: &Poll,
    number: u64,
    question: &Question,
    server: SocketAddr,
) -> io::Result<([u8; 2], Way)> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    let mut bytes = question.bytes.clone();
    bytes[..2].copy_from_slice(&id);
    let way = match question.back {
        Back::Datagram { .. } => {
            let socket = UdpSocket::from(socket::connected(server, SocketType::DGRAM)?);
            socket.send(&bytes)?;
            poll.watch(&socket, Kind::Upstream, number, Flags::IN)?;
            Way::Datagram(socket)
        }
        Back::Connection(_) => {
            let socket = TcpStream::from(socket::connected(server, SocketType::STREAM)?);
            let mut stream = Stream::new(socket, usize::from(u16::MAX));
            stream.put(&bytes);
            poll.watch(
                stream.socket(),
                Kind::Upstream,
                number,
                Flags::IN | Flags::OUT,
            )?;
            Way::Connection(stream)
        }
    };
    Ok((id, way))
}
