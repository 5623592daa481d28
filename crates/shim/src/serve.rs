//! `serve`: the server that `start` made sockets for; and `-info`, what it can do.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use sys::{SignalFd, SignalSet};

use crate::api::containerd::types::{RuntimeInfo, RuntimeVersion};
use crate::api::google::protobuf::Any;
use crate::args::{ATTACH_LISTENER, Shim as Args, TTRPC_LISTENER};
use crate::neighbours;
use crate::shim::{Listeners, Shim};
use crate::socket::Sockets;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("seal the program")]
    Seal(#[source] jail::Error),
    #[error("take the listening sockets\n\nhint: `start` runs this command")]
    Listeners(#[source] io::Error),
    #[error("{0}")]
    Prepare(&'static str, #[source] io::Error),
    #[error("serve")]
    Serve(#[source] io::Error),
    #[error("print what this runtime can do")]
    Info(#[source] io::Error),
}

/// Serves until the last container is deleted and the engine says so.
pub fn serve(args: &Args) -> Result<(), Error> {
    jail::seal().map_err(Error::Seal)?;
    let mut listeners = listeners().map_err(Error::Listeners)?;
    let prepare = |what| move |error: rustix::io::Errno| Error::Prepare(what, error.into());
    let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    listeners.bundle = rustix::fs::open(".", path, Mode::empty()).ok();
    // Out of the engine's session and of the bundle's directory: neither may end or hold this process.
    rustix::process::setsid().map_err(prepare("begin a session"))?;
    rustix::process::chdir("/").map_err(prepare("leave the bundle's directory"))?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
        .map_err(prepare("adopt orphans"))?;
    let signals = signals().map_err(|error| Error::Prepare("take signals", error))?;
    let events = std::env::var("TTRPC_ADDRESS").unwrap_or_default();
    let directory = listeners
        .sockets
        .as_ref()
        .and_then(|own| own.ttrpc.parent());
    let directory = directory.map(Path::to_owned);
    let mut shim = Shim::new(&args.namespace, &events, listeners, signals).map_err(Error::Serve)?;
    let ended = shim.run();
    if let Some(directory) = directory {
        neighbours::bury(&directory);
    }
    ended.map_err(Error::Serve)
}

fn listeners() -> io::Result<Listeners> {
    let ttrpc = sys::inherited(TTRPC_LISTENER)?;
    let attach = sys::inherited(ATTACH_LISTENER)?;
    let path = |fd| -> io::Result<Option<PathBuf>> {
        let address = rustix::net::SocketAddrUnix::try_from(rustix::net::getsockname(fd)?)?;
        Ok(address.path_bytes().map(|bytes| {
            PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
        }))
    };
    let sockets = match (path(&ttrpc)?, path(&attach)?) {
        (Some(ttrpc), Some(attach)) => Some(Sockets { ttrpc, attach }),
        _ => None,
    };
    Ok(Listeners {
        ttrpc,
        attach,
        sockets,
        bundle: None,
    })
}

/// Children that ended and the wish to end are read; what ends a terminal's session is not meant for a shim.
fn signals() -> io::Result<SignalFd> {
    let read = SignalSet::empty()
        .with(Signal::CHILD.as_raw())
        .with(Signal::TERM.as_raw());
    let blocked = read.with(Signal::HUP.as_raw()).with(Signal::INT.as_raw());
    sys::set_signal_mask(&blocked)?;
    SignalFd::new(&read)
}

/// Prints a RuntimeInfo; containerd asks for it before it uses id-mapped mounts.
pub fn info() -> Result<(), Error> {
    // The request on standard input carries options that change nothing here; it is read so that the writer sees no error.
    if !rustix::termios::isatty(rustix::stdio::stdin()) {
        let _ = io::stdin().take(1 << 20).read_to_end(&mut Vec::new());
    }
    let features =
        serde_json::to_vec(&jail::features()).map_err(|error| Error::Info(error.into()))?;
    let info = RuntimeInfo {
        name: "io.containerd.stockade.v2".into(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").into(),
            revision: String::new(),
        }),
        features: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/features/Features".into(),
            value: features,
        }),
        ..RuntimeInfo::default()
    };
    io::stdout()
        .write_all(&info.encode_to_vec())
        .map_err(Error::Info)
}
