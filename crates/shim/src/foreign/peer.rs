//! Another shim, which this one asks as an engine would: containerd's bootstrap, then the Task service over ttrpc.
//!
//! It hears of its children's ends; this shim sees them by pidfd and asks it how they ended. The streams between the two are
//! this shim's pipes, named by their descriptors in /proc, where the other expects FIFOs.

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use prost::Message;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::Deserialize;

use super::console::Console;
use super::run::{PATIENCE, ask, refused};
use super::{Order, Started, started};
use crate::api::containerd::runc::v1::Options as RuncOptions;
use crate::api::containerd::task::v3 as task;
use crate::api::google::protobuf::Any;
use crate::exits::gone_within;
use crate::stdio::ChildEnds;
use crate::ttrpc::{self, Code, Decoder, Incoming, Refusal};

const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// How long it may take to leave. It would wait for its events to be taken, and this shim has its hands full.
const LEAVE: Duration = Duration::from_millis(50);
const PID_FILE: &str = "shim.pid";
const RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

#[derive(Debug)]
pub struct Peer {
    id: String,
    wire: RefCell<Wire>,
    /// The other shim itself; it holds no container but this one.
    pidfd: Option<OwnedFd>,
    socket: PathBuf,
}

/// One connection, one question at a time.
#[derive(Debug)]
struct Wire {
    program: PathBuf,
    service: &'static str,
    fd: OwnedFd,
    decoder: Decoder,
    stream: u32,
}

/// What `start` answers from containerd 2 on; before it was the bare address.
#[derive(Deserialize)]
struct Bootstrap {
    version: u32,
    address: String,
}

impl Peer {
    /// Starts the shim in `directory`, where its config.json lies, and has it make the container.
    pub fn create(
        program: &Path,
        directory: &Path,
        order: &Order<'_>,
        ends: Option<ChildEnds>,
    ) -> Result<(Peer, Started), Refusal> {
        let (wire, socket) = Wire::open(program, directory, order)?;
        let mut peer = Peer {
            id: order.id.into(),
            wire: RefCell::new(wire),
            pidfd: None,
            socket,
        };
        peer.note_pid(directory)?;
        let names = Names::of(ends.as_ref(), order.terminal);
        let request = task::CreateTaskRequest {
            id: peer.id.clone(),
            bundle: directory.display().to_string(),
            terminal: order.terminal,
            stdin: names.stdin,
            stdout: names.stdout,
            stderr: names.stderr,
            options: options(order),
            ..task::CreateTaskRequest::default()
        };
        let created = peer.call::<task::CreateTaskResponse>("Create", &request);
        let created = created.and_then(|answer| started(answer.pid as i32, None));
        drop(ends);
        match created {
            Ok(started) => Ok((peer, started)),
            Err(refusal) => {
                let _ = peer.delete();
                Err(refusal)
            }
        }
    }

    /// Writes down who is to be killed when this shim was.
    fn note_pid(&mut self, directory: &Path) -> Result<(), Refusal> {
        let id = self.id.clone();
        let answer = self.call::<task::ConnectResponse>("Connect", &task::ConnectRequest { id })?;
        self.pidfd = Pid::from_raw(answer.shim_pid as i32)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        std::fs::write(directory.join(PID_FILE), answer.shim_pid.to_string())
            .map_err(|error| Refusal::new(Code::Unknown, format!("write the shim's pid: {error}")))
    }

    /// Starts init, or an added process; its pid.
    pub fn start(&self, exec_id: &str) -> Result<u32, Refusal> {
        let request = task::StartRequest {
            id: self.id.clone(),
            exec_id: exec_id.into(),
        };
        self.call::<task::StartResponse>("Start", &request)
            .map(|answer| answer.pid)
    }

