//! User namespaces that exist only to map ids: mounts are mapped through them, nobody lives in them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::{CLONE_NEWUSER, Fork, exit, fork};

/// A user namespace with these maps, each the text of /proc/PID/uid_map and gid_map: a child is born in it, is mapped, and
/// dies once the namespace is open. The caller must be single-threaded.
pub fn mapping_namespace(uids: &str, gids: &str) -> io::Result<OwnedFd> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match fork(CLONE_NEWUSER, None)? {
        Fork::Child => {
            drop(theirs);
            // Ends with the pipe, which the parent closes or dies with.
            _ = rustix::io::read(&ours, &mut [0u8]);
            exit(0);
        }
        Fork::Parent { pid, pidfd } => {
            let write = |name: &str, text: &str| {
                let mut file = File::options()
                    .write(true)
                    .open(format!("/proc/{pid}/{name}"))?;
                file.write_all(text.as_bytes())
            };
            let opened = write("uid_map", uids)
                .and_then(|()| write("gid_map", gids))
                .and_then(|()| File::open(format!("/proc/{pid}/ns/user")));
            drop(theirs);
            let ended = WaitId::PidFd(pidfd.as_fd());
            while let Err(rustix::io::Errno::INTR) = waitid(ended.clone(), WaitIdOptions::EXITED) {}
            opened.map(OwnedFd::from)
        }
    }
}

/// From here on a change of this thread's ids (also of those for files alone) takes no capability from it
/// (capabilities(7), SECBIT_NO_SETUID_FIXUP).
pub fn keep_capabilities_with_any_id() -> io::Result<()> {
    const SECBIT_NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    // SAFETY: takes numbers; the remaining arguments are unused.
    match unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
