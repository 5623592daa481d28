//! Making the child: directly, or through a short-lived usher where a namespace must be entered before the child is born.
//!
//! A process id namespace counts for children only, and what belongs to a joined user namespace must be made from inside it. The
//! usher enters, clones with CLONE_PARENT — the child is the caller's, not its own — and ends. A caller that may do so instead turns
//! to a process id namespace for the moment of the clone, and the child does the rest.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use spec::NamespaceKind;
use sys::Fork;

use crate::Stage;
use crate::fault::{At, Fault, Outcome};
use crate::idmap::reap;
use crate::namespaces::Namespaces;
use crate::wire::{Line, Tag};

/// A child of the caller's.
#[derive(Debug)]
pub(crate) struct Newborn {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

/// Clones the first process of a container: the child gets `None`.
pub(crate) fn of_container(
    namespaces: &Namespaces,
    entry: &cgroup::Entry,
) -> Outcome<Option<Newborn>> {
    // The root of a cgroup namespace is the maker's cgroup, and offsets come before the first process of a time namespace:
    // the child makes these two itself.
    let flags = namespaces.new & !(sys::CLONE_NEWCGROUP | sys::CLONE_NEWTIME);
    // The child's mount namespace starts as a copy of the one that it is made in.
    let early = [
        NamespaceKind::User,
        NamespaceKind::Mount,
        NamespaceKind::Pid,
    ]
    .map(|kind| namespaces.joins(kind));
    if early.iter().all(Option::is_none) {
        return match sys::fork(flags, entry.into_cgroup()).at(Stage::Clone, "")? {
            Fork::Child => Ok(None),
            Fork::Parent { pid, pidfd } => Ok(Some(Newborn { pid, pidfd })),
        };
    }
    ushered(|| {
        early
            .iter()
            .flatten()
            .try_for_each(|joined| joined.enter())?;
        sys::fork(flags | sys::CLONE_PARENT, entry.into_cgroup()).at(Stage::Clone, "")
    })
}

/// Clones the caller into its own process id namespace or, for this one clone, into that of process `init`. The child gets `None`;
/// nobody there can trace it from its birth on, unless CAP_SYS_PTRACE lets him trace everything that enters.
pub(crate) fn among(
    init: Option<BorrowedFd<'_>>,
    entry: &cgroup::Entry,
) -> Outcome<Option<Newborn>> {
    let traced = sys::tracing_allowed().at(Stage::SetSecurity, "forbid tracing")?;
    sys::allow_tracing(false).at(Stage::SetSecurity, "forbid tracing")?;
    let born = match init {
        Some(init) => elsewhere(init, entry),
        None => sys::fork(0, entry.into_cgroup()).at(Stage::Clone, ""),
    };
    match born {
        Ok(Fork::Child) => Ok(None),
        born => {
            if traced {
                sys::allow_tracing(true).at(Stage::SetSecurity, "allow tracing")?;
            }
            match born? {
                Fork::Parent { pid, pidfd } => Ok(Some(Newborn { pid, pidfd })),
                Fork::Child => Ok(None),
            }
        }
    }
}

fn elsewhere(init: BorrowedFd<'_>, entry: &cgroup::Entry) -> Outcome<Fork> {
    let path = "/proc/self/ns/pid_for_children";
    let home = openat(
        rustix::fs::CWD,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Stage::JoinNamespaces, path)?;
    move_into_thread_name_spaces(init, ThreadNameSpaceType::PROCESS_ID)
        .at(Stage::JoinNamespaces, "of init")?;
    let born = sys::fork(0, entry.into_cgroup());
    if !matches!(born, Ok(Fork::Child)) {
        move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::ProcessID))
            .expect("a process may have its children where it had them before");
    }
    born.at(Stage::Clone, "")
}

/// Runs `enter` in an usher: what it forks becomes the caller's child, which gets `None`.
pub(crate) fn ushered(enter: impl FnOnce() -> Outcome<Fork>) -> Outcome<Option<Newborn>> {
    let (ours, theirs) = Line::pair().at(Stage::Clone, "a socket pair")?;
    let Fork::Parent { pidfd: usher, .. } = sys::fork(0, None).at(Stage::Clone, "usher")? else {
        drop(ours);
        return Ok(usher_in(&theirs, enter));
    };
    drop(theirs);
    let packet = ours.receive();
    reap(usher.as_fd());
    let packet = packet.at(Stage::Clone, "usher")?;
    match packet {
        Some(packet) if packet.tag == Tag::Fault => {
            Err(Fault::decode(&packet.payload).unwrap_or(Fault {
                stage: Stage::Clone,
                subject: "usher".into(),
                reason: std::io::Error::other("it failed without a reason"),
            }))
        }
        Some(packet) => {
            let pid = packet
                .payload
                .first_chunk::<4>()
                .map(|bytes| i32::from_le_bytes(*bytes));
            match (pid, packet.descriptor) {
                (Some(pid), Some(pidfd)) => Ok(Some(Newborn { pid, pidfd })),
                _ => Fault::refuse(Stage::Clone, "usher", "it told no process"),
            }
        }
        None => Fault::refuse(Stage::Clone, "usher", "it died"),
    }
}

/// In the usher; returns in the child that it makes.
fn usher_in(line: &Line, enter: impl FnOnce() -> Outcome<Fork>) -> Option<Newborn> {
    // The caller's death is the child's to notice; the usher is gone within microseconds.
    let told = match enter() {
        Ok(Fork::Child) => return None,
        Ok(Fork::Parent { pid, pidfd }) => {
            line.send(Tag::Continue, &pid.to_le_bytes(), Some(pidfd.as_fd()))
        }
        Err(fault) => line.send(Tag::Fault, &fault.encode(), None),
    };
    sys::exit(i32::from(told.is_err()))
}
