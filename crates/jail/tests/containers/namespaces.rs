//! Namespaces: joined by path, clocks, kernel parameters, without privileges.

use causes::told;
use std::fs;

use serde_json::json;

use crate::Test;
use crate::ground::{Bundle, exec};

pub const TESTS: &[Test] = &[
    ("joins_by_path", joins_by_path),
    ("joins_a_pair", joins_a_pair),
    ("loopback_is_up", loopback_is_up),
    ("time_is_offset", time_is_offset),
    ("sysctls", sysctls),
    ("host_namespaces", host_namespaces),
    ("refuses_nonsense", refuses_nonsense),
    ("without_privileges", without_privileges),
];

fn links(pid: i32, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .map(|name| {
            fs::read_link(format!("/proc/{pid}/ns/{name}"))
                .expect("a namespace")
                .display()
                .to_string()
        })
        .collect()
}

fn joined(pid: i32, kinds: &[(&str, &str)]) -> serde_json::Value {
    let list: Vec<_> = kinds
        .iter()
        .map(|(kind, link)| json!({"type": kind, "path": format!("/proc/{pid}/ns/{link}")}))
        .collect();
    json!(list)
}

fn with_new(mut list: serde_json::Value, kinds: &[&str]) -> serde_json::Value {
    list.as_array_mut()
        .expect("a list")
        .extend(kinds.iter().map(|kind| json!({"type": kind})));
    list
}

const NAMES: [&str; 4] = ["net", "ipc", "uts", "pid"];

fn script(names: &[&str]) -> String {
    format!(
        "for n in {}; do readlink /proc/self/ns/$n; done",
        names.join(" ")
    )
}

fn joins_by_path() {
    let first = Bundle::new(&["sleep", "60"]);
    let running = first.idle();
    let mut bundle = Bundle::new(&["sh", "-c", &script(&NAMES)]);
    let list = joined(
        running.0.pid,
        &[
            ("network", "net"),
            ("ipc", "ipc"),
            ("uts", "uts"),
            ("pid", "pid"),
        ],
    );
    bundle.spec["linux"]["namespaces"] = with_new(list, &["mount"]);
    let text = bundle.output();
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        links(running.0.pid, &NAMES),
        "{text}"
    );
}

fn joins_a_pair() {
    let first = Bundle::with_user_namespace(&["sleep", "60"]);
    let running = first.idle();
    for also_pid in [false, true] {
        let mut bundle = Bundle::with_user_namespace(&[
            "sh",
            "-c",
            &format!(
                "{}; id -u; cat /proc/self/uid_map; ls /sys/class/net; mount",
                script(&["user", "net"])
            ),
        ]);
        let kinds: &[_] = if also_pid {
            &[("user", "user"), ("network", "net"), ("pid", "pid")]
        } else {
            &[("user", "user"), ("network", "net")]
        };
        let rest: &[_] = if also_pid {
            &["mount", "uts", "ipc", "cgroup"]
        } else {
            &["mount", "uts", "ipc", "cgroup", "pid"]
        };
        bundle.spec["linux"]["namespaces"] = with_new(joined(running.0.pid, kinds), rest);
        let text = bundle.output();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], links(running.0.pid, &["user", "net"]), "{text}");
        assert!(
            lines[2] == "0"
                && lines[3].contains("400000")
                && lines[4] == "lo"
                && text.contains("sysfs on /sys type sysfs"),
            "{text}"
        );
    }
}

fn loopback_is_up() {
    for bundle in [
        Bundle::new(&["cat", "/proc/net/fib_trie"]),
        Bundle::with_user_namespace(&["cat", "/proc/net/fib_trie"]),
    ] {
        assert!(bundle.output().contains("127.0.0.1"));
    }
}

