//! The configuration that a newcomer starts from.

use std::path::PathBuf;

use spec::{
    Capabilities, DeviceRule, IdMapping, Linux, Mount, Namespace, NamespaceKind, OCI_VERSION,
    Process, Resources, Rlimit, Root, Spec,
};

const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The configuration that `spec` prints: a shell in a root file system, the usual mounts, masks and capabilities. The rootless
/// one has a user namespace that maps nothing but the caller, and mounts that such a one may make.
pub fn default_spec(rootless: bool) -> Spec {
    let names = |list: &[&str]| {
        list.iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let capabilities = names(&CAPABILITIES);
    Spec {
        oci_version: OCI_VERSION.into(),
        process: Some(Process {
            terminal: true,
            args: names(&["sh"]),
            env: names(&[
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ]),
            cwd: "/".into(),
            capabilities: Some(Capabilities {
                bounding: capabilities.clone(),
                effective: capabilities.clone(),
                permitted: capabilities,
                ..Capabilities::default()
            }),
            rlimits: vec![Rlimit {
                kind: "RLIMIT_NOFILE".into(),
                soft: 1024,
                hard: 1024,
            }],
            no_new_privileges: true,
            ..Process::default()
        }),
        root: Some(Root {
            path: "rootfs".into(),
            readonly: true,
        }),
        hostname: Some("stockade".into()),
        mounts: mounts(rootless),
        linux: Some(linux(rootless)),
        ..Spec::default()
    }
}

fn linux(rootless: bool) -> Linux {
    use NamespaceKind::*;
    let own: &[NamespaceKind] = if rootless {
        &[Pid, Ipc, Uts, Mount, Cgroup, User]
    } else {
        &[Pid, Network, Ipc, Uts, Mount, Cgroup]
    };
    let map = |id: u32| {
        if rootless {
            vec![IdMapping {
                container_id: 0,
                host_id: id,
                size: 1,
            }]
        } else {
            Vec::new()
        }
    };
    let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect();
    let denied = DeviceRule {
        access: "rwm".into(),
        ..DeviceRule::default()
    };
    Linux {
        uid_mappings: map(rustix::process::geteuid().as_raw()),
        gid_mappings: map(rustix::process::getegid().as_raw()),
        namespaces: own
            .iter()
            .map(|&kind| Namespace { kind, path: None })
            .collect(),
        resources: (!rootless).then(|| Resources {
            devices: vec![denied],
            ..Resources::default()
        }),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        ..Linux::default()
    }
}

fn mounts(rootless: bool) -> Vec<Mount> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.iter().map(|word| (*word).to_owned()).collect(),
        ..Mount::default()
    };
    // The group tty is not among the ids of a rootless container.
    let terminals: &[&str] = &[
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        "gid=5",
    ];
    let terminals = if rootless { &terminals[..5] } else { terminals };
    let quiet = ["nosuid", "noexec", "nodev"];
    let sys = if rootless {
        mount(
            "/sys",
            "bind",
            "/sys",
            &["rbind", "nosuid", "noexec", "nodev", "ro"],
        )
    } else {
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", "ro"],
        )
    };
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount("/dev/pts", "devpts", "devpts", terminals),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &quiet),
        sys,
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
    ]
}
