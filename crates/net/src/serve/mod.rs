//! The one process of a node that stays: it answers names on the networks, holds published ports, and carries what the
//! kernel's rules cannot lead. It outlives the daemon that started it.
//!
//! Law: what it knows stands in files that somebody else writes; it writes none. One thread, one epoll; everything that comes
//! from a network is bounded in number, size and time.
//!
//! ```text
//! record     the files · control  which of them to read again
//! names      who may know what · packet  a question and its answer, as bytes
//! resolver   questions in, answers out · stream  the same over TCP
//! ports      what is held · carry  connections · flow  datagrams
//! poll, socket · privilege, filter  what is given away before a packet is read
//! ```

mod carry;
mod control;
mod filter;
mod flow;
mod names;
pub mod packet;
mod poll;
mod ports;
mod privilege;
mod record;
mod resolver;
mod socket;
mod stream;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::error::{Error, Result};
use control::{Command, Control};
use names::Names;
use poll::{Event, Kind, Poll};
use ports::Ports;
use record::{Endpoint, Network, Upstreams, is_id};
use resolver::Resolver;
use socket::Failure;

/// Where the daemon speaks to us, in our directory.
const DOOR: &str = "serve.sock";

struct Server {
    directory: PathBuf,
    poll: Poll,
    control: Control,
    names: Names,
    resolver: Resolver,
    ports: Ports,
}

/// Serves what stands in a directory until it is told to end; at once done when another process serves it.
pub fn serve(directory: &Path) -> Result<()> {
    let directory = std::fs::canonicalize(directory).map_err(|source| Error::Record {
        path: directory.to_owned(),
        source,
    })?;
    let null = privilege::nothing().map_err(Error::Poll)?;
    let Some(_lock) = lock(&directory)? else {
        return ready(true, &null);
    };
    privilege::leave_session();
    if let Err(error) = privilege::join_shims() {
        complain(&format!(
            "stays in the cgroup of whoever started it: {error}"
        ));
    }
    privilege::raise_limits();
    let mut poll = Poll::new().map_err(Error::Poll)?;
    let path = directory.join(DOOR);
    let control = Control::open(&mut poll, &path).map_err(|source| Error::Door { path, source })?;
    let mut server = Server {
        directory,
        poll,
        control,
        names: Names::default(),
        resolver: Resolver::default(),
        ports: Ports::default(),
    };
    privilege::drop_all()?;
    if !privilege::read_only_records(&server.directory)? {
        complain("this kernel has no Landlock: what root may read stays readable");
    }
    filter::load()?;
    let (failed, unsound) = server.read_all();
    for text in unsound {
        complain(&text);
    }
    for one in failed {
        let Failure {
            host_ip,
            host_port,
            protocol,
            error,
        } = one;
        complain(&format!("{host_ip} port {host_port}/{protocol}: {error}"));
    }
    ready(false, &null)?;
    server.run()
}

/// Holds the lock of a directory; None: somebody else does.
fn lock(directory: &Path) -> Result<Option<File>> {
    let path = directory.join("serve.lock");
    let failed = |source| Error::Record {
        path: path.clone(),
        source,
    };
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Says that the door is open, and lets go of whoever waits for that.
fn ready(already: bool, null: &File) -> Result<()> {
    let answer = json!({"ready": true, "already": already});
    let told = privilege::close_standard(null)
        .and_then(|mut asker| asker.write_all(format!("{answer}\n").as_bytes()));
    told.map_err(Error::Write)
}

/// A line for whoever keeps standard error.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "stockade-net: {text}");
}

impl Server {
    fn run(mut self) -> Result<()> {
        let mut events = Vec::new();
        loop {
            let now = Instant::now();
            let deadlines = [self.resolver.deadline(), self.ports.deadline()];
            let next = deadlines.into_iter().flatten().min();
            let timeout = next.map(|at| at.saturating_duration_since(now));
            self.poll.wait(&mut events, timeout).map_err(Error::Poll)?;
            for event in &events {
                if !self.on(*event) {
                    return Ok(());
                }
            }
            let now = Instant::now();
            if next.is_some_and(|at| at <= now) {
                self.resolver.expire(&mut self.poll, now);
                self.ports.expire(now);
            }
        }
    }