fn time_is_offset() {
    for mut bundle in [
        Bundle::new(&["sleep", "60"]),
        Bundle::with_user_namespace(&["sleep", "60"]),
    ] {
        let list = bundle.spec["linux"]["namespaces"].clone();
        bundle.spec["linux"]["namespaces"] = with_new(list, &["time"]);
        bundle.spec["linux"]["timeOffsets"] =
            json!({"boottime": {"secs": 5_000_000, "nanosecs": 7}, "monotonic": {"secs": 60}});
        let running = bundle.idle();
        let process = json!({"args": ["cat", "/proc/uptime"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
        let (_, text) =
            exec(&bundle, &running, process).unwrap_or_else(|error| panic!("{}", told(&error)));
        let uptime: f64 = text
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .expect("seconds");
        assert!(uptime > 5_000_000.0, "{text}");
        let own = fs::read_link(format!("/proc/{}/ns/time", running.0.pid)).expect("a link");
        assert_ne!(own, fs::read_link("/proc/self/ns/time").expect("a link"));
    }
}

fn sysctls() {
    for mut bundle in [
        Bundle::new(&[
            "cat",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/kernel/shmmax",
            "/proc/sys/fs/mqueue/msg_max",
        ]),
        Bundle::with_user_namespace(&[
            "cat",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/kernel/shmmax",
            "/proc/sys/fs/mqueue/msg_max",
        ]),
    ] {
        bundle.spec["linux"]["sysctl"] =
            json!({"net.ipv4.ip_forward": "1", "kernel.shmmax": "12345", "fs.mqueue.msg_max": "7"});
        assert_eq!(bundle.output(), "1\n12345\n7\n");
        bundle.spec["linux"]["sysctl"] = json!({"kernel.panic": "1"});
        assert!(bundle.failure().contains("kernel.panic"));
        bundle.spec["linux"]["sysctl"] = json!({"net.no.such": "1"});
        assert!(bundle.failure().contains("net.no.such"));
    }
}

fn host_namespaces() {
    // The host's network in a user namespace: sysfs cannot be mounted, the host's /sys is bound.
    let mut bundle = Bundle::with_user_namespace(&[
        "sh",
        "-c",
        "readlink /proc/self/ns/net; ls /sys/class/net | head -1; touch /sys/x",
    ]);
    let list = bundle.spec["linux"]["namespaces"]
        .as_array_mut()
        .expect("a list");
    list.retain(|namespace| namespace["type"] != "network");
    let (_, text) = bundle
        .run()
        .unwrap_or_else(|error| panic!("{}", told(&error)));
    assert_eq!(
        text.lines().next(),
        fs::read_link("/proc/self/ns/net").expect("a link").to_str(),
        "{text}"
    );
    assert!(text.contains("/sys/x: "), "{text}");
    let mut bundle = Bundle::new(&["sh", "-c", "echo $$"]);
    bundle.spec["linux"]["namespaces"] = json!([{"type": "mount"}]);
    assert!(bundle.failure().contains("hostname"));
    bundle.spec["hostname"] = json!(null);
    assert_ne!(bundle.output(), "1\n");
}

fn refuses_nonsense() {
    let with = |change: fn(&mut serde_json::Value)| {
        let mut bundle = Bundle::new(&["true"]);
        change(&mut bundle.spec);
        bundle.failure()
    };
    assert!(
        with(|spec| spec["linux"] = json!({
            "namespaces": [{"type": "uts"}, {"type": "user"}],
            "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
        }))
        .contains("mount namespace")
    );
    assert!(
        with(|spec| spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "mount"}]))
            .contains("twice")
    );
    assert!(
        with(|spec| spec["linux"]["uidMappings"] =
            json!([{"containerID": 0, "hostID": 0, "size": 1}]))
        .contains("user namespace")
    );
    assert!(
        with(|spec| spec["linux"]["namespaces"][0]["path"] = json!("/proc/self/nothing"))
            .contains("/proc/self/nothing")
    );
    assert!(
        with(|spec| spec["linux"]["namespaces"][0]["path"] = json!("/proc/self/ns/uts"))
            .contains("/proc/self/ns/uts")
    );
    assert!(with(|spec| spec["process"]["args"] = json!([])).contains("process.args"));
    assert!(with(|spec| spec["process"]["cwd"] = json!("relative")).contains("process.cwd"));
    assert!(with(|spec| spec["root"]["path"] = json!("nowhere")).contains("root.path"));
    assert!(with(|spec| spec["process"]["selinuxLabel"] = json!("x")).contains("selinuxLabel"));
    assert!(
        with(|spec| spec["process"]["apparmorProfile"] = json!("x")).contains("apparmor")
            || std::path::Path::new("/sys/kernel/security/apparmor").exists()
    );
    assert!(
        with(|spec| spec["linux"]["intelRdt"] = json!({"closID": "x"})).contains("linux.intelRdt")
    );
}

