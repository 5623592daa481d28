//! Scheduling attributes that no safe crate offers: sched_setattr(2), ioprio_set(2), resource limits by number.

use std::io;

/// `struct sched_attr` of sched_setattr(2), its first version.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

fn check(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sets policy and parameters of process `pid`; `size` is filled in here.
pub fn set_scheduler(pid: i32, attr: SchedAttr) -> io::Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        ..attr
    };
    // SAFETY: `attr` is a whole `struct sched_attr` whose size field says so.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attr, 0) })
}

/// Sets the I/O priority of process `pid`: class 1 real time, 2 best effort, 3 idle; level 0 (high) to 7.
pub fn set_io_priority(pid: i32, class: u32, level: u32) -> io::Result<()> {
    const WHO_PROCESS: libc::c_long = 1;
    const CLASS_SHIFT: u32 = 13;
    // SAFETY: takes numbers.
    check(unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            WHO_PROCESS,
            pid,
            libc::c_long::from(class << CLASS_SHIFT | level),
        )
    })
}

/// Soft and hard limit of process `pid` for resource number `resource` (prlimit(2)); `u64::MAX` is no limit.
pub fn resource_limit(pid: i32, resource: u32) -> io::Result<(u64, u64)> {
    let mut limits = [0u64; 2];
    // SAFETY: prlimit64 fills the two 64-bit numbers of `struct rlimit64`.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            std::ptr::null::<u64>(),
            limits.as_mut_ptr(),
        )
    })?;
    Ok((limits[0], limits[1]))
}

/// Sets soft and hard limit of process `pid` for resource number `resource`.
pub fn set_resource_limit(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limits = [soft, hard];
    // SAFETY: prlimit64 reads the two 64-bit numbers of `struct rlimit64`.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            limits.as_ptr(),
            std::ptr::null_mut::<u64>(),
        )
    })
}
