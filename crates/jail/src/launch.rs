//! The caller's side: one clone, then the services that the child needs from the host, until it stands at its gate.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::process::{Signal, pidfd_send_signal};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use spec::{NamespaceKind, Status};

use crate::birth::{self, Newborn};
use crate::fault::{At, Fault, Outcome};
use crate::idmap::{Mappers, reap, user_namespace, write_maps};
use crate::plan::{Barrier, Plan};
use crate::wire::{Line, Packet, Tag};
use crate::{Error, HookStage, Launch, Stage, gate, init, process, reaper, run_hooks};

/// A container whose init waits at its gate, or runs. Dropping it does nothing to a container that was started or settled;
/// before that init ends, because its line does.
#[derive(Debug)]
pub struct Container {
    /// Of init, as the host sees it. It is the caller's child: the caller reaps it.
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// Field 22 of `/proc/PID/stat`.
    pub start_time: u64,
    /// The container's root as an `O_PATH` descriptor. It keeps the root's file systems mounted for as long as it is open.
    pub rootfs: Option<OwnedFd>,
    /// The terminal's master, with [`crate::Stdio::Console`].
    pub console: Option<OwnedFd>,
    /// What could only be done in part (a limit clamped, a capability unknown), one sentence each.
    pub warnings: Vec<String>,
    line: Option<Line>,
    /// Where an init above the program tells of its end.
    heard: Option<OwnedFd>,
}

impl Container {
    /// How the program ended, where it has an init above it that saw it; once, when init has ended.
    pub fn program_end(&self) -> Option<sys::ChildEnd> {
        self.heard
            .as_ref()
            .and_then(|heard| reaper::told(heard.as_fd()))
    }

    /// Opens a [`crate::Gate::Held`]; returns when the program was executed, or with the reason why not — then init ends with the
    /// code that [`Error::exit_code`] says, and is the caller's to reap as ever.
    pub fn start(&mut self) -> Result<(), Error> {
        let line = self.line.take().ok_or(Error::AlreadyStarted)?;
        line.send(Tag::Go, &[], None)
            .map_err(|_| Error::NotRunning)?;
        gate::follow(&line, self.pid)
    }

    /// Lets the init of a [`crate::Gate::Socket`] go to its gate, where it outlives the caller. To be called once the container is
    /// on record: a caller that dies before leaves no process.
    pub fn settle(&mut self) -> Result<(), Error> {
        let line = self.line.take().ok_or(Error::AlreadyStarted)?;
        line.send(Tag::Continue, &[], None)
            .map_err(|_| Error::NotRunning)?;
        // Init says when our death would no longer be its own.
        match line.receive() {
            Ok(Some(_)) => Ok(()),
            _ => Err(Error::NotRunning),
        }
    }
}

/// Makes a container up to its gate: everything is set up but the program. The caller must have one thread only. On failure
/// nothing is left behind, the gate's file neither; the cgroup is the caller's.
pub fn create(launch: Launch<'_>) -> Result<Container, Error> {
    let plan = Plan::new(launch)?;
    let made = make(&plan);
    if made.is_err()
        && let Barrier::Socket(path, _) = &plan.barrier
    {
        _ = std::fs::remove_file(path);
    }
    made
}

fn make(plan: &Plan<'_>) -> Result<Container, Error> {
    let entry = plan.cgroup.entry()?;
    let (ours, theirs) = Line::pair()
        .at(Stage::Prepare, "a socket pair")
        .map_err(Fault::on_host)?;
    let newborn = match birth::of_container(&plan.namespaces, &entry).map_err(Fault::on_host)? {
        None => {
            drop(ours);
            init::run(plan, &entry, theirs)
        }
        Some(newborn) => newborn,
    };
    drop(theirs);
    Attendance {
        plan,
        line: ours,
        newborn: Some(newborn),
        container: Gathered::default(),
    }
    .attend()
}

/// What the child has sent so far.
#[derive(Default)]
struct Gathered {
    console: Option<OwnedFd>,
    warnings: Vec<String>,
}

/// The caller while the child gets ready. Dropped early it takes the child along.
struct Attendance<'a> {
    plan: &'a Plan<'a>,
    line: Line,
    newborn: Option<Newborn>,
    container: Gathered,
}

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        if let Some(newborn) = &self.newborn {
            // A child that is gone already is only to be reaped.
            _ = pidfd_send_signal(&newborn.pidfd, Signal::KILL);
            reap(newborn.pidfd.as_fd());
        }
    }
}

