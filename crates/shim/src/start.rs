//! `start`: sockets, a server that holds them, and its address on standard output.
//!
//! The sockets exist before the server runs: whoever reads the address can connect at once, and waits in the backlog.

use std::ffi::{CString, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use prost::Message;
use rustix::fs::{Mode, OFlags};
use rustix::net::SocketType;
use serde::Deserialize;
use sys::{Spawned, StringVector};

use crate::api::containerd::runtime::bootstrap::v1::{BootstrapParams, BootstrapResult};
use crate::args::{ATTACH_LISTENER, Shim, TTRPC_LISTENER};
use crate::record::replace;
use crate::socket::{self, Sockets};

/// Names the directory of a cgroup (version 2) in which the server is born; else that is its caller's.
const CGROUP: &str = "STOCKADE_SHIM_CGROUP";
/// What a caller may send on standard input, in bytes.
const MAX_PARAMS: u64 = 1 << 20;
/// containers with the same value of this annotation share a shim, as with containerd's own.
const GROUP: &str = "io.kubernetes.cri.sandbox-id";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Socket(#[from] socket::Error),
    #[error("read standard input")]
    Input(#[source] io::Error),
    #[error("write the address")]
    Output(#[source] io::Error),
    #[error("read {path}")]
    Config {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("seal the program")]
    Seal(#[source] jail::Error),
    #[error("start the server")]
    Server(#[source] io::Error),
    #[error("start the server in the cgroup {path}")]
    Cgroup {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("write {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// How the caller wants to be answered, and what it told.
#[derive(Debug, PartialEq)]
enum Bootstrap {
    /// Up to containerd 2.2: the bare address.
    Bare,
    /// From 2.3 on, messages on standard input and output.
    Params(Box<BootstrapParams>),
}

impl Bootstrap {
    /// Recognises parameters by the id and the namespace that the arguments name too: older callers send other messages.
    fn read(input: &[u8], args: &Shim) -> Bootstrap {
        match BootstrapParams::decode(input) {
            Ok(params) if params.instance_id == args.id && params.namespace == args.namespace => {
                Bootstrap::Params(Box::new(params))
            }
            _ => Bootstrap::Bare,
        }
    }

    fn answer(&self, address: String) -> Vec<u8> {
        match self {
            Bootstrap::Bare => address.into_bytes(),
            Bootstrap::Params(_) => BootstrapResult {
                version: 3,
                address,
                protocol: "ttrpc".into(),
                ..BootstrapResult::default()
            }
            .encode_to_vec(),
        }
    }

    fn socket_dir(&self) -> Option<PathBuf> {
        match self {
            Bootstrap::Params(params) => params
                .socket_dir
                .as_deref()
                .filter(|dir| !dir.is_empty())
                .map(PathBuf::from),
            Bootstrap::Bare => None,
        }
    }

    fn events(&self) -> Option<&str> {
        match self {
            Bootstrap::Params(params) => {
                Some(params.containerd_ttrpc_address.as_str()).filter(|address| !address.is_empty())
            }
            Bootstrap::Bare => None,
        }
    }
}

/// Starts a shim for the bundle in the working directory, or that `-bundle` names, or finds the one of its group.
pub fn start(args: &Shim) -> Result<(), Error> {
    if let Some(bundle) = &args.bundle {
        // For callers that cannot change their own directory in between fork and exec.
        std::env::set_current_dir(bundle).map_err(|source| Error::File {
            path: bundle.clone(),
            source,
        })?;
    }
    let bootstrap = Bootstrap::read(&read_input()?, args);
    let group = group(Path::new("config.json"))?.unwrap_or_else(|| args.id.clone());
    let directory = match bootstrap.socket_dir() {
        Some(directory) => directory,
        None => socket::directory(
            |name| std::env::var_os(name).map(PathBuf::from),
            rustix::process::geteuid().is_root(),
        )?,
    };
    let held = socket::lock(&directory)?;
    let sockets = Sockets::name(&directory, &args.address, &args.namespace, &group);
    let known = std::fs::read_to_string(sockets.pid_file())
        .ok()
        .and_then(|pid| pid.parse().ok());
    let known = known.filter(|_| socket::answering(&sockets.ttrpc));
    match known {
        Some(pid) => tell_bundle(&sockets, pid)?,
        None => {
            let mut server = serve(args, &group, &sockets, bootstrap.events())?;
            // It becomes the server while its whereabouts are written down.
            let told = replace_file(&sockets.pid_file(), &server.pid.to_string())
                .and_then(|()| tell_bundle(&sockets, server.pid))
                .and_then(|()| server.executed().map_err(Error::Server));
            if told.is_err() {
                abandon(server.pid, &sockets);
                told?;
            }
        }
    }
    drop(held);
    io::stdout()
        .write_all(&bootstrap.answer(sockets.address()))
        .map_err(Error::Output)
}

/// A server that nobody will find ends at once.
fn abandon(pid: i32, sockets: &Sockets) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // Its parent is this process: the pid is still its own.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    sockets.remove();
}

/// Writes down in the bundle where its shim is.
fn tell_bundle(sockets: &Sockets, pid: i32) -> Result<(), Error> {
    for (name, content) in [
        ("address", sockets.address()),
        ("attach", sockets.attach.display().to_string()),
        ("shim.pid", pid.to_string()),
    ] {
        replace_file(Path::new(name), &content)?;
    }
    Ok(())
}

fn replace_file(path: &Path, content: &str) -> Result<(), Error> {
    replace(path, content.as_bytes()).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

fn read_input() -> Result<Vec<u8>, Error> {
    let mut input = Vec::new();
    if !rustix::termios::isatty(rustix::stdio::stdin()) {
        io::stdin()
            .take(MAX_PARAMS)
            .read_to_end(&mut input)
            .map_err(Error::Input)?;
    }
    Ok(input)
}

/// The group that the bundle's annotations name. A document that cannot be read is Create's to refuse, with the reason.
fn group(path: &Path) -> Result<Option<String>, Error> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        annotations: Option<std::collections::BTreeMap<String, String>>,
    }
    let config = match std::fs::read(path) {
        Ok(config) => config,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(Error::Config {
                path: path.to_owned(),
                source,
            });
        }
    };
    let head: Option<Head> = serde_json::from_slice(&config).ok();
    Ok(head
        .and_then(|head| head.annotations?.remove(GROUP))
        .filter(|group| !group.is_empty()))
}

/// Starts the server on new sockets. It is executed sealed at once: a second exec(2) would cost a quarter of this program's time.
fn serve(
    args: &Shim,
    group: &str,
    sockets: &Sockets,
    events: Option<&str>,
) -> Result<Spawned, Error> {
    let program = match jail::sealed_program().map_err(Error::Seal)? {
        Some(program) => program,
        None => open("/proc/self/exe", OFlags::RDONLY).map_err(Error::Server)?,
    };
    let nothing = open("/dev/null", OFlags::RDWR).map_err(Error::Server)?;
    let cgroup = cgroup()?;
    let (words, env) = (words(args, group)?, environment(events)?);
    let ttrpc = socket::listen(&sockets.ttrpc, SocketType::STREAM)?;
    let listeners = socket::listen(&sockets.attach, SocketType::SEQPACKET)
        .map(|attach| [(ttrpc, TTRPC_LISTENER), (attach, ATTACH_LISTENER)]);
    let server = listeners.map_err(Error::from).and_then(|listeners| {
        let born = cgroup.as_ref().map(AsFd::as_fd);
        sys::spawn_file(
            program.as_fd(),
            &words,
            &env,
            nothing.as_fd(),
            listeners,
            born,
        )
        .map_err(Error::Server)
    });
    if server.is_err() {
        sockets.remove();
    }
    server
}

fn cgroup() -> Result<Option<OwnedFd>, Error> {
    let Some(path) = std::env::var_os(CGROUP).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    match open(&path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(directory) => Ok(Some(directory)),
        Err(source) => Err(Error::Cgroup {
            path: path.into(),
            source,
        }),
    }
}

fn open(path: impl rustix::path::Arg, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// The server's command line.
fn words(args: &Shim, group: &str) -> Result<StringVector, Error> {
    let mut words = vec![
        "containerd-shim-stockade-v2",
        "-namespace",
        &args.namespace,
        "-id",
        group,
        "-address",
        &args.address,
    ];
    if args.debug {
        words.push("-debug");
    }
    words.push("serve");
    vector(words.into_iter().map(OsString::from))
}

/// This program's environment, with the address that the caller told as TTRPC_ADDRESS.
fn environment(events: Option<&str>) -> Result<StringVector, Error> {
    const EVENTS: &str = "TTRPC_ADDRESS";
    let inherited =
        std::env::vars_os().filter(|(name, _)| events.is_none() || name.as_os_str() != EVENTS);
    let told = events.map(|events| (EVENTS.into(), events.into()));
    let all = inherited.chain(told);
    vector(all.map(|(name, value): (OsString, OsString)| [name, value].join("=".as_ref())))
}

fn vector(strings: impl Iterator<Item = OsString>) -> Result<StringVector, Error> {
    let strings = strings.map(|text| CString::new(text.into_vec()));
    let strings: Result<Vec<_>, _> = strings.collect();
    Ok(StringVector::new(
        strings.map_err(|error| Error::Server(error.into()))?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_known_by_id_and_namespace() {
        let args = Shim {
            namespace: "n".into(),
            id: "c".into(),
            ..Shim::default()
        };
        let params = |id: &str, namespace: &str| {
            BootstrapParams {
                instance_id: id.into(),
                namespace: namespace.into(),
                ..BootstrapParams::default()
            }
            .encode_to_vec()
        };
        let cases = [
            (params("c", "n"), true),
            (params("c", "other"), false),
            (params("other", "n"), false),
            (Vec::new(), false),
            (b"\xff\xff not a message".to_vec(), false),
        ];
        for (input, expected) in cases {
            let bootstrap = Bootstrap::read(&input, &args);
            assert_eq!(
                matches!(bootstrap, Bootstrap::Params(_)),
                expected,
                "{input:?}"
            );
            let answer = bootstrap.answer("unix:///s".into());
            if expected {
                let result = BootstrapResult::decode(&*answer).unwrap();
                assert_eq!(
                    (
                        result.version,
                        result.protocol.as_str(),
                        result.address.as_str()
                    ),
                    (3, "ttrpc", "unix:///s")
                );
            } else {
                assert_eq!(answer, b"unix:///s");
            }
        }
    }
}
