//! Where a shim listens, and how the next `start` of its group finds it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no directory for sockets\n\nhint: set XDG_RUNTIME_DIR or STOCKADE_RUN_DIR")]
    NoDirectory,
    #[error("{verb} socket {path}")]
    Socket {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("make directory {path}")]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Both sockets of one shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sockets {
    pub ttrpc: PathBuf,
    pub attach: PathBuf,
}

impl Sockets {
    /// Decides their names: one group of one namespace of one engine has one shim.
    pub fn name(directory: &Path, engine: &str, namespace: &str, group: &str) -> Sockets {
        let mut hash = FNV_OFFSET;
        for part in [engine, namespace, group] {
            for byte in part.bytes().chain([0]) {
                hash = (hash ^ u128::from(byte)).wrapping_mul(FNV_PRIME);
            }
        }
        let name = format!("{hash:032x}");
        Sockets {
            attach: directory.join(format!("{name}.a")),
            ttrpc: directory.join(name),
        }
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.ttrpc.display())
    }

    /// Removes both; what is not there needs no removal.
    pub fn remove(&self) {
        for path in [&self.ttrpc, &self.attach, &self.pid_file()] {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Beside the sockets: the server's pid, for the next `start` of the group. What the socket itself tells of its peer
    /// is the first `start` until the server is up.
    pub fn pid_file(&self) -> PathBuf {
        self.ttrpc.with_extension("pid")
    }
}

/// The 128-bit FNV-1a hash: names need to differ, they keep no secret.
const FNV_OFFSET: u128 = 0x6c62272e07bb014262b821756295c58d;
const FNV_PRIME: u128 = 0x0000000001000000000000000000013b;

/// The directory of all shims' sockets, by the environment: STOCKADE_RUN_DIR, root's, or the user's.
pub fn directory(
    variable: impl Fn(&str) -> Option<PathBuf>,
    is_root: bool,
) -> Result<PathBuf, Error> {
    if let Some(directory) = variable("STOCKADE_RUN_DIR") {
        return Ok(directory.join("s"));
    }
    if is_root {
        return Ok("/run/stockade/s".into());
    }
    variable("XDG_RUNTIME_DIR")
        .map(|directory| directory.join("stockade/s"))
        .ok_or(Error::NoDirectory)
}

/// Makes the directory and holds it until the descriptor is closed: one `start` at a time.
pub fn lock(directory: &Path) -> Result<OwnedFd, Error> {
    let failed = |source: io::Error| Error::Directory {
        path: directory.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd =
        rustix::fs::open(directory, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    rustix::fs::flock(&fd, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    Ok(fd)
}

/// Makes a socket that only its owner may use, in place of a dead one.
pub fn listen(path: &Path, kind: SocketType) -> Result<OwnedFd, Error> {
    let failed = |verb| {
        move |source: rustix::io::Errno| Error::Socket {
            verb,
            path: path.to_owned(),
            source: source.into(),
        }
    };
    let address = SocketAddrUnix::new(path).map_err(failed("name"))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd =
        rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).map_err(failed("make"))?;
    match rustix::fs::unlink(path) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(failed("replace")(error)),
    }
    // The mask makes it 0600 from its first moment; nothing else is created meanwhile by this single-threaded program.
    let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&fd, &address);
    rustix::process::umask(mask);
    bound.map_err(failed("bind"))?;
    rustix::net::listen(&fd, BACKLOG).map_err(failed("listen on"))?;
    Ok(fd)
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Whether a shim answers at `path`.
pub fn answering(path: &Path) -> bool {
    let Ok(address) = SocketAddrUnix::new(path) else {
        return false;
    };
    let fd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    );
    fd.is_ok_and(|fd| rustix::net::connect(&fd, &address).is_ok())
}

/// Whether a shim answers at `path` that is not dying: a killed one's listener may outlive its other descriptors.
pub fn alive(path: &Path, patience: Duration) -> bool {
    let Ok(address) = SocketAddrUnix::new(path) else {
        return false;
    };
    let flags = SocketFlags::CLOEXEC;
    let Ok(fd) = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
    else {
        return false;
    };
    if rustix::net::connect(&fd, &address).is_err() {
        return false;
    }
    // A shim says nothing unasked, so whatever comes is its end.
    let timeout = Timespec {
        tv_sec: patience.as_secs() as i64,
        tv_nsec: patience.subsec_nanos().into(),
    };
    let mut ended = [PollFd::new(&fd, PollFlags::IN)];
    !poll(&mut ended, Some(&timeout)).is_ok_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_follows_the_environment() {
        let env = |pairs: &'static [(&'static str, &'static str)]| {
            move |name: &str| {
                pairs
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| PathBuf::from(value))
            }
        };
        type Env = &'static [(&'static str, &'static str)];
        let cases: [(Env, bool, Option<&str>); 4] = [
            (&[], true, Some("/run/stockade/s")),
            (
                &[("XDG_RUNTIME_DIR", "/run/user/7")],
                false,
                Some("/run/user/7/stockade/s"),
            ),
            (
                &[("STOCKADE_RUN_DIR", "/t"), ("XDG_RUNTIME_DIR", "/x")],
                false,
                Some("/t/s"),
            ),
            (&[], false, None),
        ];
        for (pairs, is_root, expected) in cases {
            assert_eq!(
                directory(env(pairs), is_root).ok(),
                expected.map(PathBuf::from),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn names_differ_where_any_part_does() {
        let name = |engine, namespace, group| {
            Sockets::name(Path::new("/s"), engine, namespace, group).ttrpc
        };
        let all = [
            name("e", "n", "g"),
            name("e", "ng", ""),
            name("en", "", "g"),
            name("e", "n", "h"),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{one:?}");
        }
    }
}
