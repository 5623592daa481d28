//! Another process in a running container.
//!
//! It must be in the container's process id namespace and the caller's child at once. So the caller turns to that namespace for
//! one clone, and the process joins the others, all by one setns(2) on init's pidfd. Where the container has a user namespace, or
//! may hold CAP_SYS_PTRACE, an usher joins everything first and clones the process with CLONE_PARENT.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat, stat};
use rustix::process::{Signal, pidfd_send_signal};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use spec::{NamespaceKind, Process, Status};

use crate::birth::{self, Newborn};
use crate::fault::{At, Fault, Outcome};
use crate::idmap::{IdMaps, reap};
use crate::last::{Inside, Released, give_terminal, receive, tell, warn};
use crate::namespaces::{flag, link_name};
use crate::plan::{Program, Streams, program, state};
use crate::wire::{Line, Tag};
use crate::{
    Error, ExecOptions, Execed, Stage, Stdio, Target, gate, init, process, schedule, terminal,
};

/// Runs `process` in a running container and returns once its program was executed, or with the reason why not. The caller must
/// have one thread only. The process is the caller's child; the caller reaps it.
pub fn exec(
    target: &Target<'_>,
    process: &Process,
    stdio: Stdio,
    options: ExecOptions,
) -> Result<Execed, Error> {
    let init = process::find(target.pid, target.start_time)?;
    let mut warnings = Vec::new();
    let state = state(
        target.id,
        target.bundle,
        target.spec,
        Status::Running,
        target.pid,
    );
    let program = program(target.spec, process, (stdio, &state), true, &mut warnings)?;
    let program = Program {
        preserve_fds: options.preserve_fds,
        die_with_parent: options.die_with_parent,
        ..program
    };
    program.streams.give_to(host_user(target, process));
    let doorway = Doorway::find(target, init).map_err(|fault| gone_or(target, fault))?;
    let joining = Joining {
        target,
        process,
        program: &program,
        doorway,
        entry: target.cgroup.entry()?,
    };
    let (ours, theirs) = Line::pair()
        .at(Stage::Prepare, "a socket pair")
        .map_err(Fault::on_host)?;
    let newborn = joining
        .bear(&theirs)
        .map_err(|fault| gone_or(target, fault))?;
    let Some(newborn) = newborn else {
        drop(ours);
        joining.run(theirs)
    };
    drop(theirs);
    attend(newborn, &ours, &program, warnings).map_err(|error| match error {
        Error::Inside {
            stage: Stage::JoinNamespaces,
            ..
        } => process::find(target.pid, target.start_time)
            .err()
            .unwrap_or(error),
        error => error,
    })
}

/// A container that ended meanwhile fails in many ways, all of which mean the same.
fn gone_or(target: &Target<'_>, fault: Fault) -> Error {
    match process::find(target.pid, target.start_time) {
        Ok(_) => fault.on_host(),
        Err(gone) => gone,
    }
}

fn host_user(target: &Target<'_>, process: &Process) -> Option<u32> {
    let linux = target.spec.linux.as_ref()?;
    let joins = linux
        .namespaces
        .iter()
        .any(|namespace| namespace.kind == NamespaceKind::User);
    crate::plan::host_id(joins, &linux.uid_mappings, process.user.uid)
}

/// The namespaces of init that are not the caller's.
struct Doorway {
    init: OwnedFd,
    kinds: u64,
    cgroup: Option<OwnedFd>,
    /// Of a container in a mount namespace that is not its own: there `/` is another.
    root: Option<OwnedFd>,
}

impl Doorway {
    fn find(target: &Target<'_>, init: OwnedFd) -> Outcome<Doorway> {
        use NamespaceKind::*;
        let mut kinds = made(target.spec);
        for kind in [User, Mount, Pid, Network, Ipc, Uts, Time, Cgroup] {
            if kinds & flag(kind) != 0 {
                continue;
            }
            let look = |pid: &str| stat(format!("/proc/{pid}/ns/{}", link_name(kind)));
            // A kernel without a kind of namespace has no link of it for either.
            let Ok(own) = look("self") else { continue };
            let theirs =
                look(&target.pid.to_string()).at(Stage::JoinNamespaces, link_name(kind))?;
            if (own.st_dev, own.st_ino) != (theirs.st_dev, theirs.st_ino) {
                kinds |= flag(kind);
            }
        }
        let apart = kinds & flag(Cgroup) != 0;
        let path = format!("/proc/{}/ns/cgroup", target.pid);
        let cgroup = apart
            .then(|| {
                openat(
                    rustix::fs::CWD,
                    &path,
                    OFlags::RDONLY | OFlags::CLOEXEC,
                    Mode::empty(),
                )
            })
            .transpose();
        Ok(Doorway {
            init,
            kinds: kinds & !flag(Cgroup),
            cgroup: cgroup.at(Stage::JoinNamespaces, path)?,
            root: lodger_root(target)?,
        })
    }

