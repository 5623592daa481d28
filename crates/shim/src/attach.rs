//! The private socket: attach to a process, reopen logs, get a container's root as a descriptor.
//!
//! One JSON object a packet, descriptors beside it; the request says which they are. A client that hangs up is detached; one that
//! gave a connection for all of its streams is when that connection is cut, whatever becomes of who asked for it.
//!
//! An engine of a newer release may ask: what is not known is refused by name, never skipped.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::Deserialize;

use crate::base64;
use crate::poll::{ClientKey, ProcessKey, Source};
use crate::shim::Shim;
use crate::stdio::{Bundle, Link, Streams};

/// The longest request, in bytes: one with 128 KiB of early input.
const MAX_REQUEST: usize = 180 * 1024;
const MAX_EARLY: usize = 128 * 1024;
/// As many descriptors as a request may carry.
const MAX_FDS: usize = 3;

#[derive(Debug)]
pub struct Client {
    /// `None`: who asked has gone, the connection that it gave has not.
    fd: Option<OwnedFd>,
    process: Option<ProcessKey>,
}

impl Client {
    pub fn new(fd: OwnedFd) -> Client {
        Client {
            fd: Some(fd),
            process: None,
        }
    }

    /// Whether the peer has not hung up: then a broken pipe is its reader's doing, not its own death.
    pub fn is_there(&self) -> bool {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        self.fd
            .as_ref()
            .is_some_and(|fd| !matches!(rustix::net::recv(fd, &mut [0u8; 1], flags), Ok((0, _))))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Attach(Attach),
    ReopenLogs(Named),
    Rootfs(Named),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attach {
    id: String,
    #[serde(default)]
    exec_id: String,
    #[serde(default)]
    stdin: bool,
    #[serde(default)]
    stdout: bool,
    #[serde(default)]
    stderr: bool,
    #[serde(default)]
    detach_keys: String,
    /// One connection for all streams, instead of a descriptor for each.
    #[serde(default)]
    socket: bool,
    /// Output in Docker's frames.
    #[serde(default)]
    framed: bool,
    /// Input that was read from the connection before, in base64.
    #[serde(default)]
    early: String,
    #[serde(default = "yes")]
    stdin_once: bool,
}

fn yes() -> bool {
    true
}

pub const DETACHED: &str = r#"{"detached":true}"#;
const OK: &str = r#"{"ok":true}"#;

impl Shim {
    pub fn serve_client(&mut self, key: ClientKey) {
        loop {
            let Some(client) = self.clients.get(&key) else {
                return;
            };
            let Some(fd) = &client.fd else { return };
            let (packet, fds) = match receive(fd.as_fd()) {
                Ok(Some(received)) => received,
                Err(Errno::AGAIN) => return,
                Ok(None) | Err(_) => return self.lose_client(key),
            };
            if let Err(reason) = self.answer_client(key, &packet, fds) {
                let text = serde_json::json!({ "error": reason }).to_string();
                return self.dismiss(key, &text);
            }
        }
    }

    fn answer_client(
        &mut self,
        key: ClientKey,
        packet: &[u8],
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let request: Request = serde_json::from_slice(packet)
            .map_err(|error| format!("request cannot be read: {error}"))?;
        match request {
            Request::Attach(attach) => self.attach(key, attach, fds),
            Request::ReopenLogs(named) => {
                let container = self.find(&named.id).map_err(|refusal| refusal.text)?;
                self.reopen_logs(container)?;
                self.tell(key, OK, None);
                Ok(())
            }
            Request::Rootfs(named) => {
                let container = self.find(&named.id).map_err(|refusal| refusal.text)?;
                let root = self.containers[&container].wall.rootfs();
                let root = root.map(OwnedFd::try_clone);
                let root = root
                    .ok_or("the container has no root to show")?
                    .map_err(|error| error.to_string())?;
                self.tell(key, OK, Some(root));
                Ok(())
            }
        }
    }

    fn attach(&mut self, key: ClientKey, attach: Attach, fds: Vec<OwnedFd>) -> Result<(), String> {
        if self.clients[&key].process.is_some() {
            return Err("this connection is attached already".into());
        }
        let process_key = self
            .find_process(&attach.id, &attach.exec_id)
            .map_err(|refusal| refusal.text)?;
        let bundle = bundle(attach, fds)?;
        let process = self
            .processes
            .get_mut(&process_key)
            .ok_or("no such process")?;
        if let Some(end) = process.end {
            if let Streams::Together(link, _) = bundle.streams {
                link.close();
            }
            self.tell(key, OK, None);
            self.dismiss(key, &exited(end.status));
            return Ok(());
        }
        let attached = process.io.attach(key, bundle);
        let watched = attached.and_then(|()| process.io.watch(process_key, &mut self.poll));
        if let Err(error) = watched {
            process.io.detach(key);
            return Err(format!("descriptors cannot be used: {error}"));
        }
        process.clients.push(key);
        if let Some(client) = self.clients.get_mut(&key) {
            client.process = Some(process_key);
        }
        self.tell(key, OK, None);
        // What is ready now made no event.
        self.again.push_back(Source::Input(process_key));
        Ok(())
    }

    fn reopen_logs(&mut self, container: crate::poll::ContainerKey) -> Result<(), String> {
        for process in self
            .processes
            .values_mut()
            .filter(|process| process.container == container)
        {
            process
                .io
                .reopen_logs()
                .map_err(|error| format!("reopen logs: {error}"))?;
        }
        Ok(())
    }

    /// Sends one packet; a client that does not read its few packets loses them.
    fn tell(&mut self, key: ClientKey, text: &str, fd: Option<OwnedFd>) {
        if let Some(Client { fd: Some(to), .. }) = self.clients.get(&key) {
            let _ = send(to.as_fd(), text, fd.as_ref().map(AsFd::as_fd));
        }
    }

    /// Sends the last packet and hangs up.
    pub fn dismiss(&mut self, key: ClientKey, text: &str) {
        self.tell(key, text, None);
        self.drop_client(key);
    }

    /// Who asked hung up.
    fn lose_client(&mut self, key: ClientKey) {
        let process = self.clients.get(&key).and_then(|client| client.process);
        let process = process.and_then(|process| self.processes.get(&process));
        if !process.is_some_and(|process| process.io.has_link(key)) {
            return self.drop_client(key);
        }
        self.poll.forget(|source| source == Source::Client(key));
        if let Some(client) = self.clients.get_mut(&key) {
            client.fd = None;
        }
    }

    fn drop_client(&mut self, key: ClientKey) {
        self.poll.forget(|source| source == Source::Client(key));
        let Some(client) = self.clients.remove(&key) else {
            return;
        };
        if let Some(process_key) = client.process
            && let Some(process) = self.processes.get_mut(&process_key)
        {
            process.io.detach(key);
            process.clients.retain(|other| *other != key);
            // It may have been the one that held the stream back.
            for index in 0..2 {
                self.again.push_back(Source::Output(process_key, index));
            }
        }
    }

    /// After the end of a process: lets each client go that has all of the output.
    pub fn release_clients(&mut self, key: ProcessKey) {
        let Some(process) = self.processes.get(&key) else {
            return;
        };
        let Some(end) = process.end else { return };
        let served: Vec<ClientKey> = process
            .clients
            .iter()
            .copied()
            .filter(|client| process.io.delivered(*client))
            .collect();
        for client in served {
            self.dismiss(client, &exited(end.status));
        }
    }
}

/// What a request and its descriptors mean.
fn bundle(attach: Attach, fds: Vec<OwnedFd>) -> Result<Bundle, String> {
    let wanted = [attach.stdin, attach.stdout, attach.stderr];
    let expected = if attach.socket {
        1
    } else {
        wanted.iter().filter(|wanted| **wanted).count()
    };
    if expected != fds.len() {
        let came = fds.len();
        return Err(format!(
            "{came} descriptors came with a request for {expected}"
        ));
    }
    let mut fds = fds.into_iter();
    let streams = if attach.socket {
        let early = base64::decode(&attach.early).filter(|early| early.len() <= MAX_EARLY);
        let early = early.ok_or("early must be base64 of 128 KiB at most")?;
        let fd = fds.next().ok_or("a descriptor is missing")?;
        let link = Link::new(fd, attach.framed, early)
            .map_err(|_| "the descriptor must be a stream socket")?;
        Streams::Together(link, wanted)
    } else if attach.framed || !attach.early.is_empty() {
        return Err("framed and early go with socket".into());
    } else {
        Streams::Apart(wanted.map(|wanted| if wanted { fds.next() } else { None }))
    };
    Ok(Bundle {
        streams,
        detach_keys: attach.detach_keys,
        stdin_once: attach.stdin_once,
    })
}

fn exited(status: u32) -> String {
    format!("{{\"exited\":{status}}}")
}

/// A packet's bytes and the descriptors beside them.
type Packet = (Vec<u8>, Vec<OwnedFd>);

/// One packet; `None` when the peer hung up or sent more than fits.
fn receive(fd: BorrowedFd<'_>) -> Result<Option<Packet>, Errno> {
    let peek = RecvFlags::DONTWAIT | RecvFlags::PEEK | RecvFlags::TRUNC;
    let (_, length) = rustix::net::recv(fd, &mut [0u8; 1], peek)?;
    let mut data = vec![0; length.clamp(1, MAX_REQUEST)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = rustix::net::recvmsg(fd, &mut [IoSliceMut::new(&mut data)], &mut control, flags)?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    let cut = message
        .flags
        .intersects(rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC);
    if message.bytes == 0 || cut {
        return Ok(None);
    }
    data.truncate(message.bytes);
    Ok(Some((data, fds)))
}

fn send(to: BorrowedFd<'_>, text: &str, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(to, &[IoSlice::new(text.as_bytes())], &mut control, flags).map(|_| ())
}
