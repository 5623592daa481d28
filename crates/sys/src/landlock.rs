//! landlock(7): giving away the files of the machine for good.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Every right that the first version of the kernel's interface knows (`LANDLOCK_ACCESS_FS_*`).
const ALL: u64 = (1 << 13) - 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;
const RULE_PATH_BENEATH: libc::c_int = 1;

#[repr(C)]
struct Ruleset {
    handled: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// From now on this thread opens nothing but what lies in `directory`, and that for reading; what is open stays so. It must have
/// given new privileges away. A kernel without it says ENOSYS or EOPNOTSUPP.
pub fn read_nothing_but(directory: BorrowedFd<'_>) -> io::Result<()> {
    let ruleset = Ruleset { handled: ALL };
    // SAFETY: the kernel reads as many bytes as the structure has.
    let number = answer(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const ruleset,
            size_of::<Ruleset>(),
            0,
        )
    })?;
    // SAFETY: the descriptor is fresh and nobody else's.
    let ruleset = unsafe { OwnedFd::from_raw_fd(number) };
    let rule = PathBeneath {
        allowed: READ_FILE | READ_DIRECTORY,
        parent: directory.as_raw_fd(),
    };
    // SAFETY: the kernel reads a structure of this very layout; both descriptors are open.
    answer(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0,
        )
    })?;
    // SAFETY: takes numbers.
    answer(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })
        .map(drop)
}

fn answer(value: libc::c_long) -> io::Result<i32> {
    if value < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(value).map_err(io::Error::other)
}
