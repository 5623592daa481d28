//! The container's first process from its birth to its gate. Each stage is a type whose method is the only way to the next.
//!
//! ```text
//! Newborn ─ join ─▶ Member ─ make_root ─▶ Rooted ─ furnish ─▶ Furnished ─ enter ─▶ Inside ─▶ User ─ gate ─▶ Released
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{Gid, Uid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use spec::{NamespaceKind, Status};

use crate::fault::{At, Fault, Outcome};
use crate::idmap::Mappers;
use crate::last::{Inside, User, give_terminal, receive, tell};
use crate::mounts::Ground;
use crate::plan::{Barrier, Plan, Streams};
use crate::terminal::Terminal;
use crate::wire::{Line, Tag};
use crate::{HookStage, Stage, gate, masks, run_hooks, terminal};

/// Just cloned: new namespaces, no ids mapped yet.
struct Newborn<'a> {
    plan: &'a Plan<'a>,
    line: &'a Line,
}

/// In its cgroup and all its namespaces, as the container's root user.
struct Member<'a> {
    plan: &'a Plan<'a>,
    line: &'a Line,
    /// The root, when the caller made it.
    root: Option<OwnedFd>,
}

/// The root stands in the mount namespace.
struct Rooted<'a> {
    plan: &'a Plan<'a>,
    line: &'a Line,
    root: OwnedFd,
}

/// The root has its mounts and devices; hooks of the host's side were run.
struct Furnished<'a> {
    plan: &'a Plan<'a>,
    root: OwnedFd,
    terminal: Option<Terminal>,
}

/// Runs in the child and never returns: it becomes the program or ends.
pub(crate) fn run(plan: &Plan<'_>, entry: &cgroup::Entry, line: Line) -> ! {
    let fault = match to_gate(plan, entry, line) {
        Ok(user) => {
            let (user, opener) = user;
            match user.released(opener).execute() {}
        }
        Err((line, fault)) => {
            tell(&line, &fault);
            fault
        }
    };
    sys::exit(i32::from(fault.inside().exit_code()))
}

type Stopped = (Line, Fault);

fn to_gate<'a>(
    plan: &'a Plan<'a>,
    entry: &cgroup::Entry,
    line: Line,
) -> Result<(User<'a>, Option<Line>), Stopped> {
    let prepared = (Newborn { plan, line: &line })
        .join(entry)
        .and_then(Member::make_root)
        .and_then(Rooted::furnish)
        .and_then(Furnished::enter)
        .and_then(|terminal| plan.program.identity.make_directory().map(|()| terminal));
    let terminal = match prepared {
        Ok(terminal) => terminal,
        Err(fault) => return Err((line, fault)),
    };
    // Faults of the last stages go over the same line, of which a copy is kept for them.
    let Ok(copy) = line.copy() else { sys::exit(1) };
    let user = Inside {
        program: &plan.program,
        line,
        terminal,
    }
    .become_user()
    .map_err(|fault| (copy, fault))?;
    match wait(plan, &user) {
        Ok(opener) => Ok((user, opener)),
        Err(fault) => Err((user.line, fault)),
    }
}

impl<'a> Newborn<'a> {
    fn join(self, entry: &cgroup::Entry) -> Outcome<Member<'a>> {
        let Newborn { plan, line } = self;
        let namespaces = &plan.namespaces;
        sys::set_parent_death_signal(libc::SIGKILL).at(Stage::Prepare, "parent death signal")?;
        sys::reset_signals();
        entry.join().at(Stage::JoinCgroup, "")?;
        let packet = receive(line, Stage::MapIds)?;
        if namespaces.makes(NamespaceKind::Time) {
            // Still with the ids that own this process's files in /proc.
            set_clocks(plan)?;
        }
        if namespaces.has(NamespaceKind::User) {
            become_root(&namespaces.maps)?;
        }
        // The change of ids made the process traceable again.
        sys::forbid_tracing().at(Stage::SetSecurity, "forbid tracing")?;
        for joined in &namespaces.joined {
            use NamespaceKind::{Mount, Pid, User};
            if !matches!(joined.kind, User | Pid | Mount) {
                joined.enter()?;
            }
        }
        if namespaces.makes(NamespaceKind::Network) {
            sys::bring_loopback_up()
                .at(Stage::JoinNamespaces, "switch the loopback interface on")?;
        }
        if namespaces.makes(NamespaceKind::Cgroup) {
            // Only now: its root is the cgroup that the process is in.
            sys::unshare(sys::CLONE_NEWCGROUP)
                .at(Stage::JoinNamespaces, "a new cgroup namespace")?;
        }
        if !plan.options.no_new_keyring {
            join_keyring(plan.id)?;
        }
        rustix::process::umask(Mode::empty());
        Ok(Member {
            plan,
            line,
            root: packet.descriptor,
        })
    }
}