impl Attendance<'_> {
    fn attend(mut self) -> Result<Container, Error> {
        let Some(newborn) = &self.newborn else {
            return Err(Error::NotRunning);
        };
        let (pid, root) = (
            newborn.pid,
            serve(self.plan, newborn).map_err(Fault::on_host)?,
        );
        self.container.warnings = self
            .plan
            .program
            .schedule
            .permit(Some(pid))
            .map_err(Fault::on_host)?;
        // A child that died meanwhile has left its reason on the line.
        _ = self
            .line
            .send(Tag::Mapped, &[], root.as_ref().map(AsFd::as_fd));
        self.send_filter()?;
        let rootfs = self.until_ready(pid)?;
        self.plan
            .program
            .schedule
            .schedule(pid)
            .map_err(Fault::on_host)?;
        let start_time = process::start_time(pid).ok_or(Error::NotRunning)?;
        let Some(Newborn { pid, pidfd }) = self.newborn.take() else {
            return Err(Error::NotRunning);
        };
        let Gathered {
            console,
            mut warnings,
        } = std::mem::take(&mut self.container);
        warnings.extend(self.plan.warnings.iter().cloned());
        let line = self
            .line
            .copy()
            .at(Stage::Prepare, "the line")
            .map_err(Fault::on_host)?;
        let heard = self.plan.program.reaper.as_ref();
        let heard = heard.map(|reaper| reaper.heard.try_clone()).transpose();
        let heard = heard
            .at(Stage::Prepare, "init's pipe")
            .map_err(Fault::on_host)?;
        Ok(Container {
            pid,
            pidfd,
            start_time,
            rootfs,
            console,
            warnings,
            line: Some(line),
            heard,
        })
    }

    /// Compiles the filter while the child mounts, which takes it several times as long.
    fn send_filter(&self) -> Result<(), Error> {
        if let Some(cell) = &self.plan.program.filter
            && cell.get().is_none()
            && let Some(seccomp) = &self.plan.linux.seccomp
        {
            let filter = seccomp::compile(seccomp)?;
            _ = self.line.send(Tag::Filter, &filter.encode(), None);
        }
        Ok(())
    }

    /// Serves the child until it stands at its gate; its root.
    fn until_ready(&mut self, pid: i32) -> Result<Option<OwnedFd>, Error> {
        loop {
            match self
                .line
                .receive()
                .at(Stage::Prepare, "the child")
                .map_err(Fault::on_host)?
            {
                None => {
                    return Err(Error::Died {
                        stage: Stage::Prepare,
                    });
                }
                Some(Packet {
                    tag: Tag::Ready,
                    descriptor,
                    ..
                }) => return Ok(descriptor),
                Some(packet) => self.answer(packet, pid)?,
            }
        }
    }

    fn answer(&mut self, packet: Packet, pid: i32) -> Result<(), Error> {
        match packet.tag {
            Tag::Fault => return Err(Fault::told(&packet.payload, Stage::Prepare)),
            Tag::Warning => self
                .container
                .warnings
                .push(String::from_utf8_lossy(&packet.payload).into_owned()),
            Tag::Console => self.container.console = packet.descriptor,
            Tag::Hooks => {
                let hooks = self.plan.spec.hooks.as_ref();
                let state = self.plan.state(Status::Creating, pid);
                run_hooks(
                    HookStage::Prestart,
                    hooks.map_or(&[], |hooks| &hooks.prestart),
                    &state,
                )?;
                run_hooks(
                    HookStage::CreateRuntime,
                    hooks.map_or(&[], |hooks| &hooks.create_runtime),
                    &state,
                )?;
                _ = self.line.send(Tag::Continue, &[], None);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Maps the child's ids, the ids of its mounts, and makes its root where it may not do so itself.
fn serve(plan: &Plan<'_>, newborn: &Newborn) -> Outcome<Option<OwnedFd>> {
    let namespaces = &plan.namespaces;
    if namespaces.makes(NamespaceKind::User) {
        write_maps(newborn.pid, &namespaces.maps, plan.privileged)?;
    }
    if !plan.privileged {
        return Ok(None);
    }
    let made = namespaces
        .makes(NamespaceKind::User)
        .then(|| user_namespace(newborn.pid))
        .transpose()
        .at(Stage::MapIds, "the user namespace")?;
    let userns = made.as_ref().or(namespaces
        .joins(NamespaceKind::User)
        .map(|joined| joined.descriptor()));
    let mut mappers = Mappers::new(userns.map(|userns| (&namespaces.maps, userns.as_fd())));
    for mount in &plan.mounts {
        mount.map_ids(&mut mappers)?;
    }
    if !plan.rootfs.needs_caller() {
        return Ok(None);
    }
    let enter = || {
        move_into_thread_name_spaces(newborn.pidfd.as_fd(), ThreadNameSpaceType::MOUNT)
            .at(Stage::MakeRoot, "the child's mount namespace")
    };
    elsewhere(enter, || plan.rootfs.assemble(&mut mappers))?.map(Some)
}

/// Runs `work` in the mount namespace that `enter` goes to, with the caller's own credentials, and comes back.
pub(crate) fn elsewhere<T>(
    enter: impl FnOnce() -> Outcome<()>,
    work: impl FnOnce() -> T,
) -> Outcome<T> {
    let open = |path: &str, flags: OFlags| -> io::Result<OwnedFd> {
        Ok(openat(
            rustix::fs::CWD,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    };
    let home = open("/proc/self/ns/mnt", OFlags::RDONLY)
        .at(Stage::MakeRoot, "the caller's mount namespace")?;
    let root = open("/", OFlags::PATH | OFlags::DIRECTORY).at(Stage::MakeRoot, "/")?;
    let directory =
        open(".", OFlags::PATH | OFlags::DIRECTORY).at(Stage::MakeRoot, "the working directory")?;
    enter()?;
    let outcome = work();
    // Joining a mount namespace changes root and working directory: a chrooted caller gets its own back.
    let back = move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Mount))
        .and_then(|()| rustix::process::fchdir(&root))
        .and_then(|()| rustix::process::chroot("."))
        .and_then(|()| rustix::process::fchdir(&directory));
    back.expect("a process may enter the mount namespace it came from");
    Ok(outcome)
}
