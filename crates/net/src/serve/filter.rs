//! The system calls that this process makes (seccomp(2)); all others are refused with EPERM. What breaks it by a packet can
//! read files and speak to sockets, as before: it starts nothing, writes no file, and reaches no other process.

use sys::SockFilter;

use crate::error::{Error, Result};

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const REFUSE: u32 = 0x0005_0000 | libc::EPERM as u32;
/// Where `struct seccomp_data` has the number, the architecture and the arguments, whose low halves come first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
const OWN: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OWN: u32 = 0xc000_00b7;

/// Most frequent first.
const CALLS: &[libc::c_long] = &[
    libc::SYS_epoll_pwait,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_epoll_ctl,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_dup3,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_getdents64,
    libc::SYS_statx,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_lseek,
    libc::SYS_futex,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Of a newer architecture these have one name only.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[libc::c_long] = &[libc::SYS_epoll_wait, libc::SYS_dup2];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[libc::c_long] = &[];

/// Calls that open a file, and which argument has the flags.
#[cfg(target_arch = "x86_64")]
const OPENING: &[(libc::c_long, u32)] = &[(libc::SYS_openat, 2), (libc::SYS_open, 1)];
#[cfg(not(target_arch = "x86_64"))]
const OPENING: &[(libc::c_long, u32)] = &[(libc::SYS_openat, 2)];

const WRITING: u32 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32;
const FAMILIES: [i32; 3] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

/// Takes all other calls away, from here on and for ever.
pub fn load() -> Result<()> {
    sys::load_seccomp(&program(), 0)
        .map(drop)
        .map_err(Error::Privileges)
}

fn program() -> Vec<SockFilter> {
    let mut all = vec![
        load_word(ARCHITECTURE),
        jump(JUMP_EQUAL, OWN, 1, 0),
        answer(REFUSE),
        load_word(NUMBER),
    ];
    for &call in CALLS.iter().chain(OLD_CALLS) {
        all.extend([jump(JUMP_EQUAL, call as u32, 0, 1), answer(ALLOW)]);
    }
    for &(call, flags) in OPENING {
        all.extend([
            jump(JUMP_EQUAL, call as u32, 0, 4),
            load_word(ARGUMENTS + 8 * flags),
            jump(JUMP_ANY_BIT, WRITING, 0, 1),
            answer(REFUSE),
            answer(ALLOW),
        ]);
    }
    all.extend([
        jump(JUMP_EQUAL, libc::SYS_socket as u32, 1, 0),
        answer(REFUSE),
        load_word(ARGUMENTS),
    ]);
    for family in FAMILIES {
        all.extend([jump(JUMP_EQUAL, family as u32, 0, 1), answer(ALLOW)]);
    }
    all.push(answer(REFUSE));
    all
}

fn load_word(at: u32) -> SockFilter {
    instruction(LOAD, at, 0, 0)
}

fn jump(code: u16, value: u32, yes: u8, no: u8) -> SockFilter {
    instruction(code, value, yes, no)
}

fn answer(value: u32) -> SockFilter {
    instruction(RETURN, value, 0, 0)
}

fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> SockFilter {
    SockFilter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer.
    fn run(architecture: u32, number: libc::c_long, arguments: [u32; 6]) -> u32 {
        let program = program();
        let (mut at, mut value) = (0, 0);
        loop {
            let SockFilter { code, jt, jf, k } = program[at];
            at += 1;
            let holds = match code {
                LOAD => {
                    value = match k {
                        NUMBER => number as u32,
                        ARCHITECTURE => architecture,
                        argument => arguments[((argument - ARGUMENTS) / 8) as usize],
                    };
                    continue;
                }
                RETURN => return k,
                JUMP_EQUAL => value == k,
                JUMP_ANY_BIT => value & k != 0,
                other => panic!("{other}"),
            };
            at += usize::from(if holds { jt } else { jf });
        }
    }

    #[test]
    fn what_is_allowed_and_what_is_not() {
        let at = |number, arguments| run(OWN, number, arguments);
        assert_eq!(at(libc::SYS_sendto, [0; 6]), ALLOW);
        assert_eq!(at(libc::SYS_exit_group, [0; 6]), ALLOW);
        for number in [
            libc::SYS_execve,
            libc::SYS_ptrace,
            libc::SYS_unlinkat,
            libc::SYS_kill,
        ] {
            assert_eq!(at(number, [0; 6]), REFUSE, "{number}");
        }
        assert_eq!(run(OWN ^ 1, libc::SYS_sendto, [0; 6]), REFUSE);
    }

    #[test]
    fn files_are_read_only_and_sockets_of_the_internet() {
        let open = |flags: i32| run(OWN, libc::SYS_openat, [0, 0, flags as u32, 0, 0, 0]);
        assert_eq!(open(libc::O_CLOEXEC | libc::O_DIRECTORY), ALLOW);
        for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC] {
            assert_eq!(open(flags), REFUSE);
        }
        let socket = |family: i32| run(OWN, libc::SYS_socket, [family as u32, 0, 0, 0, 0, 0]);
        assert_eq!(socket(libc::AF_INET6), ALLOW);
        for family in [libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK] {
            assert_eq!(socket(family), REFUSE);
        }
    }
}