    pub fn exec(
        &self,
        exec_id: &str,
        process: Vec<u8>,
        terminal: bool,
        ends: Option<ChildEnds>,
    ) -> Result<Started, Refusal> {
        let names = Names::of(ends.as_ref(), terminal);
        let request = task::ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec_id.into(),
            terminal,
            stdin: names.stdin,
            stdout: names.stdout,
            stderr: names.stderr,
            spec: Some(any(PROCESS, process)),
        };
        self.call::<()>("Exec", &request)?;
        let begun = self.start(exec_id);
        if begun.is_err() {
            self.forget(exec_id);
        }
        let pid = begun? as i32;
        // A short one may have ended; how, is asked next.
        started(pid, None).or(Ok(Started {
            pid,
            pidfd: None,
            console: None,
        }))
    }

    /// How a process ended that has ended, as a shell counts.
    pub fn ended(&self, exec_id: &str) -> Result<u32, Refusal> {
        let request = task::WaitRequest {
            id: self.id.clone(),
            exec_id: exec_id.into(),
        };
        let answer = self.call::<task::WaitResponse>("Wait", &request)?;
        if !exec_id.is_empty() {
            self.forget(exec_id);
        }
        Ok(answer.exit_status)
    }

    fn forget(&self, exec_id: &str) {
        let request = task::DeleteRequest {
            id: self.id.clone(),
            exec_id: exec_id.into(),
        };
        // It holds some memory there, nothing else.
        let _ = self.call::<task::DeleteResponse>("Delete", &request);
    }

    pub fn kill(&self, exec_id: &str, signal: i32, all: bool) -> Result<(), Refusal> {
        let request = task::KillRequest {
            id: self.id.clone(),
            exec_id: exec_id.into(),
            signal: signal as u32,
            all,
        };
        self.call("Kill", &request)
    }

    pub fn resize(&self, exec_id: &str, (width, height): (u32, u32)) -> Result<(), Refusal> {
        let request = task::ResizePtyRequest {
            id: self.id.clone(),
            exec_id: exec_id.into(),
            width,
            height,
        };
        self.call("ResizePty", &request)
    }

    /// Its end of a process's input is to be closed too.
    pub fn close_input(&self, exec_id: &str) -> Result<(), Refusal> {
        let request = task::CloseIoRequest {
            id: self.id.clone(),
            exec_id: exec_id.into(),
            stdin: true,
        };
        self.call("CloseIO", &request)
    }

    pub fn pause(&self) -> Result<(), Refusal> {
        let id = self.id.clone();
        self.call("Pause", &task::PauseRequest { id })
    }

    pub fn resume(&self) -> Result<(), Refusal> {
        let id = self.id.clone();
        self.call("Resume", &task::ResumeRequest { id })
    }

    pub fn update(&self, resources: &[u8]) -> Result<(), Refusal> {
        let request = task::UpdateTaskRequest {
            id: self.id.clone(),
            resources: Some(any(RESOURCES, resources.to_vec())),
            ..task::UpdateTaskRequest::default()
        };
        self.call("Update", &request)
    }

    /// Has the container taken away, and the other shim leave.
    pub fn delete(&self) -> Result<(), Refusal> {
        let request = task::DeleteRequest {
            id: self.id.clone(),
            exec_id: String::new(),
        };
        let deleted = self.call::<task::DeleteResponse>("Delete", &request);
        let request = task::ShutdownRequest {
            id: self.id.clone(),
            now: deleted.is_err(),
        };
        // Some leave without a word, and some wait for whom they told of events.
        let _ = self.call::<()>("Shutdown", &request);
        if let Some(pidfd) = &self.pidfd
            && !gone_within(pidfd, LEAVE)
            && rustix::process::pidfd_send_signal(pidfd, Signal::KILL).is_ok()
        {
            gone_within(pidfd, LEAVE);
            let _ = std::fs::remove_file(&self.socket);
        }
        match deleted {
            Err(refusal) if refusal.code != Code::NotFound => Err(refusal),
            _ => Ok(()),
        }
    }

    fn call<T: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<T, Refusal> {
        self.wire.borrow_mut().call(method, request)
    }
}

impl Wire {
    /// Starts the shim and connects to its socket; also the path of that.
    fn open(
        program: &Path,
        directory: &Path,
        order: &Order<'_>,
    ) -> Result<(Wire, PathBuf), Refusal> {
        let mut command = Command::new(program);
        command
            .args([
                "-namespace",
                order.namespace,
                "-id",
                order.id,
                "-address",
                "",
                "-publish-binary",
                "",
                "start",
            ])
            .current_dir(directory)
            .env("TTRPC_ADDRESS", order.events);
        let log = directory.join("log");
        std::fs::write(&log, "").map_err(|error| refused(program, &error.to_string()))?;
        let (status, said) = ask(program, command)?;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        if !status.success() {
            return Err(refused(program, &format!("did not start: {said}")));
        }
        let told = match serde_json::from_str::<Bootstrap>(&said) {
            Ok(told) => told,
            Err(_) => Bootstrap {
                version: 2,
                address: said,
            },
        };
        let Some(path) = told.address.strip_prefix("unix://") else {
            return Err(refused(
                program,
                &format!("answered {:?} instead of an address", told.address),
            ));
        };
        let fd =
            connect(path).map_err(|error| refused(program, &format!("connect {path}: {error}")))?;
        let wire = Wire {
            program: program.to_owned(),
            service: if told.version < 3 {
                "containerd.task.v2.Task"
            } else {
                "containerd.task.v3.Task"
            },
            fd,
            decoder: Decoder::default(),
            stream: 1,
        };
        Ok((wire, path.into()))
    }

