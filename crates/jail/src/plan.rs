//! All that the configuration asks for, checked and opened by the caller before anything is made.

use std::cell::OnceCell;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, fchown, fstat};
use rustix::net::SocketType;
use rustix::process::Uid;
use spec::{IdMapping, Linux, NamespaceKind, Process, Spec, State, Status};

use crate::fault::{At, Fault, Outcome};
use crate::last::receive;
use crate::namespaces::Namespaces;
use crate::reaper::{self, Reaper};
use crate::wire::{Line, Tag};
use crate::{
    Error, Gate, Launch, Options, Stage, Stdio, capabilities, devices, gate, identity, mounts,
    rootfs, schedule, sysctl,
};

/// Where the process's standard descriptors come from, opened.
#[derive(Debug)]
pub(crate) enum Streams {
    Inherit,
    Descriptors([OwnedFd; 3]),
    /// A new terminal; the connection its master is sent to, or the caller.
    Terminal(Option<OwnedFd>),
}

impl Streams {
    pub fn new(stdio: Stdio, process: &Process) -> Result<Streams, Error> {
        let wants = matches!(stdio, Stdio::Console | Stdio::ConsoleSocket(_));
        if wants != process.terminal {
            let reason = if wants {
                "a terminal was given but none is wanted"
            } else {
                "it needs a console socket"
            };
            return Err(Error::Invalid {
                property: "process.terminal".into(),
                reason: reason.into(),
            });
        }
        match stdio {
            Stdio::Inherit => Ok(Streams::Inherit),
            Stdio::Descriptors {
                stdin,
                stdout,
                stderr,
            } => Ok(Streams::Descriptors([stdin, stdout, stderr])),
            Stdio::Console => Ok(Streams::Terminal(None)),
            Stdio::ConsoleSocket(path) => {
                let socket = gate::connect_to(&path, SocketType::STREAM).at(
                    Stage::Prepare,
                    format_args!("console socket {}", path.display()),
                );
                Ok(Streams::Terminal(Some(
                    socket.map_err(|fault| fault.on_host())?,
                )))
            }
        }
    }

    /// The user may open /dev/stdout and its like anew: pipes are given to him, as far as that is allowed.
    pub fn give_to(&self, uid: Option<u32>) {
        let Some(uid) = uid else { return };
        let stdio = [
            rustix::stdio::stdin(),
            rustix::stdio::stdout(),
            rustix::stdio::stderr(),
        ];
        let files = match self {
            Streams::Inherit => stdio,
            Streams::Descriptors(own) => own.each_ref().map(AsFd::as_fd),
            Streams::Terminal(_) => return,
        };
        for file in files {
            let pipe = fstat(file).is_ok_and(|stat| {
                FileType::from_raw_mode(stat.st_mode) == FileType::Fifo && stat.st_uid != uid
            });
            if pipe {
                // Somebody else's pipe stays his; it works as a descriptor all the same.
                _ = fchown(file, Some(Uid::from_raw(uid)), None);
            }
        }
    }

    pub fn descriptors(&self) -> [Option<BorrowedFd<'_>>; 3] {
        match self {
            Streams::Descriptors(own) => own.each_ref().map(|file| Some(file.as_fd())),
            _ => [None; 3],
        }
    }
}

/// What the gate is made of.
#[derive(Debug)]
pub(crate) enum Barrier {
    Held,
    Socket(PathBuf, OwnedFd),
}

/// What the process becomes, for init and for exec alike.
#[derive(Debug)]
pub(crate) struct Program {
    pub identity: identity::Plan,
    pub schedule: schedule::Plan,
    /// Nothing in it: it is compiled while the process gets ready, and comes over the line.
    pub filter: Option<OnceCell<seccomp::Filter>>,
    /// The path of a seccomp agent, a NUL, and the state for it.
    pub agent: Option<Vec<u8>>,
    pub streams: Streams,
    pub preserve_fds: u32,
    pub die_with_parent: bool,
    /// Process 1 stays behind and the program is its child.
    pub reaper: Option<Reaper>,
}

impl Program {
    /// The filter to be loaded, if one is wanted; it is there by now.
    pub fn filter(&self) -> Outcome<Option<&seccomp::Filter>> {
        match self.filter.as_ref().map(OnceCell::get) {
            None => Ok(None),
            Some(Some(filter)) => Ok(Some(filter)),
            Some(None) => Fault::refuse(Stage::LoadFilter, "", "it never came"),
        }
    }