/// As an ordinary user: the map is the own id, mounts are made by the child.
fn without_privileges() {
    const USER: u32 = 54_321;
    let mut bundle = Bundle::new(&[
        "sh",
        "-c",
        "id -u; cat /proc/self/uid_map; cat /etc/passwd; touch /data/x; hostname; mount",
    ]);
    let give = |path: &std::path::Path| {
        std::os::unix::fs::chown(path, Some(USER), Some(USER)).expect("is given")
    };
    give(&bundle.path);
    give(&bundle.path.join("rootfs"));
    for directory in ["dev", "data"] {
        give(&bundle.path.join("rootfs").join(directory));
    }
    bundle.add_user_namespace();
    let map = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    bundle.spec["linux"]["uidMappings"] = map.clone();
    bundle.spec["linux"]["gidMappings"] = map;
    bundle.spec["mounts"][2]["options"] = json!([
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620"
    ]);
    // In a process of its own: only root can remove what was made.
    let sys::Fork::Parent { pidfd, .. } = sys::fork(0, None).expect("forks") else {
        become_user(USER);
        as_user(&mut bundle);
        std::process::exit(0);
    };
    assert_eq!(crate::ground::wait(std::os::fd::AsFd::as_fd(&pidfd)), 0);
    assert!(bundle.path.join("upper/etc-new").exists());
}

fn as_user(bundle: &mut Bundle) {
    let text = bundle.output();
    assert!(
        text.starts_with("0\n")
            && text.contains("54321          1\nroot:")
            && text.contains("jailed"),
        "{text}"
    );
    bundle.spec["process"]["args"] = json!(["sleep", "60"]);
    let running = bundle.idle();
    let process = json!({"args": ["hostname"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    assert_eq!(
        exec(bundle, &running, process)
            .unwrap_or_else(|error| panic!("{}", told(&error)))
            .1,
        "jailed\n"
    );
    drop(running);
    // An overlay of its own, with the user's attributes.
    let own = |name: &str| {
        let path = bundle.path.join(name);
        fs::create_dir_all(&path).expect("is made");
        format!("{name}dir={}", path.display())
    };
    let options = vec![
        format!("lowerdir={}", bundle.path.join("rootfs").display()),
        own("upper"),
        own("work"),
    ];
    bundle.rootfs = vec![jail::RootfsMount {
        kind: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options,
    }];
    bundle.spec["process"]["args"] = json!(["sh", "-c", "touch /etc-new && ls / | head -1"]);
    assert!(
        bundle
            .run()
            .unwrap_or_else(|error| panic!("{}", told(&error)))
            .1
            .starts_with("bin")
    );
}

fn become_user(id: u32) {
    use rustix::process::{Gid, Uid};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    set_thread_groups(&[]).expect("no groups");
    set_thread_res_gid(Gid::from_raw(id), Gid::from_raw(id), Gid::from_raw(id)).expect("the group");
    set_thread_res_uid(Uid::from_raw(id), Uid::from_raw(id), Uid::from_raw(id)).expect("the user");
    // A change of ids makes /proc/self root's.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .expect("is set");
}
