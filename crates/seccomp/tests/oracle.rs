//! The compiler against libseccomp and against the rules read literally: random profiles, random calls, equal answers.
//!
//! The literal reading (`literal`) decides: libseccomp 2.5.4 has faults of its own, all seen here: equal blocks of two
//! architectures are merged although one did not load the number, two rules on one argument are merged wrongly
//! (x > 1 or (x <= MAX and y) holds for x = 0), and where overlapping rules have different actions its answer depends on
//! how its tree was sorted. So it must agree in all but a few of a thousand answers.
#![cfg(feature = "oracle")]
#![allow(clippy::unwrap_used)]

mod bpf;

use std::io::{Read, Seek};

use bpf::{Call, Random, run};
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use spec::{Seccomp, SyscallArg, SyscallRule};
use sys::SockFilter;

const ARCHS: [(&str, ScmpArch, u32); 6] = [
    ("SCMP_ARCH_X86_64", ScmpArch::X8664, 0xc000_003e),
    ("SCMP_ARCH_X86", ScmpArch::X86, 0x4000_0003),
    ("SCMP_ARCH_X32", ScmpArch::X32, 0xc000_003e),
    ("SCMP_ARCH_ARM", ScmpArch::Arm, 0x4000_0028),
    ("SCMP_ARCH_AARCH64", ScmpArch::Aarch64, 0xc000_00b7),
    ("SCMP_ARCH_RISCV64", ScmpArch::Riscv64, 0xc000_00f3),
];
const NAMES: [&str; 40] = [
    "read",
    "write",
    "open",
    "openat",
    "close",
    "stat",
    "fstat",
    "newfstatat",
    "lseek",
    "mmap",
    "mmap2",
    "mprotect",
    "munmap",
    "ioctl",
    "clone",
    "clone3",
    "personality",
    "socket",
    "socketcall",
    "connect",
    "accept",
    "send",
    "semop",
    "semget",
    "shmat",
    "ipc",
    "ptrace",
    "execve",
    "execveat",
    "kill",
    "prctl",
    "openat2",
    "epoll_pwait2",
    "futex",
    "futex_time64",
    "getrandom",
    "set_robust_list",
    "io_uring_setup",
    "no_such_call",
    "landlock_create_ruleset",
];
const ACTIONS: [&str; 8] = [
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
];
const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];
const VALUES: [u64; 10] = [
    0,
    1,
    2,
    40,
    0x7e02_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0028,
    u64::MAX - 1,
    u64::MAX,
];

fn action(name: &str, errno: Option<u32>) -> ScmpAction {
    let data = errno.unwrap_or(1);
    match name {
        "SCMP_ACT_KILL" => ScmpAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => ScmpAction::KillProcess,
        "SCMP_ACT_TRAP" => ScmpAction::Trap,
        "SCMP_ACT_ERRNO" => ScmpAction::Errno(data as i32),
        "SCMP_ACT_TRACE" => ScmpAction::Trace(data as u16),
        "SCMP_ACT_ALLOW" => ScmpAction::Allow,
        "SCMP_ACT_LOG" => ScmpAction::Log,
        "SCMP_ACT_NOTIFY" => ScmpAction::Notify,
        other => panic!("{other}"),
    }
}

fn comparison(arg: &SyscallArg) -> ScmpArgCompare {
    let op = match arg.op.as_str() {
        "SCMP_CMP_NE" => ScmpCompareOp::NotEqual,
        "SCMP_CMP_LT" => ScmpCompareOp::Less,
        "SCMP_CMP_LE" => ScmpCompareOp::LessOrEqual,
        "SCMP_CMP_EQ" => ScmpCompareOp::Equal,
        "SCMP_CMP_GE" => ScmpCompareOp::GreaterEqual,
        "SCMP_CMP_GT" => ScmpCompareOp::Greater,
        _ => ScmpCompareOp::MaskedEqual(arg.value),
    };
    let datum = if arg.op == "SCMP_CMP_MASKED_EQ" {
        arg.value_two
    } else {
        arg.value
    };
    ScmpArgCompare::new(arg.index, op, datum)
}

