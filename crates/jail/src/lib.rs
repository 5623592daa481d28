//! The native wall: namespaces, mounts and credentials around one process, by the OCI runtime specification 1.3.
//!
//! [`create`] makes a container's init by one clone3(2) of the (single-threaded) caller; [`exec`] puts another process
//! beside it. Both are direct children of the caller. This crate knows no bundle on disk, no state file and no shim: it
//! takes values and gives back a process. The cgroup is made and removed by whoever owns the container; here it is only
//! entered. Whatever lies inside the container's root is hostile: it is opened beneath that root or not at all.

mod api;
mod error;

use std::os::fd::OwnedFd;
use std::path::Path;

pub use api::*;
pub use error::{Error, Stage};

/// A container whose init waits at its gate, or runs.
#[derive(Debug)]
pub struct Container {
    /// Of init, as the host sees it. It is the caller's child: the caller reaps it.
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// Field 22 of `/proc/PID/stat`.
    pub start_time: u64,
    /// The container's root as an `O_PATH` descriptor; it stays usable while the container lives.
    pub rootfs: Option<OwnedFd>,
    /// The terminal's master, with [`Stdio::Console`].
    pub console: Option<OwnedFd>,
    /// What could only be done in part (a limit clamped, a capability unknown), one sentence each.
    pub warnings: Vec<String>,
}

fn soon<T>(what: &str) -> Result<T, Error> {
    Err(Error::Unserved { property: what.into(), reason: "it is not built in".into() })
}

/// Makes a container up to its gate: everything is set up but the program. On failure nothing is left behind.
pub fn create(_launch: Launch<'_>) -> Result<Container, Error> {
    soon("create")
}

impl Container {
    /// Opens a [`Gate::Held`]; returns when the program was executed, or with the reason why not.
    pub fn start(&mut self) -> Result<(), Error> {
        soon("start")
    }
}

/// Opens a [`Gate::Socket`]; returns when the program was executed, or with the reason why not. Answers
/// [`Error::NotRunning`] when init is gone and [`Error::AlreadyStarted`] when the gate was opened before.
pub fn open_gate(_path: &Path, _pid: i32, _start_time: u64) -> Result<(), Error> {
    soon("open_gate")
}

/// Runs `process` in a running container and returns once its program was executed.
pub fn exec(_target: &Target<'_>, _process: &spec::Process, _stdio: Stdio, _options: ExecOptions) -> Result<Execed, Error> {
    soon("exec")
}

/// Runs hooks in the caller's namespaces, one after the other, with `state` on their standard input; stops at the first failure.
/// [`create`] runs those up to `startContainer` itself; `poststart` and `poststop` are the caller's.
pub fn run_hooks(_stage: HookStage, _hooks: &[spec::Hook], _state: &spec::State) -> Result<(), Error> {
    soon("run_hooks")
}

/// Executes the running program anew from a mount that nobody can write through, unless it already is: the first thing in a
/// program that enters containers. Arguments, environment and descriptors are kept.
pub fn seal() -> Result<(), Error> {
    soon("seal")
}

/// What this wall can do (features.md).
pub fn features() -> spec::Features {
    spec::Features::default()
}

/// The configuration that `spec` prints: a shell in a root file system, the usual mounts, masks and capabilities.
pub fn default_spec(_rootless: bool) -> spec::Spec {
    spec::Spec::default()
}