    fn has(&self, kind: NamespaceKind) -> bool {
        self.kinds & flag(kind) != 0
    }
}

/// The kinds that were made for the container, which needs no look: joining one's own again does no harm. A user namespace is
/// looked at all the same, since its members may not join it.
fn made(spec: &spec::Spec) -> u64 {
    let namespaces = spec.linux.iter().flat_map(|linux| &linux.namespaces);
    namespaces
        .filter(|namespace| namespace.path.is_none() && namespace.kind != NamespaceKind::User)
        .fold(0, |kinds, namespace| kinds | flag(namespace.kind))
}

/// The root of init, where the mount namespace does not lead there.
fn lodger_root(target: &Target<'_>) -> Outcome<Option<OwnedFd>> {
    let namespaces = target.spec.linux.iter().flat_map(|linux| &linux.namespaces);
    let own = |namespace: &spec::Namespace| {
        namespace.kind == NamespaceKind::Mount && namespace.path.is_none()
    };
    if namespaces.into_iter().any(own) {
        return Ok(None);
    }
    let path = format!("/proc/{}/root", target.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(rustix::fs::CWD, &path, flags, Mode::empty())
        .at(Stage::EnterRoot, path)
        .map(Some)
}

struct Joining<'a> {
    target: &'a Target<'a>,
    process: &'a Process,
    program: &'a Program,
    doorway: Doorway,
    entry: cgroup::Entry,
}

