//! What the tests stand on: a root file system of one static busybox, a configuration, a container that is always reaped.

use causes::told;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use jail::{Container, Error, ExecOptions, Gate, Launch, Options, RootfsMount, Stdio, Target};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde_json::{Value, json};
use spec::Spec;

const APPLETS: [&str; 30] = [
    "sh", "true", "false", "cat", "echo", "ls", "id", "mount", "umount", "hostname", "stat",
    "sleep", "touch", "grep", "kill", "readlink", "env", "head", "mkdir", "rm", "ps", "test",
    "tty", "stty", "sysctl", "date", "nice", "chown", "mknod", "dd",
];

fn busybox() -> Option<&'static str> {
    ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists())
}

pub fn possible() -> bool {
    rustix::process::geteuid().is_root() && busybox().is_some()
}

/// The first host id of the containers' range.
pub const BASE: u32 = 400_000;

/// A bundle in a directory of its own, removed at the end.
pub struct Bundle {
    pub path: PathBuf,
    pub spec: Value,
    pub rootfs: Vec<RootfsMount>,
    pub options: Options,
}

impl Drop for Bundle {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.path);
    }
}

impl Bundle {
    /// New namespaces of every kind but user and time, the usual mounts; runs `args`.
    pub fn new(args: &[&str]) -> Bundle {
        let mut random = [0u8; 4];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .expect("random bytes");
        let path = std::env::temp_dir().join(format!(
            "stockade-jail-{}-{:08x}",
            std::process::id(),
            u32::from_le_bytes(random)
        ));
        let bundle = Bundle {
            spec: config(args),
            path,
            rootfs: Vec::new(),
            options: Options::default(),
        };
        bundle.make_root();
        bundle
    }

    fn make_root(&self) {
        let root = self.path.join("rootfs");
        for directory in ["bin", "dev", "etc", "proc", "sys", "tmp", "data"] {
            fs::create_dir_all(root.join(directory)).expect("is made");
        }
        fs::copy(busybox().expect("busybox"), root.join("bin/busybox")).expect("is copied");
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet)).expect("links");
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").expect("is written");
        fs::write(root.join("etc/secret"), "secret\n").expect("is written");
        fs::set_permissions(
            root.join("etc/secret"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .expect("is set");
    }

    /// A container that runs until it is killed.
    pub fn idle(&self) -> Running {
        let null = || OwnedFd::from(fs::File::open("/dev/null").expect("opens"));
        let stdio = Stdio::Descriptors {
            stdin: null(),
            stdout: null(),
            stderr: null(),
        };
        let mut running = self
            .create(stdio, Gate::Held)
            .unwrap_or_else(|error| panic!("{}", told(&error)));
        running
            .0
            .start()
            .unwrap_or_else(|error| panic!("{}", told(&error)));
        running
    }

    /// The same with a user namespace over an id-mapped overlay.
    pub fn with_user_namespace(args: &[&str]) -> Bundle {
        let mut bundle = Bundle::new(args);
        bundle.add_user_namespace();
        bundle.rootfs = vec![bundle.overlay(&format!("0:{BASE}:65536"))];
        bundle
    }

    pub fn add_user_namespace(&mut self) {
        let linux = &mut self.spec["linux"];
        linux["namespaces"]
            .as_array_mut()
            .expect("a list")
            .push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": BASE, "size": 65536}]);
        linux["uidMappings"] = map.clone();
        linux["gidMappings"] = map;
    }

    /// An overlay over `rootfs`, whose upper belongs to the container's root.
    pub fn overlay(&self, map: &str) -> RootfsMount {
        let own = |name: &str| {
            let path = self.path.join(name);
            fs::create_dir_all(&path).expect("is made");
            std::os::unix::fs::chown(&path, Some(BASE), Some(BASE)).expect("is given");
            format!("{name}dir={}", path.display())
        };
        RootfsMount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options: vec![
                format!("lowerdir={}", self.path.join("rootfs").display()),
                own("upper"),
                own("work"),
                format!("uidmap={map}"),
                format!("gidmap={map}"),
            ],
        }
    }

    pub fn parsed(&self) -> Spec {
        serde_json::from_value(self.spec.clone()).expect("a configuration")
    }

    pub fn create(&self, stdio: Stdio, gate: Gate) -> Result<Running, Error> {
        let cgroup = cgroup::Cgroup::disabled();
        let spec = self.parsed();
        let launch = Launch {
            id: "test",
            bundle: &self.path,
            spec: &spec,
            rootfs: &self.rootfs,
            stdio,
            gate,
            cgroup: &cgroup,
            options: self.options,
        };
        jail::create(launch).map(Running)
    }

    /// Runs to the end; exit code, output of both streams.
    pub fn run(&self) -> Result<(i32, String), Error> {
        let (mut output, writer) = std::io::pipe().expect("a pipe");
        let null = || OwnedFd::from(fs::File::open("/dev/null").expect("opens"));
        let copy = writer.try_clone().expect("is copied");
        let mut running = self.create(
            Stdio::Descriptors {
                stdin: null(),
                stdout: writer.into(),
                stderr: copy.into(),
            },
            Gate::Held,
        )?;
        running.0.start()?;
        let mut text = String::new();
        output.read_to_string(&mut text).expect("reads");
        Ok((running.wait(), text))
    }

    /// Runs, and demands success; its output.
    #[track_caller]
    pub fn output(&self) -> String {
        match self.run() {
            Ok((0, text)) => text,
            Ok((code, text)) => panic!("exit code {code}: {text}"),
            Err(error) => panic!("{}", told(&error)),
        }
    }

    /// Runs, and demands a failure to create or start; its text.
    #[track_caller]
    pub fn failure(&self) -> String {
        match self.run() {
            Ok((code, text)) => panic!("ran, exit code {code}: {text}"),
            Err(error) => told(&error),
        }
    }
}

