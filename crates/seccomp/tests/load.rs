//! Real loads: each on a thread of its own, which alone carries the filter.
#![allow(clippy::unwrap_used)]

use std::thread;
use std::time::Instant;

use rustix::io::Errno;
use rustix::thread::set_no_new_privs;
use seccomp::compile;
use spec::Seccomp;

fn profile(text: &str) -> Seccomp {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_thread_under_the_filter_gets_its_errno_by_argument() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[
        {"names":["getpriority"],"action":"SCMP_ACT_ERRNO","errnoRet":95,"args":[{"index":1,"value":77,"op":"SCMP_CMP_EQ"}]}]}"#;
    let filter = compile(&profile(text)).unwrap();
    let answers = thread::spawn(move || {
        set_no_new_privs(true).unwrap();
        assert!(filter.load().unwrap().is_none());
        let pid = |number| rustix::process::Pid::from_raw(number);
        (
            rustix::process::getpriority_process(pid(77)).err(),
            rustix::process::getpriority_process(None).err(),
        )
    });
    assert_eq!(answers.join().unwrap(), (Some(Errno::OPNOTSUPP), None));
}

#[test]
fn a_filter_that_notifies_hands_out_its_listener() {
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/l","flags":["SECCOMP_FILTER_FLAG_TSYNC"],
        "syscalls":[{"names":["getpriority"],"action":"SCMP_ACT_NOTIFY"}]}"#;
    let mut filter = compile(&profile(text)).unwrap();
    assert!(filter.notify);
    filter.flags &= !1; // the other tests' threads must stay without it
    let listener = thread::spawn(move || {
        set_no_new_privs(true).unwrap();
        filter.load().unwrap()
    });
    assert!(listener.join().unwrap().is_some());
}

#[test]
fn this_kernel_offers_what_profiles_use() {
    let features = seccomp::features();
    assert!(features.enabled && features.archs.iter().any(|arch| arch == "SCMP_ARCH_X86_64"));
    for name in [
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_KILL_PROCESS",
    ] {
        assert!(features.actions.iter().any(|known| known == name), "{name}");
    }
    assert_eq!(features.known_flags.len(), 4);
}

/// Prints what a large allow-list costs; the assertion is only that it is bounded.
#[test]
fn a_large_allow_list_is_small_and_quick_to_load() {
    let names: Vec<_> = (0..)
        .map_while(|n| {
            [
                "read",
                "write",
                "close",
                "mmap",
                "openat",
                "futex",
                "clone",
                "execve",
                "personality",
            ]
            .get(n)
        })
        .collect();
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],
        "syscalls":[{{"names":{names:?},"action":"SCMP_ACT_ALLOW"}}]}}"#
    );
    let spec = profile(&text);
    let began = Instant::now();
    let filter = compile(&spec).unwrap();
    println!(
        "compiled {} instructions in {:?}",
        filter.program.len(),
        began.elapsed()
    );
    assert!(filter.program.len() < 100);
}