/// The profile by libseccomp, in runc's way of calling it. `None`: libseccomp refuses it.
fn oracle(spec: &Seccomp) -> Option<Vec<SockFilter>> {
    let default = action(&spec.default_action, spec.default_errno_ret);
    let mut filter = ScmpFilterContext::new(default).ok()?;
    for (name, arch, _) in ARCHS {
        if spec.architectures.iter().any(|known| known == name) {
            filter.add_arch(arch).ok()?;
        }
    }
    for rule in &spec.syscalls {
        let what = action(&rule.action, rule.errno_ret);
        if what == default {
            continue;
        }
        for name in &rule.names {
            let Ok(call) = ScmpSyscall::from_name(name) else {
                continue;
            };
            if rule.args.is_empty() {
                filter.add_rule(what, call).ok()?;
            } else {
                let conditions: Vec<_> = rule.args.iter().map(comparison).collect();
                filter.add_rule_conditional(what, call, &conditions).ok()?;
            }
        }
    }
    let mut file = std::fs::File::from(
        rustix::fs::memfd_create("oracle", rustix::fs::MemfdFlags::CLOEXEC).unwrap(),
    );
    filter.export_bpf(&file).ok()?;
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    let half = |chunk: &[u8], at: usize| u16::from_ne_bytes([chunk[at], chunk[at + 1]]);
    let instruction = |chunk: &[u8]| SockFilter {
        code: half(chunk, 0),
        jt: chunk[2],
        jf: chunk[3],
        k: u32::from_ne_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]),
    };
    Some(bytes.chunks_exact(8).map(instruction).collect())
}

fn random_args(random: &mut Random, multiplexed: bool) -> Vec<SyscallArg> {
    // Conditions on multiplexed calls are a case where we differ on purpose (rules.rs).
    let count = if multiplexed {
        0
    } else {
        [0, 0, 1, 1, 2, 3][random.below(6)]
    };
    let mut indices = vec![0, 1, 2, 3, 4, 5];
    (0..count)
        .map(|_| {
            let index = indices.remove(random.below(indices.len()));
            let op = (*random.pick(&OPERATORS)).to_owned();
            let (value, value_two) = (*random.pick(&VALUES), *random.pick(&VALUES));
            let value_two = if op == "SCMP_CMP_MASKED_EQ" {
                value & value_two
            } else {
                0
            };
            SyscallArg {
                index,
                value,
                value_two,
                op,
            }
        })
        .collect()
}

fn random_spec(random: &mut Random) -> Seccomp {
    let default_action = (*random.pick(&ACTIONS[..7])).to_owned();
    let with_errno = |name: &str, random: &mut Random| {
        (name == "SCMP_ACT_ERRNO" || name == "SCMP_ACT_TRACE").then(|| random.below(90) as u32)
    };
    // ENOSYS as the default's errno keeps the stub for new numbers, which is not libseccomp's, invisible in most cases;
    // the others are compared below the largest number named.
    let default_errno_ret = with_errno(&default_action, random);
    let architectures = ARCHS
        .iter()
        .filter(|_| random.below(3) == 0)
        .map(|(name, _, _)| (*name).to_owned())
        .collect();
    let mut actions = std::collections::HashMap::new();
    let syscalls = (0..random.below(24))
        .map(|_| {
            let name = *random.pick(&NAMES);
            let multiplexed = [
                "socket",
                "socketcall",
                "connect",
                "accept",
                "send",
                "semop",
                "semget",
                "shmat",
                "ipc",
            ]
            .contains(&name);
            let key = if multiplexed { "multiplexed" } else { name };
            let (action, errno_ret) = actions
                .entry(key)
                .or_insert_with(|| {
                    let action = (*random.pick(&ACTIONS)).to_owned();
                    let errno = with_errno(&action, random);
                    (action, errno)
                })
                .clone();
            let args = random_args(random, multiplexed);
            let names = vec![name.to_owned()];
            SyscallRule {
                names,
                action,
                errno_ret,
                args,
            }
        })
        .filter(|rule| !(rule.action == "SCMP_ACT_NOTIFY" && rule.names[0] == "write"))
        .collect();
    let listener_path = "/run/listener".to_owned();
    Seccomp {
        default_action,
        default_errno_ret,
        architectures,
        syscalls,
        listener_path,
        ..Seccomp::default()
    }
}

