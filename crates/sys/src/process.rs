//! Making and shaping processes: clone3(2), unshare(2), close_range(2), execveat(2), capset(2) and small ones.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Namespace kinds as clone(2)'s flags.
pub const CLONE_NEWTIME: u64 = 0x80;
pub const CLONE_NEWNS: u64 = 0x2_0000;
pub const CLONE_NEWCGROUP: u64 = 0x200_0000;
pub const CLONE_NEWUTS: u64 = 0x400_0000;
pub const CLONE_NEWIPC: u64 = 0x800_0000;
pub const CLONE_NEWUSER: u64 = 0x1000_0000;
pub const CLONE_NEWPID: u64 = 0x2000_0000;
pub const CLONE_NEWNET: u64 = 0x4000_0000;
/// The child becomes a child of the caller's parent.
pub const CLONE_PARENT: u64 = 0x8000;
/// The child shares the caller's descriptor table.
pub const CLONE_FILES: u64 = 0x400;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which of the two processes returned from [`fork`].
#[derive(Debug)]
pub enum Fork {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// Forks the caller, which must be its process's only thread: another's locks would stay taken in the child for ever.
///
/// `flags` are namespaces, [`CLONE_PARENT`] and [`CLONE_FILES`]; the child signals SIGCHLD when it ends. With `cgroup`
/// (cgroup v2) it is born in that directory.
pub fn fork(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD,
        pidfd: &raw mut pidfd as u64,
        exit_signal: if flags & CLONE_PARENT == 0 {
            libc::SIGCHLD as u64
        } else {
            0
        },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a whole `struct clone_args` with no stack, TLS or shared memory: the child runs on its own copy of
    // this stack. `pidfd` outlives the call.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) } {
        0 => Ok(Fork::Child),
        pid if pid > 0 => {
            // SAFETY: CLONE_PIDFD stored a fresh descriptor that nobody else owns.
            Ok(Fork::Parent {
                pid: pid as i32,
                pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
            })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

fn check(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

/// unshare(2) for namespaces.
pub fn unshare(namespaces: u64) -> io::Result<()> {
    // SAFETY: takes a number; only namespace flags are passed by contract, so no descriptor table is split.
    check(unsafe { libc::syscall(libc::SYS_unshare, namespaces) }).map(drop)
}

/// Marks every descriptor from `first` on to be closed by exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: takes numbers; sets a flag on descriptors and closes none.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// Closes every descriptor from `first` on but those in `keep`: for a process that from here on only executes or exits, whose
/// owners of descriptors are never dropped.
pub fn close_others(first: u32, keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = keep
        .iter()
        .map(|fd| fd.as_raw_fd() as u32)
        .filter(|&fd| fd >= first)
        .collect();
    kept.sort_unstable();
    let close = |from: u32, to: u32| {
        // SAFETY: takes numbers. The caller promises that no owner of these descriptors acts again.
        check(unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) })
    };
    let mut next = first;
    for fd in kept {
        if fd > next {
            close(next, fd - 1)?;
        }
        next = fd + 1;
    }
    close(next, u32::MAX).map(drop)
}

/// dup3(2) without CLOEXEC onto a number below 3, whatever stands there.
pub fn set_stdio(from: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    debug_assert!((0..3).contains(&number));
    if from.as_raw_fd() == number {
        // SAFETY: F_SETFD takes a number and touches the flag of one descriptor.
        return check(libc::c_long::from(unsafe {
            libc::fcntl(number, libc::F_SETFD, 0)
        }))
        .map(drop);
    }
    // SAFETY: replaces one of the standard descriptors, which nobody owns as an `OwnedFd`.
    check(libc::c_long::from(unsafe {
        libc::dup2(from.as_raw_fd(), number)
    }))
    .map(drop)
}

/// Arguments or environment as exec wants them: strings and a vector of pointers that ends with null.
#[derive(Debug)]
pub struct StringVector {
    strings: Vec<std::ffi::CString>,
    pointers: Vec<*const libc::c_char>,
}

impl StringVector {
    pub fn new(strings: Vec<std::ffi::CString>) -> StringVector {
        let pointers = strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect();
        StringVector { strings, pointers }
    }

    pub fn strings(&self) -> &[std::ffi::CString] {
        &self.strings
    }
}

/// execve(2); returns only the reason why not.
pub fn exec(path: &CStr, args: &StringVector, env: &StringVector) -> io::Error {
    // SAFETY: the vectors end with null and their strings are alive and end with NUL.
    unsafe { libc::execve(path.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// execveat(2) of an open file.
pub fn exec_descriptor(file: BorrowedFd<'_>, args: &StringVector, env: &StringVector) -> io::Error {
    let (args, env) = (args.pointers.as_ptr(), env.pointers.as_ptr());
    // SAFETY: as in `exec`; the path is the empty string.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            args,
            env,
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Ends the process at once, without running anything that the parent's copy registered.
pub fn exit(code: i32) -> ! {
    // SAFETY: never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// The three capability sets of the calling thread as bit masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySets {
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
}

/// capset(2) on the calling thread.
pub fn set_capabilities(sets: CapabilitySets) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let half = |shift: u32| {
        [
            (sets.effective >> shift) as u32,
            (sets.permitted >> shift) as u32,
            (sets.inheritable >> shift) as u32,
        ]
    };
    let data = [half(0), half(32)];
    // SAFETY: header and data have version 3's layout (two triples of 32 bits) and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

fn prctl(option: libc::c_int, a: u64, b: u64) -> io::Result<()> {
    // SAFETY: the options passed here take numbers only.
    check(libc::c_long::from(unsafe {
        libc::prctl(option, a, b, 0u64, 0u64)
    }))
    .map(drop)
}

/// Removes a capability from the bounding set; EINVAL when the kernel does not know it.
pub fn drop_from_bounding_set(capability: u32) -> io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0)
}

/// Adds a capability to the ambient set.
pub fn raise_ambient(capability: u32) -> io::Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_RAISE as u64,
        u64::from(capability),
    )
}

pub fn clear_ambient() -> io::Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as u64,
        0,
    )
}

