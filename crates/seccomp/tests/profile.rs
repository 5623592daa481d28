//! The default profile: what it lets through and what not, and what it costs.
#![allow(clippy::unwrap_used)]

mod bpf;

use std::collections::BTreeMap;
use std::time::Instant;

use bpf::{Call, run};
use spec::{Seccomp, SyscallRule};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn profile() -> Seccomp {
    serde_json::from_str(include_str!(
        "../../../src/stockade/runtime/seccomp-default.json"
    ))
    .unwrap()
}

fn with(capability: &str) -> Seccomp {
    let text = include_str!("../../../src/stockade/runtime/seccomp-capabilities.json");
    let mut rules: BTreeMap<String, Vec<SyscallRule>> = serde_json::from_str(text).unwrap();
    let mut spec = profile();
    spec.syscalls
        .splice(0..0, rules.remove(capability).unwrap());
    spec
}

fn answer(spec: &Seccomp, number: u32, first: u64) -> u32 {
    let args = [first, 0, 0, 0, 0, 0];
    run(
        &seccomp::compile(spec).unwrap().program,
        &Call {
            number,
            arch: 0xc000_003e,
            args,
        },
    )
    .0
}

#[test]
#[cfg(target_arch = "x86_64")]
fn what_needs_no_privilege_passes_and_what_endangers_the_host_does_not() {
    let spec = profile();
    for (name, number) in [
        ("read", 0),
        ("execve", 59),
        ("futex", 202),
        ("openat2", 437),
        ("ptrace", 101),
        ("memfd_create", 319),
        ("chroot", 161),
    ] {
        assert_eq!(answer(&spec, number, 0), ALLOW, "{name}");
    }
    let refused = [
        ("mount", 165),
        ("umount2", 166),
        ("unshare", 272),
        ("setns", 308),
        ("pivot_root", 155),
        ("bpf", 321),
        ("keyctl", 250),
        ("add_key", 248),
        ("request_key", 249),
        ("userfaultfd", 323),
        ("perf_event_open", 298),
        ("io_uring_setup", 425),
        ("kexec_load", 246),
        ("init_module", 175),
        ("reboot", 169),
        ("swapon", 167),
        ("open_by_handle_at", 304),
        ("quotactl", 179),
        ("move_pages", 279),
        ("settimeofday", 164),
        ("acct", 163),
    ];
    for (name, number) in refused {
        assert_eq!(answer(&spec, number, 0), EPERM, "{name}");
    }
    assert_eq!(answer(&spec, 469, 0), ENOSYS, "newer than the profile");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn namespaces_families_and_personalities_are_told_by_their_argument() {
    let spec = profile();
    let (clone, clone3, socket, personality) = (56, 435, 41, 135);
    assert_eq!(answer(&spec, clone, 0x3d_0f00), ALLOW, "a thread");
    for flag in [
        0x2_0000,
        0x200_0000,
        0x400_0000,
        0x800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        assert_eq!(answer(&spec, clone, flag | 17), EPERM, "{flag:#x}");
    }
    assert_eq!(
        answer(&spec, clone3, 0),
        ENOSYS,
        "its flags lie in memory: the C library falls back to clone"
    );
    for family in 0..64 {
        // AF_ALG and AF_VSOCK: the kernel's crypto and a door past the network namespace. The upper half of the register
        // is not the kernel's to read, so it must not matter.
        let expected = if family == 38 || family == 40 || family > 45 {
            EPERM
        } else {
            ALLOW
        };
        assert_eq!(answer(&spec, socket, family), expected, "family {family}");
        assert_eq!(
            answer(&spec, socket, family | 1 << 32),
            expected,
            "family {family} and garbage above"
        );
    }
    assert_eq!(answer(&spec, personality, 0xffff_ffff), ALLOW);
    assert_eq!(
        answer(&spec, personality, 0x4_0000),
        EPERM,
        "ADDR_NO_RANDOMIZE"
    );
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_capability_brings_its_calls() {
    let admin = with("CAP_SYS_ADMIN");
    assert_eq!(
        (
            answer(&admin, 165, 0),
            answer(&admin, 435, 0),
            answer(&admin, 56, 0x1000_0000)
        ),
        (ALLOW, ALLOW, ALLOW)
    );
    assert_eq!(answer(&with("CAP_SYS_BOOT"), 169, 0), ALLOW);
}

#[test]
fn it_is_small_and_quick() {
    let spec = profile();
    let began = Instant::now();
    let filter = seccomp::compile(&spec).unwrap();
    let compiled = began.elapsed();
    let began = Instant::now();
    assert_eq!(seccomp::compile(&spec).unwrap(), filter);
    let again = began.elapsed();
    let load = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        let began = Instant::now();
        filter.load().unwrap();
        (filter.program.len(), began.elapsed())
    });
    let (length, loaded) = load.join().unwrap();
    println!(
        "{length} instructions, compiled in {compiled:?}, again in {again:?}, loaded in {loaded:?}"
    );
    assert!(length < 700);
}
