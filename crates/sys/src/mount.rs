//! mount_setattr(2): the attributes of a mount, or of all below it, by descriptor.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;
/// The two bits that choose how access times are kept; relatime is neither.
pub const MOUNT_ATTR_ATIME: u64 = 0x70;
pub const MOUNT_ATTR_NOATIME: u64 = 0x10;
pub const MOUNT_ATTR_STRICTATIME: u64 = 0x20;
pub const MOUNT_ATTR_NODIRATIME: u64 = 0x80;
pub const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x20_0000;
const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;

#[repr(C)]
#[derive(Default)]
struct Attr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

fn set(mount: BorrowedFd<'_>, recursive: bool, attr: &Attr) -> io::Result<()> {
    const AT_RECURSIVE: libc::c_int = 0x8000;
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: `attr` is a whole `struct mount_attr` and only read; the path is the empty string.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const *attr,
            size_of::<Attr>(),
        )
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sets and clears `MOUNT_ATTR_*` on the mount that `mount` is the root of.
pub fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    recursive: bool,
    set_bits: u64,
    clear_bits: u64,
) -> io::Result<()> {
    set(
        mount,
        recursive,
        &Attr {
            set: set_bits,
            clear: clear_bits,
            ..Attr::default()
        },
    )
}

/// Sets the propagation (`MS_SHARED`, `MS_PRIVATE`, `MS_SLAVE` or `MS_UNBINDABLE`).
pub fn set_mount_propagation(
    mount: BorrowedFd<'_>,
    recursive: bool,
    propagation: u64,
) -> io::Result<()> {
    set(
        mount,
        recursive,
        &Attr {
            propagation,
            ..Attr::default()
        },
    )
}

/// Maps the ids of a detached mount's files through a user namespace.
pub fn map_mount_ids(
    mount: BorrowedFd<'_>,
    recursive: bool,
    userns: BorrowedFd<'_>,
) -> io::Result<()> {
    set(
        mount,
        recursive,
        &Attr {
            set: MOUNT_ATTR_IDMAP,
            userns: userns.as_raw_fd() as u64,
            ..Attr::default()
        },
    )
}