    /// In the process: the filter, where it comes over the line. It is the caller's next packet.
    pub fn receive_filter(&self, line: &Line) -> Outcome<()> {
        if let Some(cell) = &self.filter
            && cell.get().is_none()
        {
            let packet = receive(line, Stage::LoadFilter)?;
            match seccomp::Filter::decode(&packet.payload) {
                Some(filter) if packet.tag == Tag::Filter => _ = cell.set(filter),
                _ => return Fault::refuse(Stage::LoadFilter, "", "it came in pieces"),
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub spec: &'a Spec,
    pub linux: &'a Linux,
    pub process: &'a Process,
    pub id: &'a str,
    pub bundle: &'a Path,
    pub cgroup: &'a cgroup::Cgroup,
    pub options: Options,
    /// The caller has CAP_SYS_ADMIN: it maps ids, opens sources and makes the root itself.
    pub privileged: bool,
    pub namespaces: Namespaces,
    pub rootfs: rootfs::Plan,
    pub mounts: Vec<mounts::Planned>,
    pub devices: devices::Plan,
    pub sysctl: sysctl::Plan,
    pub program: Program,
    pub barrier: Barrier,
    pub warnings: Vec<String>,
}

static NO_LINUX: std::sync::LazyLock<Linux> = std::sync::LazyLock::new(Linux::default);

impl<'a> Plan<'a> {
    pub fn new(launch: Launch<'a>) -> Result<Plan<'a>, Error> {
        let spec = launch.spec;
        if let Some(property) = spec::unserved(spec) {
            return Err(Error::Unserved {
                property: property.into(),
                reason: "no part of this wall knows it".into(),
            });
        }
        let missing = |property: &str| Error::Invalid {
            property: property.into(),
            reason: "it is missing".into(),
        };
        let process = spec.process.as_ref().ok_or_else(|| missing("process"))?;
        let linux = spec.linux.as_ref().unwrap_or(&NO_LINUX);
        let privileged = privileged();
        let namespaces = Namespaces::new(linux)?;
        check_names(spec, linux, &namespaces)?;
        let mut warnings = Vec::new();
        let state = state(launch.id, launch.bundle, spec, Status::Creating, 0);
        let program = program(spec, process, (launch.stdio, &state), false, &mut warnings)?;
        let program = Program {
            preserve_fds: launch.options.preserve_fds,
            die_with_parent: launch.options.die_with_parent,
            reaper: reaper(spec, &namespaces, program.agent.is_some())?,
            ..program
        };
        if privileged {
            program.streams.give_to(host_id(
                namespaces.has(NamespaceKind::User),
                &linux.uid_mappings,
                process.user.uid,
            ));
        }
        let (rootfs, mounts) = files(
            (spec, launch.bundle, launch.rootfs),
            (linux, privileged),
            &namespaces,
        )?;
        check_lodging(linux, &namespaces, &mounts)?;
        Ok(Plan {
            spec,
            linux,
            process,
            id: launch.id,
            bundle: launch.bundle,
            cgroup: launch.cgroup,
            options: launch.options,
            privileged,
            rootfs,
            mounts,
            devices: devices::Plan::new(linux)?,
            sysctl: sysctl::Plan::new(linux, &namespaces, spec.hostname.is_some())?,
            barrier: barrier(launch.gate)?,
            namespaces,
            program,
            warnings,
        })
    }

    /// What hooks and agents are told of the container.
    pub fn state(&self, status: Status, pid: i32) -> State {
        state(self.id, self.bundle, self.spec, status, pid)
    }

    /// Whether binds keep the host's propagation: a shared root is asked for, and no user namespace lies between.
    pub fn shares(&self) -> bool {
        matches!(self.linux.rootfs_propagation.as_str(), "shared" | "rshared")
            && !self.namespaces.has(NamespaceKind::User)
    }
}

/// Whether the caller has CAP_SYS_ADMIN where it stands.
fn privileged() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.bits() & capabilities::SYS_ADMIN != 0)
}

pub(crate) fn state(id: &str, bundle: &Path, spec: &Spec, status: Status, pid: i32) -> State {
    let oci_version = if spec.oci_version.is_empty() {
        spec::OCI_VERSION.into()
    } else {
        spec.oci_version.clone()
    };
    State {
        oci_version,
        id: id.into(),
        status,
        pid,
        bundle: bundle.into(),
        annotations: spec.annotations.clone(),
    }
}

/// What the host calls the container's id; nothing when that cannot be known.
pub(crate) fn host_id(mapped: bool, map: &[IdMapping], id: u32) -> Option<u32> {
    if !mapped {
        return Some(id);
    }
    map.iter().find_map(|line| {
        id.checked_sub(line.container_id)
            .filter(|&offset| offset < line.size)?
            .checked_add(line.host_id)
    })
}

fn check_names(spec: &Spec, linux: &Linux, namespaces: &Namespaces) -> Result<(), Error> {
    let invalid = |property: &str, reason: &str| {
        Err(Error::Invalid {
            property: property.into(),
            reason: reason.into(),
        })
    };
    let named = spec.hostname.is_some() || spec.domainname.is_some();
    if named && !namespaces.has(NamespaceKind::Uts) {
        return invalid("hostname", "without a UTS namespace it would be the host's");
    }
    if linux
        .mount_label
        .as_ref()
        .is_some_and(|label| !label.is_empty())
    {
        return Err(Error::Unserved {
            property: "linux.mountLabel".into(),
            reason: "this wall applies no SELinux labels".into(),
        });
    }
    propagation(&linux.rootfs_propagation).map(drop)
}

/// `rootfsPropagation` as `MS_*` and whether it reaches all below; nothing when it is not set.
pub(crate) fn propagation(word: &str) -> Result<Option<(u64, bool)>, Error> {
    let (recursive, kind) = word
        .strip_prefix('r')
        .map_or((false, word), |kind| (true, kind));
    let kind = match kind {
        "" if !recursive => return Ok(None),
        "shared" => libc::MS_SHARED,
        "private" => libc::MS_PRIVATE,
        "slave" => libc::MS_SLAVE,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => {
            return Err(Error::Invalid {
                property: "linux.rootfsPropagation".into(),
                reason: format!("{word:?} is not known"),
            });
        }
    };
    Ok(Some((kind as u64, recursive)))
}

/// Reads a process, the container's first or another. `compile`: whether its filter is to be there already.
pub(crate) fn program(
    spec: &Spec,
    process: &Process,
    (stdio, state): (Stdio, &State),
    compile: bool,
    warnings: &mut Vec<String>,
) -> Result<Program, Error> {
    let linux = spec.linux.as_ref();
    let (mut compiled, mut told) = (None, None);
    if let Some(filter) = linux.and_then(|linux| linux.seccomp.as_ref()) {
        let notifies = seccomp::Filter::would_notify(filter);
        let cell = OnceCell::new();
        if compile || notifies {
            _ = cell.set(seccomp::compile(filter)?);
        }
        compiled = Some(cell);
        told = notifies.then(|| agent(filter, state)).transpose()?;
    }
    Ok(Program {
        identity: identity::Plan::new(process, warnings)?,
        schedule: schedule::Plan::new(process, linux.and_then(|linux| linux.personality.as_ref()))?,
        filter: compiled,
        agent: told,
        streams: Streams::new(stdio, process)?,
        preserve_fds: 0,
        die_with_parent: false,
        reaper: None,
    })
}

/// What process 1 needs when the annotations ask for one.
fn reaper(spec: &Spec, namespaces: &Namespaces, notifies: bool) -> Result<Option<Reaper>, Error> {
    if !reaper::wanted(&spec.annotations)? {
        return Ok(None);
    }
    if !namespaces.makes(NamespaceKind::Pid) {
        return Err(reaper::invalid(
            "an init needs a pid namespace of its own to be process 1 of",
        ));
    }
    if notifies {
        return Err(reaper::invalid(
            "a filter that notifies an agent holds one process: init and program are two",
        ));
    }
    Reaper::new().map(Some).map_err(|fault| fault.on_host())
}

/// The path of the agent, a NUL, and what it is to be told.
fn agent(filter: &spec::Seccomp, state: &State) -> Result<Vec<u8>, Error> {
    let invalid = |reason: &str| Error::Invalid {
        property: "linux.seccomp".into(),
        reason: reason.into(),
    };
    if filter.listener_path.is_empty() {
        return Err(invalid("a rule notifies, but listenerPath is not set"));
    }
    let notified = |name: &str| {
        filter.syscalls.iter().any(|rule| {
            rule.action == "SCMP_ACT_NOTIFY" && rule.names.iter().any(|known| known == name)
        })
    };
    if filter.default_action == "SCMP_ACT_NOTIFY" || notified("sendmsg") {
        // The listener travels by sendmsg(2): the call would wait for an agent that does not have it yet.
        return Err(invalid(
            "sendmsg cannot be notified: it carries the listener to the agent",
        ));
    }
    let told = spec::ContainerProcessState {
        oci_version: state.oci_version.clone(),
        fds: vec!["seccompFd".into()],
        pid: state.pid,
        metadata: filter.listener_metadata.clone(),
        state: state.clone(),
    };
    let mut payload = filter.listener_path.clone().into_bytes();
    payload.push(0);
    payload.extend(serde_json::to_vec(&told).map_err(|error| invalid(&error.to_string()))?);
    Ok(payload)
}

/// The root and the mounts, their sources opened where the container's mount namespace starts from.
fn files(
    (spec, bundle, list): (&Spec, &Path, &[crate::RootfsMount]),
    (linux, privileged): (&Linux, bool),
    namespaces: &Namespaces,
) -> Result<(rootfs::Plan, Vec<mounts::Planned>), Error> {
    // Without a user namespace the child has the same rights to them, and mounts get their numbers in the listed order.
    let here = privileged && namespaces.has(NamespaceKind::User);
    let open = || {
        let root = root(spec, bundle, list, (linux, privileged))?;
        let mounts = mounts::plan(spec, bundle, privileged, here)?;
        Ok((root, mounts))
    };
    match namespaces.joins(NamespaceKind::Mount) {
        Some(joined) if privileged => {
            crate::launch::elsewhere(|| joined.enter(), open).map_err(|fault| fault.on_host())?
        }
        _ => open(),
    }
}

/// A root that stands in no mount namespace has nobody to exchange mounts with.
fn check_lodging(
    linux: &Linux,
    namespaces: &Namespaces,
    mounts: &[mounts::Planned],
) -> Result<(), Error> {
    if namespaces.lodging().is_none() {
        return Ok(());
    }
    let refuse = |property: String| {
        Err(Error::Unserved {
            property,
            reason: "only a container with a mount namespace of its own exchanges mounts".into(),
        })
    };
    if !matches!(
        linux.rootfs_propagation.as_str(),
        "" | "private" | "rprivate"
    ) {
        return refuse(format!(
            "linux.rootfsPropagation {:?}",
            linux.rootfs_propagation
        ));
    }
    match mounts.iter().find(|mount| mount.propagates()) {
        Some(mount) => refuse(format!("propagation of mounts {:?}", mount.destination())),
        None => Ok(()),
    }
}

fn root(
    spec: &Spec,
    bundle: &Path,
    list: &[crate::RootfsMount],
    (linux, privileged): (&Linux, bool),
) -> Result<rootfs::Plan, Error> {
    let root = spec.root.as_ref().ok_or_else(|| Error::Invalid {
        property: "root".into(),
        reason: "it is missing".into(),
    })?;
    let path = bundle.join(&root.path);
    if list.is_empty() && !fs::metadata(&path).is_ok_and(|data| data.is_dir()) {
        return Err(Error::Invalid {
            property: "root.path".into(),
            reason: format!("{} is no directory", path.display()),
        });
    }
    let first = |map: &[IdMapping]| {
        map.iter()
            .find(|line| line.container_id == 0 && line.size > 0)
            .map_or(0, |line| line.host_id)
    };
    rootfs::Plan::new(
        &path,
        list,
        (first(&linux.uid_mappings), first(&linux.gid_mappings)),
        privileged,
    )
}

fn barrier(gate: Gate) -> Result<Barrier, Error> {
    match gate {
        Gate::Held => Ok(Barrier::Held),
        Gate::Socket(path) => gate::make(&path)
            .map(|socket| Barrier::Socket(path, socket))
            .map_err(|fault| fault.on_host()),
    }
}
