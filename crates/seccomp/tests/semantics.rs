//! What a profile means, case by case, on x86_64 and x86.
#![allow(clippy::unwrap_used)]

mod bpf;

use bpf::{Call, run};
use seccomp::{Error, compile};
use spec::Seccomp;

const X86_64: u32 = 0xc000_003e;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn profile(text: &str) -> Seccomp {
    serde_json::from_str(text).unwrap()
}

fn answer(text: &str, number: u32, args: [u64; 6]) -> u32 {
    let mut spec = profile(text);
    spec.architectures.push("SCMP_ARCH_X86_64".to_owned());
    run(
        &compile(&spec).unwrap().program,
        &Call {
            number,
            arch: X86_64,
            args,
        },
    )
    .0
}

#[test]
fn an_unconditional_rule_outweighs_conditional_ones_in_either_order() {
    let conditional = r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}"#;
    let always = r#"{"names":["read"],"action":"SCMP_ACT_LOG"}"#;
    for (first, second) in [(conditional, always), (always, conditional)] {
        let text = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{first},{second}]}}"#);
        assert_eq!(answer(&text, 0, [1, 0, 0, 0, 0, 0]), 0x7ffc_0000);
    }
}

#[test]
fn of_overlapping_conditional_rules_the_first_decides() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_GE"}]},
        {"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":2,"op":"SCMP_CMP_GE"}]}]}"#;
    assert_eq!(answer(text, 0, [2, 0, 0, 0, 0, 0]), EPERM);
}

#[test]
fn two_conditions_on_one_argument_are_alternatives() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[
        {"index":0,"value":0,"op":"SCMP_CMP_EQ"},{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]}]}"#;
    assert_eq!(answer(text, 135, [8, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(text, 135, [1, 0, 0, 0, 0, 0]), EPERM);
}

#[test]
fn numbers_newer_than_the_profile_do_not_exist() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read","clone3"],"action":"SCMP_ACT_ALLOW"}]}"#;
    assert_eq!(answer(text, 434, [0; 6]), EPERM);
    assert_eq!(answer(text, 436, [0; 6]), ENOSYS);
    let lenient = r#"{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO"}]}"#;
    assert_eq!(answer(lenient, 436, [0; 6]), 0x7ffc_0000);
}

#[test]
fn a_foreign_architecture_is_killed_and_an_unnamed_call_skipped() {
    let spec = profile(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["no_such_call"],"action":"SCMP_ACT_TRAP"}]}"#,
    );
    let program = compile(&spec).unwrap().program;
    assert_eq!(
        run(
            &program,
            &Call {
                number: 0,
                arch: 0x8000_0016,
                args: [0; 6]
            }
        )
        .0,
        0
    );
    assert_eq!(
        run(
            &program,
            &Call {
                number: 0x4000_0000,
                arch: X86_64,
                args: [0; 6]
            }
        )
        .0,
        0,
        "x32"
    );
}

#[test]
fn a_multiplexed_call_is_allowed_only_without_conditions() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"syscalls":[
        {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
        {"names":["connect"],"action":"SCMP_ACT_ALLOW"}]}"#;
    let program = compile(&profile(text)).unwrap().program;
    let socketcall = |which| {
        run(
            &program,
            &Call {
                number: 102,
                arch: 0x4000_0003,
                args: [which, 0, 0, 0, 0, 0],
            },
        )
        .0
    };
    assert_eq!((socketcall(1), socketcall(3)), (EPERM, ALLOW));
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    let error = |text: &str| compile(&profile(text)).unwrap_err();
    assert!(matches!(
        error(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#),
        Error::NotifyDefault
    ));
    let write = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/l","syscalls":[{"names":["write"],"action":"SCMP_ACT_NOTIFY"}]}"#;
    assert!(matches!(error(write), Error::NotifyWrite));
    assert!(matches!(
        error(&write.replace("/l", "").replace("\"write\"", "\"read\"")),
        Error::NoListenerPath
    ));
    assert!(matches!(
        error(r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#),
        Error::Unknown { what: "action", .. }
    ));
    assert!(matches!(
        error(r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#),
        Error::ErrnoNotTaken(_)
    ));
    assert!(matches!(
        error(r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":70000}"#),
        Error::ErrnoRange(70000)
    ));
    assert!(matches!(
        error(r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}"#),
        Error::Unknown { what: "flag", .. }
    ));
    assert!(matches!(
        error(r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["X"]}"#),
        Error::Unknown {
            what: "architecture",
            ..
        }
    ));
    let argument = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_TRAP","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}"#;
    assert!(matches!(
        error(argument),
        Error::Unknown {
            what: "argument index",
            ..
        }
    ));
}

#[test]
fn a_filter_longer_than_the_kernel_takes_is_refused_here() {
    let args: Vec<_> = (0..3000)
        .map(|n| format!(r#"{{"index":0,"value":{n},"op":"SCMP_CMP_EQ"}}"#))
        .collect();
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["read"],"action":"SCMP_ACT_TRAP","args":[{}]}}]}}"#,
        args.join(",")
    );
    assert!(matches!(compile(&profile(&text)), Err(Error::TooLong(_))));
}