    fn call<T: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
    ) -> Result<T, Refusal> {
        let (stream, deadline) = (self.stream, Instant::now() + PATIENCE);
        self.stream += 2;
        let mut frame = Vec::new();
        ttrpc::ask(
            &mut frame,
            stream,
            self.service,
            method,
            request.encode_to_vec(),
        );
        let failed = |error: Errno| refused(&self.program, &format!("{method}: {error}"));
        send(&self.fd, &frame, deadline).map_err(failed)?;
        loop {
            let next = self
                .decoder
                .next()
                .map_err(|error| refused(&self.program, &error.to_string()))?;
            match next {
                Some(Incoming::Response {
                    stream: of,
                    response,
                }) if of == stream => {
                    let status = response.status.unwrap_or_default();
                    if status.code != 0 {
                        return Err(Refusal::new(code(status.code), status.message));
                    }
                    return T::decode(&*response.payload)
                        .map_err(|error| refused(&self.program, &error.to_string()));
                }
                Some(_) => continue,
                None => {}
            }
            let mut chunk = vec![0; 16 << 10];
            let count = receive(&self.fd, &mut chunk, deadline)
                .map_err(|error| refused(&self.program, &format!("{method}: {error}")))?;
            self.decoder.push(&chunk[..count]);
        }
    }
}

fn code(number: i32) -> Code {
    let known = [
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Unimplemented,
        Code::Unavailable,
    ];
    known
        .into_iter()
        .find(|code| *code as i32 == number)
        .unwrap_or(Code::Unknown)
}

fn connect(path: &str) -> Result<OwnedFd, Errno> {
    let fd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::connect(&fd, &SocketAddrUnix::new(path)?)?;
    Ok(fd)
}

fn send(fd: &OwnedFd, mut bytes: &[u8], deadline: Instant) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::AGAIN) => until(fd, PollFlags::OUT, deadline)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn receive(fd: &OwnedFd, chunk: &mut [u8], deadline: Instant) -> Result<usize, Errno> {
    loop {
        match rustix::net::recv(fd, &mut *chunk, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Errno::CONNRESET),
            Ok((count, _)) => return Ok(count),
            Err(Errno::AGAIN) => until(fd, PollFlags::IN, deadline)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn until(fd: &OwnedFd, what: PollFlags, deadline: Instant) -> Result<(), Errno> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(
        &mut [PollFd::from_borrowed_fd(fd.as_fd(), what)],
        Some(&timeout),
    ) {
        Ok(0) => Err(Errno::TIMEDOUT),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The streams' names for the other shim.
#[derive(Default)]
struct Names {
    stdin: String,
    stdout: String,
    stderr: String,
}

impl Names {
    fn of(ends: Option<&ChildEnds>, terminal: bool) -> Names {
        let Some(ends) = ends else {
            return Names::default();
        };
        let name = |fd: &OwnedFd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
        Names {
            stdin: name(&ends.stdin),
            stdout: name(&ends.stdout),
            stderr: if terminal {
                String::new()
            } else {
                name(&ends.stderr)
            },
        }
    }
}

/// The options that it is to have too.
fn options(order: &Order<'_>) -> Option<Any> {
    let ours = order.options;
    let options = RuncOptions {
        no_pivot_root: ours.no_pivot_root,
        no_new_keyring: ours.no_new_keyring,
        io_uid: ours.io.0,
        io_gid: ours.io.1,
        ..RuncOptions::default()
    };
    let value = options.encode_to_vec();
    (!value.is_empty()).then(|| any("containerd.runc.v1.Options", value))
}

fn any(kind: &str, value: Vec<u8>) -> Any {
    Any {
        type_url: kind.into(),
        value,
    }
}

/// Ends a shim whose container nobody asks for any more, and has its program take away the rest.
pub fn clean(program: &Path, place: &Path, id: &str, namespace: &str) {
    kill(place, id);
    // It wants somebody to tell of events before it does anything.
    let Ok(listener) = Console::listen(place) else {
        return;
    };
    let mut command = Command::new(program);
    command
        .args([
            "-namespace",
            namespace,
            "-id",
            id,
            "-address",
            "",
            "-bundle",
        ])
        .arg(place)
        .arg("delete")
        .current_dir(place)
        .env("TTRPC_ADDRESS", listener.path());
    // What it leaves, the cgroup's end takes along.
    let _ = ask(program, command);
}

/// Kills the shim whose pid stands in `place`, if the pid still means it.
fn kill(place: &Path, id: &str) {
    const GONE: Duration = Duration::from_secs(2);
    let pid = std::fs::read_to_string(place.join(PID_FILE)).ok();
    let pid = pid.and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
    let Some(pidfd) =
        pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok())
    else {
        return;
    };
    let words = std::fs::read(format!("/proc/{}/cmdline", pid.map_or(0, Pid::as_raw_pid)));
    let is_it = words.is_ok_and(|words| {
        words
            .split(|byte| *byte == 0)
            .any(|word| word == id.as_bytes())
    });
    if is_it && rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).is_ok() {
        gone_within(&pidfd, GONE);
    }
}