/// PR_SET_KEEPCAPS: permitted capabilities outlive the change of all user ids away from 0.
pub fn keep_capabilities(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(keep), 0)
}

/// PR_SET_PDEATHSIG; 0 clears it.
pub fn set_parent_death_signal(signal: i32) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal as u64, 0)
}

/// PR_SET_DUMPABLE to no: other processes neither trace this one nor reach its /proc directory.
pub fn forbid_tracing() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0, 0)
}

/// PR_GET_DUMPABLE: whether others of the same rights may trace this process.
pub fn tracing_allowed() -> io::Result<bool> {
    // SAFETY: takes a number and answers one.
    let answer = check(libc::c_long::from(unsafe {
        libc::prctl(libc::PR_GET_DUMPABLE, 0u64, 0u64, 0u64, 0u64)
    }))?;
    Ok(answer == 1)
}

/// PR_SET_DUMPABLE; children inherit it.
pub fn allow_tracing(allow: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(allow), 0)
}

/// PR_SET_NO_NEW_PRIVS.
pub fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// A fresh, anonymous session keyring (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING), named as `name`.
pub fn join_session_keyring(name: &CStr) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: the name ends with NUL and is only read.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })
        .map(drop)
}

/// personality(2).
pub fn set_personality(persona: u32) -> io::Result<()> {
    // SAFETY: takes a number.
    check(libc::c_long::from(unsafe {
        libc::personality(libc::c_ulong::from(persona))
    }))
    .map(drop)
}

/// Empties the signal mask and gives every signal its default disposition: what a program expects to be born with.
pub fn reset_signals() {
    const SET_SIZE: usize = 8;
    const LAST: i32 = 64;
    // All zero: SIG_DFL, no flags, no restorer, an empty mask. The C library's call would skip its own real-time signals.
    let default = [0u64; 4];
    let none = std::ptr::null_mut::<u64>();
    for signal in 1..=LAST {
        // SAFETY: `default` covers the kernel's `struct sigaction`. SIGKILL and SIGSTOP answer EINVAL, which is as wanted.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                none,
                SET_SIZE,
            )
        };
    }
    let empty = 0u64;
    // SAFETY: the set is 8 bytes, as its size says.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const empty,
            none,
            SET_SIZE,
        )
    };
}

/// The ids that count for files (setfsuid(2), setfsgid(2)); a change away from 0 also takes the file capabilities away until
/// it is changed back.
pub fn set_file_ids(uid: u32, gid: u32) {
    // SAFETY: take numbers; they report no failure.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
    }
}