/// Becomes the root user of the user namespace, where that maps one.
pub(crate) fn become_root(maps: &crate::idmap::IdMaps) -> Outcome<()> {
    let maps_zero = |map: &[spec::IdMapping]| {
        map.is_empty()
            || map
                .iter()
                .any(|line| line.container_id == 0 && line.size > 0)
    };
    match rustix::thread::set_thread_groups(&[]) {
        // "deny" stands in its setgroups file: a map of one id.
        Err(rustix::io::Errno::PERM) => {}
        answer => answer.at(Stage::SetUser, "no groups")?,
    }
    if maps_zero(&maps.gids) {
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
            .at(Stage::SetUser, "gid 0 of the user namespace")?;
    }
    if maps_zero(&maps.uids) {
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
            .at(Stage::SetUser, "uid 0 of the user namespace")?;
    }
    Ok(())
}

/// Offsets can be written until the first process enters a time namespace (time_namespaces(7)): this one, right after.
fn set_clocks(plan: &Plan<'_>) -> Outcome<()> {
    sys::unshare(sys::CLONE_NEWTIME).at(Stage::SetClock, "a new time namespace")?;
    let lines: String = plan
        .linux
        .time_offsets
        .iter()
        .map(|(clock, offset)| format!("{clock} {} {}\n", offset.secs, offset.nanosecs))
        .collect();
    if !lines.is_empty() {
        std::fs::write("/proc/self/timens_offsets", &lines)
            .at(Stage::SetClock, lines.trim_end().replace('\n', ", "))?;
    }
    let path = "/proc/self/ns/time_for_children";
    let namespace = openat(
        rustix::fs::CWD,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Stage::SetClock, path)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Time))
        .at(Stage::SetClock, path)
}

/// A session keyring of its own; a kernel built without keys has none to share either.
pub(crate) fn join_keyring(id: &str) -> Outcome<()> {
    let name = std::ffi::CString::new(format!("_ses.{id}")).unwrap_or_default();
    match sys::join_session_keyring(&name) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        answer => answer.at(Stage::SetSecurity, "a new session keyring"),
    }
}

impl<'a> Member<'a> {
    fn make_root(self) -> Outcome<Rooted<'a>> {
        let Member { plan, line, root } = self;
        let root = match root {
            Some(root) => root,
            None => plan.rootfs.assemble(&mut Mappers::new(None))?,
        };
        // Where binds are shared with the host the root itself is not: what is mounted on it would arrive there.
        sys::set_mount_propagation(root.as_fd(), !plan.shares(), libc::MS_SLAVE)
            .at(Stage::MakeRoot, "/ as a slave")?;
        Ok(Rooted { plan, line, root })
    }
}

impl<'a> Rooted<'a> {
    fn furnish(self) -> Outcome<Furnished<'a>> {
        let Rooted { plan, line, root } = self;
        let ground = Ground {
            root,
            namespaces: &plan.namespaces,
            cgroup: plan.cgroup,
            shares: plan.shares(),
        };
        for mount in &plan.mounts {
            mount.mount(&ground)?;
        }
        if !plan.mounts.iter().any(crate::mounts::Planned::binds_dev) {
            plan.devices.make(&ground)?;
        }
        let Ground { root, .. } = ground;
        let program = &plan.program;
        let terminal = match program.streams {
            Streams::Terminal(_) => {
                let terminal = terminal::open(
                    &root,
                    plan.process.console_size.as_ref(),
                    program.identity.user(),
                )?;
                terminal.bind_console(&root)?;
                Some(terminal)
            }
            _ => None,
        };
        give_terminal(line, &program.streams, terminal.as_ref())?;
        program.receive_filter(line)?;
        run_outer_hooks(plan, line)?;
        masks::apply(&root, plan.linux)?;
        Ok(Furnished {
            plan,
            root,
            terminal,
        })
    }
}

/// `prestart` and `createRuntime` by the caller, in its namespaces; `createContainer` here, which still sees the host's files.
fn run_outer_hooks(plan: &Plan<'_>, line: &Line) -> Outcome<()> {
    let Some(hooks) = &plan.spec.hooks else {
        return Ok(());
    };
    if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
        line.send(Tag::Hooks, &[], None).at(Stage::RunHook, "")?;
        receive(line, Stage::RunHook)?;
    }
    run_own_hooks(
        plan,
        HookStage::CreateContainer,
        &hooks.create_container,
        Status::Creating,
    )
}

fn run_own_hooks(
    plan: &Plan<'_>,
    stage: HookStage,
    hooks: &[spec::Hook],
    status: Status,
) -> Outcome<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = plan.state(status, rustix::process::getpid().as_raw_nonzero().get());
    run_hooks(stage, hooks, &state)
        .map_err(|error| std::io::Error::other(error.to_string()))
        .at(Stage::RunHook, "")
}