    /// Does what an event asks for; whether to go on.
    fn on(&mut self, event: Event) -> bool {
        let (poll, number) = (&mut self.poll, event.number);
        match event.kind {
            Kind::Control => self.control.on_control(poll),
            Kind::Told => return self.on_told(number),
            Kind::Asked => self.resolver.on_asked(poll, &mut self.names, number),
            Kind::Asker => {
                let event = (number, event.flags);
                self.resolver.on_asker(poll, &mut self.names, event);
            }
            Kind::Upstream => self.resolver.on_upstream(poll, number),
            Kind::Held => self.ports.on_held(poll, number),
            Kind::Client | Kind::Server => self.ports.carrier.on_end(poll, number),
            Kind::Flow => self.ports.on_flow(number),
        }
        true
    }

    /// Does what the daemon says; whether to go on.
    fn on_told(&mut self, number: u64) -> bool {
        let (lines, goes_on) = self.control.read(number);
        for line in lines {
            let command = match serde_json::from_str(&line) {
                Ok(command) => command,
                Err(error) => {
                    let answer = json!({"ok": false, "error": error.to_string(), "failed": []});
                    self.control.say(number, &answer);
                    continue;
                }
            };
            let (failed, unsound) = match command {
                Command::End(_) => {
                    self.control.say(number, &json!({"ok": true, "failed": []}));
                    return false;
                }
                Command::All(_) => self.read_all(),
                Command::Endpoint(id) => both(self.read_endpoint(&id)),
                Command::Network(id) => both(self.read_network(&id)),
                Command::Upstreams(_) => both(self.read_upstreams()),
            };
            let mut answer = json!({"ok": unsound.is_empty(), "failed": failed});
            if !unsound.is_empty() {
                answer["error"] = unsound.join("; ").into();
            }
            self.control.say(number, &answer);
        }
        if !goes_on {
            self.control.close(number);
        }
        true
    }

    /// Reads everything; what could not be taken, and what could not be read.
    fn read_all(&mut self) -> (Vec<Failure>, Vec<String>) {
        let (mut failed, mut unsound) = both(self.read_upstreams());
        let mut note = |(taken, read): (Vec<Failure>, Vec<String>)| {
            failed.extend(taken);
            unsound.extend(read);
        };
        let known: Vec<String> = self.names.networks().cloned().collect();
        for id in self.ids("networks", known) {
            note(both(self.read_network(&id)));
        }
        let known: Vec<String> = self.names.endpoints().cloned().collect();
        for id in self.ids("endpoints", known) {
            note(both(self.read_endpoint(&id)));
        }
        (failed, unsound)
    }

    /// The records of a kind: those that are known, so that a missing one is noticed, and those that are there.
    fn ids(&self, kind: &str, known: Vec<String>) -> Vec<String> {
        let mut ids = known;
        let entries = std::fs::read_dir(self.directory.join(kind));
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(id.filter(|id| is_id(id)).map(ToOwned::to_owned));
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn read_upstreams(&mut self) -> Result<Vec<Failure>> {
        let path = self.directory.join("upstreams.json");
        let upstreams: Upstreams = record::read(&path)?.unwrap_or_default();
        self.names.set_upstreams(&upstreams.servers);
        Ok(Vec::new())
    }

    fn read_network(&mut self, id: &str) -> Result<Vec<Failure>> {
        let network: Option<Network> = self.read("networks", id)?;
        let failed = self
            .resolver
            .set_network(&mut self.poll, id, network.as_ref());
        self.names.set_network(id, network);
        Ok(failed)
    }

    fn read_endpoint(&mut self, id: &str) -> Result<Vec<Failure>> {
        let endpoint: Option<Endpoint> = self.read("endpoints", id)?;
        let ends = endpoint.iter().flat_map(|endpoint| &endpoint.ends);
        let ports: Vec<_> = ends.flat_map(|end| end.ports.iter().cloned()).collect();
        let failed = self.ports.set(&mut self.poll, id, &ports);
        self.names.set_endpoint(id, endpoint);
        Ok(failed)
    }

    fn read<T: DeserializeOwned>(&self, kind: &str, id: &str) -> Result<Option<T>> {
        if !is_id(id) {
            return Err(Error::Usage(format!("{id:?} is no id")));
        }
        record::read(&self.directory.join(kind).join(format!("{id}.json")))
    }
}

/// What could not be taken, and the sentence of a record that could not be read.
fn both(read: Result<Vec<Failure>>) -> (Vec<Failure>, Vec<String>) {
    match read {
        Ok(failed) => (failed, Vec::new()),
        Err(error) => (Vec::new(), vec![causes::told(&error)]),
    }
}
