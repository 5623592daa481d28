//! The real thing, as root, in directories of its own: the same program runs on v1, hybrid and (in the guest of
//! tests/guest) v2 hosts. Every test removes what it made, also when it fails.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cgroup::{Cgroup, Error, Layout};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spec::Resources;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A cgroup that goes away with its processes.
struct Box {
    cgroup: Cgroup,
    parent: String,
    children: Vec<Child>,
}

impl Box {
    fn planned() -> Box {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let parent = format!("stockade-test-{}-{number}", std::process::id());
        let cgroup = Cgroup::plan(&format!("/{parent}/box"), "box").unwrap();
        Box {
            cgroup,
            parent,
            children: Vec::new(),
        }
    }

    fn new(resources: &str) -> Box {
        let made = Box::planned();
        made.cgroup.create(&parse(resources)).unwrap();
        made
    }

    /// A shell that goes in by itself, then runs `script`.
    fn run(&mut self, script: &str) -> &mut Child {
        let file = if self.cgroup.layout() == Layout::V2 {
            "cgroup.procs"
        } else {
            "tasks"
        };
        let dirs = self.cgroup.hierarchies();
        let enter: String = dirs
            .iter()
            .map(|one| format!("echo 0 > '{}/{file}' || exit 99\n", one.dir.display()))
            .collect();
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(format!("{enter}{script}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.children.push(command.spawn().unwrap());
        self.children.last_mut().unwrap()
    }

    fn exit(&mut self, script: &str) -> Option<i32> {
        self.run(script).wait().unwrap().code()
    }

    fn file(&self, controller: &str, v1: &str, v2: &str) -> String {
        let dirs = self.cgroup.hierarchies();
        let found = dirs.iter().find(|one| {
            one.name.is_empty() || one.controllers.iter().any(|name| name == controller)
        });
        let name = if self.cgroup.layout() == Layout::V2 {
            v2
        } else {
            v1
        };
        fs::read_to_string(found.unwrap().dir.join(name))
            .unwrap()
            .trim()
            .to_owned()
    }

    fn inside(&self) -> usize {
        self.cgroup.pids().len()
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        let removed = self.cgroup.remove();
        for child in &mut self.children {
            let _ = child.wait();
        }
        let root = PathBuf::from("/sys/fs/cgroup");
        let mounts = fs::read_dir(&root)
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        for mount in mounts.chain([root]) {
            let _ = fs::remove_dir(mount.join(&self.parent));
        }
        if !std::thread::panicking() {
            removed.unwrap();
            self.cgroup.remove().unwrap();
        }
    }
}

fn parse(resources: &str) -> Resources {
    serde_json::from_str(resources).unwrap()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn limits_are_written_and_updated() {
    let limits = r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432},"cpu":{"shares":512,"quota":50000,"period":100000},
        "pids":{"limit":20}}"#;
    let made = Box::new(limits);
    assert_eq!(
        made.file("memory", "memory.limit_in_bytes", "memory.max"),
        "67108864"
    );
    assert_eq!(made.file("pids", "pids.max", "pids.max"), "20");
    let stats = made.cgroup.stats().unwrap();
    assert_eq!(
        (
            stats.memory.usage.limit,
            stats.memory.memory_and_swap.limit,
            stats.pids.limit
        ),
        (67_108_864, 134_217_728, 20)
    );
    for (limit, swap) in [
        (268_435_456u64, 268_435_456u64),
        (16_777_216, 33_554_432),
        (134_217_728, 134_217_728),
    ] {
        made.cgroup
            .update(&parse(&format!(
                r#"{{"memory":{{"limit":{limit},"swap":{swap}}}}}"#
            )))
            .unwrap();
        let memory = made.cgroup.stats().unwrap().memory;
        assert_eq!(
            (memory.usage.limit, memory.memory_and_swap.limit),
            (limit, swap)
        );
    }
    made.cgroup
        .update(&parse(
            r#"{"memory":{"limit":-1},"pids":{"limit":-1},"cpu":{"quota":20000,"period":20000}}"#,
        ))
        .unwrap();
    assert!(made.cgroup.stats().unwrap().memory.usage.limit > 1 << 50);
    assert_eq!(made.file("pids", "pids.max", "pids.max"), "max");
    let quota = made.file("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota == "20000" || quota == "20000 20000", "{quota}");
}

#[test]
fn forks_beyond_the_limit_are_refused_and_counted() {
    let mut made = Box::new(r#"{"pids":{"limit":3}}"#);
    made.run("for i in 1 2 3 4 5 6; do sleep 0.3 & done; wait");
    eventually("a refused fork is counted", || {
        made.cgroup
            .stats()
            .unwrap()
            .pids
            .refused
            .is_none_or(|count| count > 0)
    });
    assert!(made.cgroup.stats().unwrap().pids.current <= 3);
}

#[test]
fn a_memory_hog_is_killed_counted_and_told() {
    let mut made = Box::new(r#"{"memory":{"limit":33554432,"swap":33554432}}"#);
    let watch = made.cgroup.oom().unwrap();
    assert_eq!(watch.count().unwrap(), 0);
    let code = made.exit("dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null; exit $?");
    assert!(code.is_none_or(|code| code == 137), "{code:?}");
    let mut polled = [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
    poll(
        &mut polled,
        Some(&Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        }),
    )
    .unwrap();
    assert!(
        polled[0].revents().contains(PollFlags::IN),
        "the watch was told"
    );
    eventually("the count", || watch.count().unwrap() == 1);
    let memory = made.cgroup.stats().unwrap().memory;
    assert_eq!(memory.oom_kills, 1);
    let account = made.cgroup.account().unwrap();
    assert_eq!(
        (account.oom_kills, account.memory_peak),
        (1, memory.usage.peak)
    );
    assert!(
        memory.usage.peak == 0 || memory.usage.peak > 30 << 20,
        "{}",
        memory.usage.peak
    );
}

#[test]
fn processes_stop_and_go_on() {
    let mut made = Box::new("{}");
    made.run("while :; do sleep 0.01; done");
    eventually("it runs", || made.inside() > 0);
    made.cgroup.freeze().unwrap();
    assert!(made.cgroup.frozen());
    let used = made.cgroup.stats().unwrap().cpu.total_ns;
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(made.cgroup.stats().unwrap().cpu.total_ns, used);
    assert_eq!(made.cgroup.account().unwrap().cpu_ns, used);
    made.cgroup.kill(15).unwrap();
    assert!(
        made.cgroup.frozen(),
        "another signal leaves a paused container paused"
    );
    made.cgroup.thaw().unwrap();
    assert!(!made.cgroup.frozen());
    eventually("the signal arrived", || made.inside() == 0);
}

#[test]
fn a_fork_bomb_is_killed_even_while_frozen() {
    let mut made = Box::new(r#"{"pids":{"limit":60}}"#);
    made.run("f() { f | f & wait; }; f; while :; do f; done");
    eventually("it bursts", || made.inside() > 20);
    made.cgroup.freeze().unwrap();
    let began = Instant::now();
    made.cgroup.kill(9).unwrap();
    eventually("all are dead", || made.inside() == 0);
    println!("killed a fork bomb in {:?}", began.elapsed());
}

#[test]
fn only_named_devices_open() {
    let mut made = Box::new(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#);
    assert_eq!(
        made.exit(": < /dev/null && : > /dev/zero && : < /dev/urandom"),
        Some(0)
    );
    assert_ne!(made.exit(": < /dev/kmsg"), Some(0));
    made.cgroup
        .update(&parse(
            r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#,
        ))
        .unwrap();
    assert_eq!(made.exit(": < /dev/kmsg"), Some(0));
    assert_ne!(
        made.exit(": > /dev/kmsg"),
        Some(0),
        "reading was allowed, writing not"
    );
    made.cgroup
        .update(&parse(r#"{"devices":[{"allow":true}]}"#))
        .unwrap();
    assert_eq!(made.exit(": > /dev/kmsg"), Some(0));
}

#[test]
fn usage_is_counted() {
    let mut made = Box::new("{}");
    assert_eq!(
        made.exit("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"),
        Some(0)
    );
    let stats = made.cgroup.stats().unwrap();
    assert!(stats.cpu.total_ns > 1_000_000, "{:?}", stats.cpu);
    assert!(stats.memory.raw.len() > 10 && !stats.cpuset.cpus.is_empty());
}

#[test]
fn a_thread_goes_in_by_itself() {
    let made = Box::new("{}");
    let entry = made.cgroup.entry().unwrap();
    if made.cgroup.layout() == Layout::V2 {
        assert!(entry.into_cgroup().is_some());
        return;
    }
    let own = std::thread::spawn(move || {
        entry.join().unwrap();
        fs::read_to_string("/proc/thread-self/cgroup").unwrap()
    });
    let own = own.join().unwrap();
    for controller in ["memory", "pids", "devices", "freezer"] {
        let line = own
            .lines()
            .find(|line| line.contains(&format!(":{controller}:")))
            .unwrap();
        assert!(line.ends_with(&format!("/{}/box", made.parent)), "{line}");
    }
}

/// What systemd does inside a container: it moves down and hands controllers on.
#[test]
fn on_v2_one_goes_into_the_populated_child_of_a_container_that_hands_on() {
    let mut made = Box::new("{}");
    if made.cgroup.layout() != Layout::V2 {
        return;
    }
    let top = made.cgroup.hierarchies()[0].dir.clone();
    made.run(&format!("mkdir {0}/init && echo 0 > {0}/init/cgroup.procs && echo +memory > {0}/cgroup.subtree_control && exec sleep 100", top.display()));
    eventually("it hands on", || {
        fs::read_to_string(top.join("cgroup.subtree_control"))
            .unwrap()
            .contains("memory")
    });
    let entry = made.cgroup.entry().unwrap();
    let link = format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&entry.into_cgroup().unwrap())
    );
    assert_eq!(fs::read_link(link).unwrap(), top.join("init"));
    assert_eq!(made.inside(), 1);
}

#[test]
fn nested_cgroups_and_live_processes_do_not_stay_behind() {
    let mut made = Box::new("{}");
    for one in made.cgroup.hierarchies() {
        fs::create_dir_all(one.dir.join("inner/most")).unwrap();
    }
    made.run("sleep 100");
    eventually("it runs", || made.inside() > 0);
    assert!(
        matches!(made.cgroup.create(&parse("{}")), Err(Error::Busy(_))),
        "it is not ours alone any more"
    );
    let planned = Cgroup::plan(&format!("/{}/box", made.parent), "other");
    assert!(matches!(planned, Err(Error::Busy(_))));
    let began = Instant::now();
    made.cgroup.remove().unwrap();
    assert!(made.cgroup.hierarchies().is_empty() && began.elapsed() < Duration::from_secs(2));
}

#[test]
fn what_cannot_be_held_is_refused_by_name() {
    let made = Box::planned();
    let refused =
        |resources: &str| causes::told(&made.cgroup.create(&parse(resources)).unwrap_err());
    assert!(refused(r#"{"memory":{"limit":4096,"swap":1024}}"#).contains("memory swap"));
    assert!(
        refused(r#"{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}"#)
            .contains("hugepage limit 3MB")
    );
    assert!(refused(r#"{"unified":{"no.such":"1"}}"#).contains("no.such"));
    assert!(refused(r#"{"cpu":{"cpus":"4000"}}"#).contains("cpuset.cpus"));
    made.cgroup.create(&parse("{}")).unwrap();
    let usage = parse(r#"{"memory":{"limit":1,"checkBeforeUpdate":true}}"#);
    let mut running = Box::new("{}");
    running.run("sleep 100");
    eventually("it runs", || {
        running.cgroup.stats().unwrap().memory.usage.usage > 0
    });
    assert!(matches!(
        running.cgroup.update(&usage),
        Err(Error::BelowUsage { .. })
    ));
}

#[test]
fn a_record_finds_its_container_again_and_none_limits_nothing() {
    let made = Box::new("{}");
    let record = serde_json::to_string(&made.cgroup).unwrap();
    assert_eq!(
        serde_json::from_str::<Cgroup>(&record).unwrap(),
        made.cgroup
    );
    let none = Cgroup::disabled();
    assert!(none.create(&parse("{}")).unwrap().warnings.is_empty());
    assert!(matches!(
        none.create(&parse(r#"{"pids":{"limit":5}}"#)),
        Err(Error::NoHierarchy(_))
    ));
    assert!(
        none.entry().unwrap().into_cgroup().is_none()
            && none.pids().is_empty()
            && none.freeze().is_err()
    );
    none.kill(9).unwrap();
    none.remove().unwrap();
}