impl Furnished<'_> {
    /// What needs the host's /proc, then the change of roots, then what belongs to the new one.
    fn enter(self) -> Outcome<Option<Terminal>> {
        let Furnished {
            plan,
            root,
            terminal,
        } = self;
        plan.sysctl.apply()?;
        plan.program.schedule.apply_personality()?;
        plan.program.identity.set_profile()?;
        set_names(plan)?;
        if let Some(lodging) = plan.namespaces.lodging() {
            lodge(&root, plan, lodging)?;
            return Ok(terminal);
        }
        change_root(&root, plan)?;
        if let Some((kind, recursive)) = crate::plan::propagation(&plan.linux.rootfs_propagation)
            .ok()
            .flatten()
        {
            sys::set_mount_propagation(root.as_fd(), recursive, kind)
                .at(Stage::EnterRoot, "rootfsPropagation")?;
        }
        if plan.spec.root.as_ref().is_some_and(|root| root.readonly) {
            masks::lock_root(&root)?;
        }
        Ok(terminal)
    }
}

fn set_names(plan: &Plan<'_>) -> Outcome<()> {
    if let Some(name) = &plan.spec.hostname {
        rustix::system::sethostname(name.as_bytes()).at(Stage::SetHostname, name)?;
    }
    if let Some(name) = &plan.spec.domainname {
        rustix::system::setdomainname(name.as_bytes()).at(Stage::SetHostname, name)?;
    }
    Ok(())
}

/// Makes the new root `/` and lets the old one go, with all that is mounted there.
fn change_root(root: &OwnedFd, plan: &Plan<'_>) -> Outcome<()> {
    rustix::process::fchdir(root).at(Stage::EnterRoot, "/")?;
    if plan.options.no_pivot {
        // On top of everything, where those who join the mount namespace arrive too.
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        match move_mount(root, "", rustix::fs::CWD, "/", flags) {
            // It lies there already.
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::BUSY) => {}
            answer => answer.at(Stage::EnterRoot, "move to /")?,
        }
        rustix::process::chroot(".").at(Stage::EnterRoot, "chroot")?;
    } else {
        // The old root then lies on the new one; nothing of ours is needed to hold it. Each umount takes the uppermost mount, and
        // one too many would take our own.
        rustix::process::pivot_root(".", ".").at(Stage::EnterRoot, "pivot_root")?;
        for _ in 0..plan.rootfs.stacked() {
            unmount(".", UnmountFlags::DETACH).at(Stage::EnterRoot, "leave the old root")?;
        }
    }
    rustix::process::chdir("/").at(Stage::EnterRoot, "/")
}

/// Leaves for the mount namespace that the program is to run in, and makes a detached copy of the root `/` there: it lives for
/// as long as a process has its root in it, its `..` leads nowhere, and mount(2) does not work in it.
fn lodge(root: &OwnedFd, plan: &Plan<'_>, lodging: &crate::namespaces::Joined) -> Outcome<()> {
    if plan.spec.root.as_ref().is_some_and(|root| root.readonly) {
        masks::lock_root(root)?;
    }
    let tree = crate::mounts::clone_of(root, true).at(Stage::EnterRoot, "/")?;
    lodging.enter()?;
    enter_root(&tree).at(Stage::EnterRoot, "/")
}

/// Makes an open directory `/`.
pub(crate) fn enter_root(root: &OwnedFd) -> std::io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}

/// Waits at the gate; the connection of who opened it, where it is not the caller's.
fn wait(plan: &Plan<'_>, user: &User<'_>) -> Outcome<Option<Line>> {
    user.let_go(match &plan.barrier {
        Barrier::Held => None,
        Barrier::Socket(_, listener) => Some(listener.as_fd()),
    })?;
    let root = openat(
        rustix::fs::CWD,
        Path::new("/"),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let root = root.at(Stage::WaitForStart, "/")?;
    user.line
        .send(Tag::Ready, &[], Some(root.as_fd()))
        .at(Stage::WaitForStart, "")?;
    drop(root);
    receive(&user.line, Stage::WaitForStart)?;
    let opener = match &plan.barrier {
        Barrier::Held => None,
        Barrier::Socket(_, listener) => {
            // From here on the caller may go, unless the container is to go with it.
            if !plan.program.die_with_parent {
                sys::set_parent_death_signal(0).at(Stage::WaitForStart, "parent death signal")?;
            }
            user.line
                .send(Tag::Ready, &[], None)
                .at(Stage::WaitForStart, "")?;
            Some(gate::wait_at(listener)?)
        }
    };
    let hooks = plan
        .spec
        .hooks
        .as_ref()
        .map(|hooks| hooks.start_container.as_slice())
        .unwrap_or_default();
    run_own_hooks(plan, HookStage::StartContainer, hooks, Status::Created)?;
    Ok(opener)
}
