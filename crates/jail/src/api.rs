//! What a caller says and what it gets: values only.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use spec::Spec;

/// One container to be made.
#[derive(Debug)]
pub struct Launch<'a> {
    pub id: &'a str,
    /// Absolute; `root.path` is relative to it.
    pub bundle: &'a Path,
    pub spec: &'a Spec,
    /// What the root file system is made of, in order; nothing means `root.path` as it stands.
    pub rootfs: &'a [RootfsMount],
    pub stdio: Stdio,
    pub gate: Gate,
    /// Already created: the child only enters it.
    pub cgroup: &'a cgroup::Cgroup,
    pub options: Options,
}

/// What no field of `config.json` says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Moves the root with `MS_MOVE` and chroot(2), for hosts whose root is an initramfs.
    pub no_pivot: bool,
    /// Keeps the caller's session keyring.
    pub no_new_keyring: bool,
    /// Descriptors 3 to 3+n-1 of the caller reach the program.
    pub preserve_fds: u32,
    /// The container's init is killed when the caller dies.
    pub die_with_parent: bool,
}

/// One entry of containerd's list of mounts that make a root file system.
///
/// `kind` is `bind`, `overlay`, `tmpfs`… and may carry the prefix `format/`; then `{{ mount N }}` in `source` and `options` is
/// the place of entry N of the list, and an entry so named is mounted there only. `uidmap=C:H:N` and `gidmap=C:H:N` (several
/// with commas between) id-map a bind or the lower layers of an overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootfsMount {
    pub kind: String,
    pub source: String,
    /// Below the root; made if missing.
    pub target: String,
    pub options: Vec<String>,
}

/// Where descriptors 0, 1 and 2 of the process come from.
#[derive(Debug)]
pub enum Stdio {
    /// The caller's own.
    Inherit,
    /// These three; the same file may be given thrice.
    Descriptors {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// A new terminal, whose master is sent to the unix socket at this path (`process.terminal` must be set).
    ConsoleSocket(PathBuf),
    /// A new terminal, whose master the caller gets (`process.terminal` must be set).
    Console,
}

/// What holds a created container back until it is started.
#[derive(Debug)]
pub enum Gate {
    /// A unix socket that is made at this path; another process opens it with [`crate::open_gate`]. Whoever deletes the
    /// container removes the file.
    Socket(PathBuf),
    /// The caller itself, by [`crate::Container::start`]; the container dies with it until then.
    Held,
}

/// A container in which something else is to run.
#[derive(Debug)]
pub struct Target<'a> {
    pub id: &'a str,
    pub bundle: &'a Path,
    /// Of the container's init, as the host sees it.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: with it the pid cannot mean another process.
    pub start_time: u64,
    /// The container's configuration: seccomp filter, personality and the paths of its namespaces count.
    pub spec: &'a Spec,
    pub cgroup: &'a cgroup::Cgroup,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct ExecOptions {
    /// Descriptors 3 to 3+n-1 of the caller reach the program.
    pub preserve_fds: u32,
    /// The process is killed when the caller dies.
    pub die_with_parent: bool,
}

/// A process that was started in a running container; a direct child of the caller.
#[derive(Debug)]
pub struct Execed {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub start_time: u64,
    /// The terminal's master, with [`Stdio::Console`].
    pub console: Option<OwnedFd>,
    /// What could only be done in part.
    pub warnings: Vec<String>,
}

/// When hooks run (config.md, "POSIX-platform Hooks").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookStage {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}
