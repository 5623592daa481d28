//! seccomp(2): a filter's instructions and the calls that install it or ask the kernel about it.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// One instruction of classic BPF (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SockFilter {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

#[repr(C)]
struct SockFprog {
    len: u16,
    filter: *const SockFilter,
}

const SET_MODE_FILTER: libc::c_uint = 1;
const GET_ACTION_AVAIL: libc::c_uint = 2;

/// The flag of seccomp(2) that makes the call return a listener for notifications.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;

/// Installs `program` for the calling thread; with [`FLAG_NEW_LISTENER`] the answer is the listener.
///
/// Errors: `EACCES` without no_new_privs and CAP_SYS_ADMIN, `EINVAL` for a program or flag that the kernel refuses,
/// `ESRCH` when `TSYNC` was asked and another thread could not be brought along.
pub fn load_seccomp(program: &[SockFilter], flags: u32) -> io::Result<Option<OwnedFd>> {
    let len =
        u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let fprog = SockFprog {
        len,
        filter: program.as_ptr(),
    };
    // SAFETY: `fprog` and the instructions it points to outlive the call, which only reads them.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const fprog) };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        0 if flags & FLAG_NEW_LISTENER == 0 => Ok(None),
        fd if flags & FLAG_NEW_LISTENER != 0 => {
            // SAFETY: with NEW_LISTENER the kernel answered a fresh descriptor that nobody else owns.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
        }
        // TSYNC without TSYNC_ESRCH answers the thread that could not follow.
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// Whether the kernel knows the return value `action` (`SECCOMP_RET_…` without data).
pub fn seccomp_action_known(action: u32) -> bool {
    // SAFETY: the call reads one u32 that outlives it.
    unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

/// Whether the kernel knows the flag `flag` of `SECCOMP_SET_MODE_FILTER`: it looks at the flags before it
/// looks at the program, so a null program tells the two apart (EFAULT: known, EINVAL: not).
pub fn seccomp_flag_known(flag: u32) -> bool {
    // SAFETY: the program pointer is null, which the kernel answers with EFAULT; nothing is installed.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            flag,
            std::ptr::null::<SockFprog>(),
        )
    };
    answer == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}