/// Runs another process in a container; exit code and output.
pub fn exec(bundle: &Bundle, running: &Running, process: Value) -> Result<(i32, String), Error> {
    let (mut output, writer) = std::io::pipe().expect("a pipe");
    let null = OwnedFd::from(fs::File::open("/dev/null").expect("opens"));
    let copy = writer.try_clone().expect("is copied");
    let (spec, cgroup) = (bundle.parsed(), cgroup::Cgroup::disabled());
    let Container {
        pid, start_time, ..
    } = running.0;
    let target = Target {
        id: "test",
        bundle: &bundle.path,
        pid,
        start_time,
        spec: &spec,
        cgroup: &cgroup,
    };
    let process = serde_json::from_value(process).expect("a process");
    let stdio = Stdio::Descriptors {
        stdin: null,
        stdout: writer.into(),
        stderr: copy.into(),
    };
    let execed = jail::exec(&target, &process, stdio, ExecOptions::default())?;
    let mut text = String::new();
    output.read_to_string(&mut text).expect("reads");
    Ok((wait(execed.pidfd.as_fd()), text))
}

/// A container that is killed and reaped at the end.
pub struct Running(pub Container);

impl Running {
    /// The exit code, 128 + the signal for a killed one.
    pub fn wait(&self) -> i32 {
        wait(self.0.pidfd.as_fd())
    }
}

pub fn wait(pidfd: rustix::fd::BorrowedFd<'_>) -> i32 {
    match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
        Ok(Some(status)) => status
            .exit_status()
            .unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0)),
        other => panic!("{other:?}"),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if rustix::process::pidfd_send_signal(&self.0.pidfd, rustix::process::Signal::KILL).is_ok()
        {
            _ = waitid(WaitId::PidFd(self.0.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }
}

fn config(args: &[&str]) -> Value {
    let all: Vec<&str> = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
    ]
    .to_vec();
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true,
            "capabilities": {"bounding": all, "effective": all, "permitted": all}
        },
        "root": {"path": "rootfs"},
        "hostname": "jailed",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