fn random_call(random: &mut Random, spec: &Seccomp) -> Call {
    let (_, _, arch) = *random.pick(&ARCHS);
    let number = match random.below(8) {
        0 => random.next() as u32,
        1 => u32::MAX,
        2 => 0x4000_0000 + random.below(560) as u32,
        _ => random.below(470) as u32,
    };
    let mut call = Call {
        number,
        arch,
        args: [0; 6],
    };
    for arg in &mut call.args {
        let value = *random.pick(&VALUES);
        *arg = [
            value,
            value.wrapping_add(1),
            value.wrapping_sub(1),
            random.next(),
        ][random.below(4)];
    }
    // Aim at what the profile speaks of.
    if let (Some(rule), true) = (spec.syscalls.get(random.below(24)), random.below(3) > 0) {
        for arg in &rule.args {
            let aim = if arg.op == "SCMP_CMP_MASKED_EQ" {
                arg.value_two
            } else {
                arg.value
            };
            call.args[arg.index as usize] =
                aim.wrapping_add(random.below(3) as u64).wrapping_sub(1);
        }
        let name = ScmpSyscall::from_name_by_arch(&rule.names[0], ARCHS[random.below(6)].1);
        if let Some(number) = name.ok().map(i32::from).filter(|number| *number >= 0) {
            call.number = number as u32;
        }
    }
    call
}

fn holds(arg: &SyscallArg, value: u64, narrow: bool) -> bool {
    let cut = |value: u64| if narrow { value & 0xffff_ffff } else { value };
    let (value, first, second) = (cut(value), cut(arg.value), cut(arg.value_two));
    match arg.op.as_str() {
        "SCMP_CMP_NE" => value != first,
        "SCMP_CMP_LT" => value < first,
        "SCMP_CMP_LE" => value <= first,
        "SCMP_CMP_EQ" => value == first,
        "SCMP_CMP_GE" => value >= first,
        "SCMP_CMP_GT" => value > first,
        _ => value & first == second,
    }
}

fn value(name: &str, errno: Option<u32>) -> u32 {
    let data = errno.unwrap_or(1);
    match name {
        "SCMP_ACT_KILL" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | data,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | data,
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        _ => 0x7fc0_0000,
    }
}

/// The architecture among those of the profile that a call belongs to.
fn belongs(spec: &Seccomp, call: &Call) -> Option<ScmpArch> {
    let named = |name: &str| {
        name == "SCMP_ARCH_X86_64" || spec.architectures.iter().any(|known| known == name)
    };
    let here = ARCHS
        .iter()
        .filter(|(name, _, audit)| *audit == call.arch && named(name))
        .map(|(_, arch, _)| *arch);
    here.filter(|arch| *arch != ScmpArch::X32 || call.number >= 0x4000_0000)
        .max_by_key(|arch| *arch == ScmpArch::X32)
}

fn number(name: &str, arch: ScmpArch) -> Option<i32> {
    match (name, arch) {
        // Here libseccomp answers its pseudo numbers.
        ("socket", ScmpArch::X86) => Some(359),
        ("connect", ScmpArch::X86) => Some(362),
        ("semget", ScmpArch::X86) => Some(393),
        ("shmat", ScmpArch::X86) => Some(397),
        _ => ScmpSyscall::from_name_by_arch(name, arch)
            .ok()
            .map(i32::from),
    }
}

/// What the rules say of a call; the numbers are libseccomp's.
fn by_rules(spec: &Seccomp, call: &Call, arch: ScmpArch, default: u32) -> Option<u32> {
    let narrow = matches!(arch, ScmpArch::X86 | ScmpArch::X32 | ScmpArch::Arm);
    let mut conditional = None;
    for rule in &spec.syscalls {
        let action = value(&rule.action, rule.errno_ret);
        let selected = [(102, -100), (117, -200)]
            .iter()
            .any(|(multiplexer, base)| {
                let which = base - (call.args[0] as u32).min(99) as i32;
                arch == ScmpArch::X86
                    && call.number == *multiplexer
                    && which != *base
                    && selects(rule, which)
            });
        let named = rule
            .names
            .iter()
            .any(|name| number(name, arch) == Some(call.number as i32));
        if action == default || !selected && !named {
            continue;
        }
        if rule.args.is_empty() && !selected {
            return Some(action);
        }
        if selected
            || rule
                .args
                .iter()
                .all(|arg| holds(arg, call.args[arg.index as usize], narrow))
        {
            conditional = conditional.or(Some(action));
        }
    }
    conditional
}

