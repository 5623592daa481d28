//! Real containers on the real kernel. Needs root and Debian's busybox-static.
//!
//! The wall clones its caller, which must have one thread: there is no test harness, each test is a process of its own that
//! this program starts by name. Arguments are substrings of the names to be run.

mod basics;
mod escapes;
mod ground;
mod mounts;
mod namespaces;
mod processes;

use std::process::{Command, ExitCode};

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let tests: Vec<Test> = [
        basics::TESTS,
        escapes::TESTS,
        mounts::TESTS,
        namespaces::TESTS,
        processes::TESTS,
    ]
    .concat();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, name] = args.as_slice()
        && word == "--one"
    {
        let (_, test) = tests
            .iter()
            .find(|(known, _)| known == name)
            .expect("a known test");
        test();
        return ExitCode::SUCCESS;
    }
    if args == ["--sealed"] {
        escapes::be_sealed();
        return ExitCode::SUCCESS;
    }
    if !ground::possible() {
        println!("skipped: needs root and /usr/bin/busybox or /bin/busybox (static)");
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let mut failed = 0;
    for (name, _) in tests.iter().filter(|(name, _)| {
        wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()))
    }) {
        let me = std::env::current_exe().expect("the own path");
        let status = Command::new(me)
            .args(["--one", name])
            .status()
            .expect("starts");
        println!(
            "test {name} ... {}",
            if status.success() { "ok" } else { "FAILED" }
        );
        failed += u32::from(!status.success());
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
