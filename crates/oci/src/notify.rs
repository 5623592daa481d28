//! sd_notify(3) for a container whose caller is a service of systemd: NOTIFY_SOCKET in the caller's environment.
//!
//! The host's socket is not shown to the container: who writes there may name another main process, and systemd would not
//! know the sender anyway. The container gets a socket of its own, and one message of it goes to the host's: that it is
//! ready. Without NOTIFY_SOCKET nothing of this happens.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use spec::{Mount, Spec};

use crate::error::Error;
use crate::store;

const VARIABLE: &str = "NOTIFY_SOCKET";
/// Where the container finds its socket.
const PLACE: &str = "/run/notify";
const NAME: &str = "notify.sock";
/// A longer message is cut; "READY=1" stands first in practice.
const LONGEST: usize = 4096;
/// Messages read at once: a container that floods us keeps no signal waiting.
const BATCH: usize = 16;

/// The socket that the container writes to, and the host's.
pub struct Notify {
    own: UnixDatagram,
    host: OsString,
    /// Who is the service's main process, when that is not the caller.
    main: Option<i32>,
}

fn host() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|name| !name.is_empty())
}

/// Shows the container a directory in which its socket will be, if the caller has one itself.
pub fn show(spec: &mut Spec, directory: &Path) -> Result<(), Error> {
    let (Some(_), Some(process)) = (host(), &mut spec.process) else {
        return Ok(());
    };
    match fs::DirBuilder::new().mode(0o755).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("make", directory)(error));
        }
        _ => {}
    }
    process.env.retain(|line| {
        line.split_once('=')
            .is_none_or(|(name, _)| name != VARIABLE)
    });
    process.env.push(format!("{VARIABLE}={PLACE}/{NAME}"));
    spec.mounts.push(Mount {
        destination: PLACE.into(),
        kind: "bind".into(),
        source: directory.display().to_string(),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"]
            .map(str::to_owned)
            .into(),
        ..Mount::default()
    });
    Ok(())
}

impl Notify {
    /// Binds the container's socket, before its process can look for it.
    pub fn bind(directory: &Path, main: Option<i32>) -> Result<Option<Notify>, Error> {
        let Some(host) = host() else { return Ok(None) };
        let bind = || -> io::Result<UnixDatagram> {
            // By its descriptor: the address has room for 107 bytes.
            let holder = fs::File::open(directory)?;
            let path = format!("/proc/self/fd/{}/{NAME}", holder.as_raw_fd());
            match UnixDatagram::bind(&path) {
                // Of a start that was killed before it let the container go.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => fs::remove_file(&path)?,
                bound => return shared(bound?, &path),
            }
            shared(UnixDatagram::bind(&path)?, &path)
        };
        let own = match bind() {
            // Made by a caller that was no service: the container knows of no socket.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bound => bound.map_err(failed("bind a socket in", directory))?,
        };
        Ok(Some(Notify { own, host, main }))
    }

    /// Passes on that the container is ready; says whether it is.
    pub fn pass(&self) -> bool {
        let mut text = [0; LONGEST];
        for _ in 0..BATCH {
            let Ok(length) = self.own.recv(&mut text) else {
                break;
            };
            if text[..length]
                .split(|&byte| byte == b'\n')
                .any(|line| line == b"READY=1")
            {
                let main = self
                    .main
                    .map_or(String::new(), |pid| format!("MAINPID={pid}\n"));
                // A service manager that is gone need not be told.
                _ = self.tell(format!("{main}READY=1\n").as_bytes());
                return true;
            }
        }
        false
    }

    fn tell(&self, text: &[u8]) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        match self.host.as_bytes().strip_prefix(b"@") {
            Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            None => socket.connect(Path::new(&self.host))?,
        }
        socket.send(text).map(drop)
    }

    /// Waits until the container is ready, or gone.
    pub fn until_ready(&self, pidfd: BorrowedFd<'_>) -> Result<(), Error> {
        loop {
            let mut both = [
                PollFd::new(&self.own, PollFlags::IN),
                PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            ];
            match poll(&mut both, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Error::System("poll", error.into())),
            }
            let gone = !both[1].revents().is_empty();
            if self.pass() || gone {
                return Ok(());
            }
        }
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }
}

/// Whoever is in the container may write.
fn shared(own: UnixDatagram, path: &str) -> io::Result<UnixDatagram> {
    own.set_nonblocking(true)?;
    fs::set_permissions(path, Permissions::from_mode(0o777))?;
    Ok(own)
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| store::Error::Io { act, path, source }.into()
}