/// Whether a call is newer than everything that the profile names.
fn too_new(spec: &Seccomp, call: &Call, arch: ScmpArch) -> bool {
    let multiplexer = |number: i32| match number {
        _ if arch != ScmpArch::X86 => number,
        -300..=-200 => 117,
        -199..=-100 => 102,
        number => number,
    };
    let names = spec.syscalls.iter().flat_map(|rule| &rule.names);
    let numbers = names.filter_map(|name| number(name, arch)).map(multiplexer);
    let newest = numbers.filter(|number| *number >= 0).max();
    let permissive = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"]
        .contains(&spec.default_action.as_str());
    newest.is_some_and(|newest| call.number > newest as u32) && !permissive
}

/// The profile read literally.
fn literal(spec: &Seccomp, call: &Call) -> u32 {
    let default = value(&spec.default_action, spec.default_errno_ret);
    let Some(arch) = belongs(spec, call) else {
        return 0;
    };
    match by_rules(spec, call, arch, default) {
        Some(action) => action,
        None if too_new(spec, call, arch) => 0x0005_0026,
        None if arch == ScmpArch::X8664
            && call.number >= 0x4000_0000
            && call.number != u32::MAX =>
        {
            0
        }
        None => default,
    }
}

/// Whether the rule names the call that x86's multiplexer was asked for; libseccomp's pseudo numbers say which it is.
fn selects(rule: &SyscallRule, which: i32) -> bool {
    const PSEUDO: [(&str, i32); 7] = [
        ("socket", -101),
        ("connect", -103),
        ("accept", -105),
        ("send", -109),
        ("semop", -201),
        ("semget", -202),
        ("shmat", -221),
    ];
    rule.names
        .iter()
        .any(|name| PSEUDO.contains(&(name.as_str(), which)))
}

#[test]
fn the_same_answers_as_libseccomp() {
    let (mut compared, mut differing, mut decided) = (0, 0, 0);
    for seed in 1..=3000 {
        let mut random = Random::new(seed);
        let spec = random_spec(&mut random);
        let theirs = oracle(&spec);
        let ours = seccomp::compile_everywhere(&spec).unwrap().program;
        for _ in 0..40 {
            let call = random_call(&mut random, &spec);
            let our = run(&ours, &call).0;
            let place = || {
                format!(
                    "seed {seed}: {call:x?}\n{}",
                    serde_json::to_string(&spec).unwrap()
                )
            };
            assert_eq!(our, literal(&spec, &call), "{our:#x}, {}", place());
            decided +=
                usize::from(our != value(&spec.default_action, spec.default_errno_ret) && our != 0);
            // The one intended difference: ENOSYS above the newest number that the profile names.
            if let Some(theirs) = theirs.as_ref().filter(|_| our != 0x0005_0026) {
                compared += 1;
                differing += usize::from(our != run(theirs, &call).0);
            }
        }
    }
    println!("compared {compared}, differing {differing}, decided by a rule {decided}");
    assert!(
        compared > 50_000 && decided > 10_000,
        "compared {compared}, decided by a rule {decided}"
    );
    assert!(
        differing * 500 < compared,
        "{differing} of {compared} differ"
    );
}

#[test]
fn the_default_profile_means_the_same_to_both() {
    let text = include_str!("../../../src/stockade/runtime/seccomp-default.json");
    let mut spec: Seccomp = serde_json::from_str(text).unwrap();
    spec.architectures
        .retain(|name| name.contains("X86") || name.contains("X32"));
    let (ours, theirs) = (
        seccomp::compile(&spec).unwrap().program,
        oracle(&spec).unwrap(),
    );
    println!(
        "instructions: ours {}, libseccomp's {}",
        ours.len(),
        theirs.len()
    );
    assert!(ours.len() * 2 < theirs.len());
    let mut differing = Vec::new();
    let numbers = (0..512).chain(0x4000_0000..0x4000_0240);
    for (number, arch) in numbers.flat_map(|n| [(n, 0xc000_003e), (n, 0x4000_0003)]) {
        let call = Call {
            number,
            arch,
            args: [0; 6],
        };
        let (our, their) = (run(&ours, &call).0, run(&theirs, &call).0);
        if our != their && our != 0x0005_0026 {
            differing.push((arch, number, our, their));
        }
    }
    // x86's socketcall: libseccomp lets every call through that a direct one with conditions names, we none. And calls
    // that this libseccomp does not know yet.
    let known: Vec<_> = differing
        .iter()
        .filter(|(_, number, our, _)| {
            number & 0x3fff_ffff < 449 && *number != 335 || *our != 0x7fff_0000
        })
        .collect();
    assert!(known.is_empty(), "{known:x?}");
}
