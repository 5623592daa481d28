//! What this process gives away before it reads a packet: all but the right to take ports below 1024.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, setsid};

use crate::error::{Error, Result};

const CAP_NET_BIND_SERVICE: u32 = 10;
/// More than the kernel will ever have; those that it has not are refused.
const CAPABILITIES: u32 = 64;

/// Leaves the session of whoever started it, its terminal and its directory.
pub fn leave_session() {
    // It may be the first of its session already.
    let _ = setsid();
    let _ = std::env::set_current_dir("/");
}

/// Goes to the cgroup that shims are born in, where systemd hands one over: whoever started it may be stopped with all of his own.
pub fn join_shims() -> io::Result<()> {
    let Some(directory) = std::env::var_os("STOCKADE_SHIM_CGROUP").filter(|name| !name.is_empty())
    else {
        return Ok(());
    };
    let path = Path::new(&directory).join("cgroup.procs");
    File::options().write(true).open(path)?.write_all(b"0")
}

/// A descriptor for each port, connection and question.
pub fn raise_limits() {
    const WANTED: u64 = 1 << 18;
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(WANTED).max(WANTED);
    for limit in [WANTED, now.maximum.unwrap_or(WANTED)] {
        let wanted = Rlimit {
            current: Some(limit),
            maximum: Some(if limit == WANTED { most } else { limit }),
        };
        if setrlimit(Resource::Nofile, wanted).is_ok() {
            return;
        }
    }
}

/// Gives the rights away, also those that a program could bring back.
pub fn drop_all() -> Result<()> {
    for capability in (0..CAPABILITIES).filter(|&one| one != CAP_NET_BIND_SERVICE) {
        match sys::drop_from_bounding_set(capability) {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                return Err(Error::Privileges(error));
            }
            _ => {}
        }
    }
    let kept = 1 << CAP_NET_BIND_SERVICE;
    sys::set_capabilities(sys::CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: 0,
    })
    .and_then(|()| sys::no_new_privileges())
    .map_err(Error::Privileges)
}

/// Opens nothing from now on but its own records. Whether the kernel can do that.
pub fn read_only_records(directory: &Path) -> Result<bool> {
    let failed = |source| Error::Record {
        path: directory.to_owned(),
        source,
    };
    let open = File::open(directory).map_err(failed)?;
    match sys::read_nothing_but(open.as_fd()) {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.raw_os_error().map(Errno::from_raw_os_error),
                Some(Errno::NOSYS | Errno::OPNOTSUPP)
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(Error::Privileges(error)),
    }
}

/// What stands in the place of standard input and output later, when no file can be opened for writing any more.
pub fn nothing() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}

/// Puts it there; what standard output was is the caller's now.
pub fn close_standard(null: &File) -> io::Result<File> {
    let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    rustix::stdio::dup2_stdin(null)?;
    rustix::stdio::dup2_stdout(null)?;
    Ok(output.into())
}