impl Joining<'_> {
    /// Clones the process, which gets `None`. It is born in its cgroup, before it joins the cgroup namespace, from which the cgroup
    /// could not be named.
    fn bear(&self, line: &Line) -> Outcome<Option<Newborn>> {
        if !self.ushered() {
            let pids = self.doorway.has(NamespaceKind::Pid);
            return birth::among(pids.then(|| self.doorway.init.as_fd()), &self.entry);
        }
        birth::ushered(|| {
            self.enter(line)?;
            sys::forbid_tracing().at(Stage::SetSecurity, "forbid tracing")?;
            sys::fork(sys::CLONE_PARENT, self.entry.into_cgroup()).at(Stage::Clone, "")
        })
    }

    /// Joining a user namespace gives rights in it, which a process that its others see already must not change. And for as long
    /// as the process has the host's root, no one beside it may reach `/proc/PID/root`: it forbids tracing, which holds
    /// against everyone but CAP_SYS_PTRACE (ptrace(2)).
    fn ushered(&self) -> bool {
        self.doorway.has(NamespaceKind::User) || self.may_be_traced()
    }

    /// Whether a process of the container may hold CAP_SYS_PTRACE.
    fn may_be_traced(&self) -> bool {
        let init = self.target.spec.process.as_ref();
        init.into_iter().chain([self.process]).any(|process| {
            process.capabilities.as_ref().is_none_or(|sets| {
                sets.bounding
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case("CAP_SYS_PTRACE"))
            })
        })
    }

    /// What /proc of the host is needed for, then the namespaces.
    fn enter(&self, line: &Line) -> Outcome<()> {
        warn(line, self.program.schedule.permit(None)?)?;
        if let Some(cpus) = self
            .process
            .exec_cpu_affinity
            .as_ref()
            .and_then(|affinity| affinity.initial.as_deref())
        {
            schedule::set_affinity(cpus)?;
        }
        self.program.identity.set_profile()?;
        let kinds = if self.ushered() {
            self.doorway.kinds
        } else {
            // It was born in the other.
            self.doorway.kinds & !flag(NamespaceKind::Pid)
        };
        if kinds != 0 {
            let kinds = ThreadNameSpaceType::from_bits_retain(kinds as u32);
            move_into_thread_name_spaces(self.doorway.init.as_fd(), kinds)
                .at(Stage::JoinNamespaces, "of init")?;
        }
        self.doorway.root.as_ref().map_or(Ok(()), |root| {
            init::enter_root(root).at(Stage::EnterRoot, "/")
        })
    }

    /// In the process; never returns.
    fn run(&self, line: Line) -> ! {
        let fault = match self.to_gate(line) {
            Ok(released) => match released.execute() {},
            Err((line, fault)) => {
                tell(&line, &fault);
                fault
            }
        };
        sys::exit(i32::from(fault.inside().exit_code()))
    }

    fn to_gate(&self, line: Line) -> Result<Released<'_>, (Line, Fault)> {
        let terminal = match self.settle_in(&line) {
            Ok(terminal) => terminal,
            Err(fault) => return Err((line, fault)),
        };
        let Ok(copy) = line.copy() else { sys::exit(1) };
        let user = Inside {
            program: self.program,
            line,
            terminal,
        }
        .become_user()
        .map_err(|fault| (copy, fault))?;
        let ready = user.let_go(None).and_then(|()| {
            user.line
                .send(Tag::Ready, &[], None)
                .at(Stage::WaitForStart, "")
        });
        let released = ready.and_then(|()| receive(&user.line, Stage::WaitForStart));
        if let Err(fault) = released.and_then(|_| self.last_affinity()) {
            return Err((user.line, fault));
        }
        Ok(user.released(None))
    }

    fn settle_in(&self, line: &Line) -> Outcome<Option<terminal::Terminal>> {
        sys::set_parent_death_signal(libc::SIGKILL).at(Stage::Prepare, "parent death signal")?;
        sys::reset_signals();
        self.entry.join().at(Stage::JoinCgroup, "")?;
        if !self.ushered() {
            self.enter(line)?;
        }
        if let Some(namespace) = &self.doorway.cgroup {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ControlGroup))
                .at(Stage::JoinNamespaces, "cgroup")?;
        }
        if self.doorway.has(NamespaceKind::User) {
            let linux = self.target.spec.linux.as_ref();
            let maps = linux.map(|linux| IdMaps {
                uids: linux.uid_mappings.clone(),
                gids: linux.gid_mappings.clone(),
            });
            init::become_root(&maps.unwrap_or_default())?;
        }
        sys::forbid_tracing().at(Stage::SetSecurity, "forbid tracing")?;
        init::join_keyring(self.target.id)?;
        self.program.schedule.apply_personality()?;
        rustix::process::umask(Mode::empty());
        let Streams::Terminal(_) = self.program.streams else {
            return Ok(None);
        };
        let root = openat(
            rustix::fs::CWD,
            "/",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .at(Stage::OpenTerminal, "/")?;
        let terminal = terminal::open(
            &root,
            self.process.console_size.as_ref(),
            self.program.identity.user(),
        )?;
        give_terminal(line, &self.program.streams, Some(&terminal))?;
        Ok(Some(terminal))
    }

    fn last_affinity(&self) -> Outcome<()> {
        let last = self
            .process
            .exec_cpu_affinity
            .as_ref()
            .and_then(|affinity| affinity.last.as_deref());
        last.map_or(Ok(()), schedule::set_affinity)
    }
}

/// The caller until the program runs; a process that fails before is reaped here.
fn attend(
    newborn: Newborn,
    line: &Line,
    program: &Program,
    warnings: Vec<String>,
) -> Result<Execed, Error> {
    let Newborn { pid, pidfd } = newborn;
    let mut execed = Execed {
        pid,
        pidfd,
        start_time: process::start_time(pid).unwrap_or_default(),
        console: None,
        warnings,
    };
    let started = prepare(&mut execed, line, program).and_then(|()| {
        _ = line.send(Tag::Go, &[], None);
        gate::follow(line, pid)
    });
    if let Err(error) = started {
        _ = pidfd_send_signal(&execed.pidfd, Signal::KILL);
        reap(execed.pidfd.as_fd());
        return Err(error);
    }
    Ok(execed)
}

fn prepare(execed: &mut Execed, line: &Line, program: &Program) -> Result<(), Error> {
    loop {
        let packet = line
            .receive()
            .at(Stage::Prepare, "the process")
            .map_err(Fault::on_host)?;
        let packet = packet.ok_or(Error::Died {
            stage: Stage::JoinNamespaces,
        })?;
        match packet.tag {
            Tag::Fault => return Err(Fault::told(&packet.payload, Stage::Prepare)),
            Tag::Warning => execed
                .warnings
                .push(String::from_utf8_lossy(&packet.payload).into_owned()),
            Tag::Console => execed.console = packet.descriptor,
            Tag::Ready => {
                return program
                    .schedule
                    .schedule(execed.pid)
                    .map_err(Fault::on_host);
            }
            _ => {}
        }
    }
}
