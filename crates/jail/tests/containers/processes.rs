//! What the process is and has: user, capabilities, limits, terminal, gate, hooks, filter.

use causes::told;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use jail::{Error, Gate, Stdio};
use serde_json::json;

use crate::Test;
use crate::ground::{Bundle, exec};

pub const TESTS: &[Test] = &[
    ("users_and_capabilities", users_and_capabilities),
    ("programs_that_are_not_there", programs_that_are_not_there),
    ("limits", limits),
    ("few_files", few_files),
    ("signals_are_reset", signals_are_reset),
    ("descriptors_do_not_leak", descriptors_do_not_leak),
    ("terminals", terminals),
    ("terminals_of_others", terminals_of_others),
    ("dies_with_its_caller", dies_with_its_caller),
    ("console_sockets", console_sockets),
    ("gates", gates),
    ("unsettled_containers_end", unsettled_containers_end),
    ("hooks", hooks),
    ("filters", filters),
    ("listeners", listeners),
    ("exec_fails_well", exec_fails_well),
];

fn both(args: &[&str]) -> [Bundle; 2] {
    [Bundle::new(args), Bundle::with_user_namespace(args)]
}

fn null() -> OwnedFd {
    fs::File::open("/dev/null").expect("opens").into()
}

fn nothing() -> Stdio {
    Stdio::Descriptors {
        stdin: null(),
        stdout: null(),
        stderr: null(),
    }
}

fn users_and_capabilities() {
    for mut bundle in both(&[
        "sh",
        "-c",
        "id -u; id -g; id -G; umask; grep -E 'Cap|NoNew|Groups' /proc/self/status; pwd",
    ]) {
        bundle.spec["process"]["user"] =
            json!({"uid": 11, "gid": 12, "additionalGids": [13, 14], "umask": 0o27});
        bundle.spec["process"]["cwd"] = json!("/made/for/me");
        let caps = json!(["CAP_NET_BIND_SERVICE", "CAP_NO_SUCH"]);
        bundle.spec["process"]["capabilities"] = json!({"bounding": ["CAP_NET_BIND_SERVICE", "CAP_KILL"], "effective": caps, "permitted": caps, "inheritable": caps, "ambient": caps});
        let text = bundle.output();
        for line in [
            "11\n12\n12 13 14\n0027\n",
            "CapInh:\t0000000000000400",
            "CapPrm:\t0000000000000400",
            "CapEff:\t0000000000000400",
            "CapBnd:\t0000000000000420",
            "CapAmb:\t0000000000000400",
            "NoNewPrivs:\t1",
            "/made/for/me",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let running = bundle.create(nothing(), Gate::Held).expect("is created");
        assert!(
            running
                .0
                .warnings
                .iter()
                .any(|text| text.contains("CAP_NO_SUCH")),
            "{:?}",
            running.0.warnings
        );
    }
}

fn programs_that_are_not_there() {
    for (program, code, words) in [
        (
            "nope",
            127,
            "exec: \"nope\": executable file not found in $PATH",
        ),
        (
            "/bin/nope",
            127,
            "exec: \"/bin/nope\": No such file or directory",
        ),
        ("/bin", 126, "exec: \"/bin\": Permission denied"),
        (
            "/etc/passwd",
            126,
            "exec: \"/etc/passwd\": Permission denied",
        ),
    ] {
        let error = Bundle::new(&[program])
            .create(nothing(), Gate::Held)
            .map(|_| ())
            .expect_err("fails at create");
        assert_eq!(
            (error.exit_code(), told(&error).contains(words)),
            (code, true),
            "{}",
            told(&error)
        );
    }
    let bundle = Bundle::new(&["/data/script"]);
    fs::write(bundle.path.join("rootfs/data/script"), "no format\0").expect("is written");
    fs::set_permissions(
        bundle.path.join("rootfs/data/script"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("is set");
    let mut running = bundle.create(nothing(), Gate::Held).expect("is created");
    let error = running.0.start().expect_err("fails at start");
    assert_eq!(
        (error.exit_code(), running.wait()),
        (126, 126),
        "{}",
        told(&error)
    );
}

fn limits() {
    let mut bundle = Bundle::new(&[
        "sh",
        "-c",
        "ulimit -n; ulimit -c; cat /proc/self/oom_score_adj /proc/self/stat",
    ]);
    bundle.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
    bundle.spec["process"]["oomScoreAdj"] = json!(321);
    bundle.spec["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 3});
    bundle.spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
    let text = bundle.output();
    assert!(text.starts_with("77\n0\n321\n"), "{text}");
    assert_eq!(text.split(' ').nth(18), Some("3"), "{text}");
    let mut bundle = Bundle::new(&["sh", "-c", "ulimit -Hn; cat /proc/self/oom_score_adj"]);
    bundle.spec["process"]["rlimits"] =
        json!([{"type": "RLIMIT_NOFILE", "soft": 1_048_576_000, "hard": 1_048_576_000}]);
    bundle.spec["process"]["oomScoreAdj"] = json!(-999);
    let running = bundle
        .create(nothing(), Gate::Held)
        .unwrap_or_else(|error| panic!("{}", told(&error)));
    assert!(
        running
            .0
            .warnings
            .iter()
            .all(|text| text.contains("clamped")),
        "{:?}",
        running.0.warnings
    );
    let mut bundle = Bundle::new(&["true"]);
    bundle.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_WHAT", "soft": 1, "hard": 1}]);
    assert!(bundle.failure().contains("RLIMIT_WHAT"));
}

/// Few open files are allowed to the program, not to the way there.
fn few_files() {
    for mut bundle in both(&["sleep", "60"]) {
        bundle.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 6, "hard": 6}, {"type": "RLIMIT_FSIZE", "soft": 0, "hard": 0}]);
        bundle.spec["process"]["user"] = json!({"uid": 7, "gid": 8});
        let path = bundle.path.join("gate");
        let mut running = bundle
            .create(nothing(), Gate::Socket(path.clone()))
            .unwrap_or_else(|error| panic!("{}", told(&error)));
        running.0.settle().expect("settles");
        jail::open_gate(&path, running.0.pid, running.0.start_time)
            .unwrap_or_else(|error| panic!("{}", told(&error)));
        let mut process = json!({"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
        process["rlimits"] = bundle.spec["process"]["rlimits"].clone();
        process["user"] = json!({"uid": 5, "gid": 6});
        assert_eq!(
            exec(&bundle, &running, process)
                .unwrap_or_else(|error| panic!("{}", told(&error)))
                .0,
            0
        );
    }
}

fn signals_are_reset() {
    // Rust ignores SIGPIPE by itself; that is what must not be passed on.
    let status = fs::read_to_string("/proc/self/status").expect("reads");
    assert!(!status.contains("SigIgn:\t0000000000000000"), "{status}");
    let text = Bundle::new(&["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]).output();
    assert_eq!(
        text,
        "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
    );
}

fn descriptors_do_not_leak() {
    let leak = fs::File::open("/").expect("opens");
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).expect("is inheritable");
    for bundle in both(&["ls", "/proc/self/fd"]) {
        // 3 is the directory that ls reads.
        assert_eq!(bundle.output(), "0\n1\n2\n3\n");
    }
}

fn read_all(master: OwnedFd) -> String {
    let (mut text, mut chunk) = (Vec::new(), [0; 1024]);
    let mut master = fs::File::from(master);
    // A terminal whose other end is closed answers EIO.
    while let Ok(length @ 1..) = master.read(&mut chunk) {
        text.extend(&chunk[..length]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn terminals() {
    for mut bundle in both(&[
        "sh",
        "-c",
        "tty; stty size; stat -c %u /dev/pts/0; cat /proc/self/stat | head -c 0; echo job > /dev/tty; echo c > /dev/console",
    ]) {
        bundle.spec["process"]["terminal"] = json!(true);
        bundle.spec["process"]["consoleSize"] = json!({"height": 33, "width": 44});
        bundle.spec["process"]["user"] = json!({"uid": 9, "gid": 9});
        let mut running = bundle
            .create(Stdio::Console, Gate::Held)
            .unwrap_or_else(|error| panic!("{}", told(&error)));
        let master = running.0.console.take().expect("a master");
        running.0.start().expect("starts");
        let text = read_all(master);
        assert!(
            text.contains("/dev/pts/0\r\n33 44\r\n9\r\njob\r\n"),
            "{text}"
        );
        running.wait();
    }
    let bundle = Bundle::new(&["true"]);
    assert!(matches!(
        bundle.create(Stdio::Console, Gate::Held),
        Err(Error::Invalid { .. })
    ));
}

fn terminals_of_others() {
    for bundle in both(&["sleep", "60"]) {
        let running = bundle.idle();
        let (spec, cgroup) = (bundle.parsed(), cgroup::Cgroup::disabled());
        let (pid, start_time) = (running.0.pid, running.0.start_time);
        let target = jail::Target {
            id: "test",
            bundle: &bundle.path,
            pid,
            start_time,
            spec: &spec,
            cgroup: &cgroup,
        };
        let process = json!({"args": ["sh", "-c", "tty; stty size; echo job > /dev/tty"], "cwd": "/", "env": ["PATH=/bin"], "terminal": true,
                             "user": {"uid": 5, "gid": 5}, "consoleSize": {"height": 5, "width": 6}});
        let process = serde_json::from_value(process).expect("a process");
        let mut execed = jail::exec(
            &target,
            &process,
            Stdio::Console,
            jail::ExecOptions::default(),
        )
        .unwrap_or_else(|error| panic!("{}", told(&error)));
        assert_eq!(
            read_all(execed.console.take().expect("a master")),
            "/dev/pts/0\r\n5 6\r\njob\r\n"
        );
        assert_eq!(crate::ground::wait(execed.pidfd.as_fd()), 0);
    }
}

/// With `die_with_parent` a running container ends with its caller.
fn dies_with_its_caller() {
    for mut bundle in both(&["sleep", "60"]) {
        bundle.options.die_with_parent = true;
        let (mut told, teller) = std::io::pipe().expect("a pipe");
        let sys::Fork::Parent { pidfd, .. } = sys::fork(0, None).expect("forks") else {
            let running = bundle.idle();
            std::io::Write::write_all(&mut &teller, &running.0.pid.to_le_bytes()).expect("is told");
            std::thread::sleep(std::time::Duration::from_secs(60));
            return;
        };
        drop(teller);
        assert!(ends_after(&mut told, || {
            rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL)
                .expect("is sent");
            crate::ground::wait(pidfd.as_fd());
        }));
    }
}

/// Whether the process whose pid is told ends within seconds once `cause` was done.
fn ends_after(told: &mut std::io::PipeReader, cause: impl FnOnce()) -> bool {
    let mut pid = [0; 4];
    told.read_exact(&mut pid).expect("a pid");
    let pid = rustix::process::Pid::from_raw(i32::from_le_bytes(pid)).expect("a pid");
    let process =
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("runs");
    cause();
    let mut ended = [rustix::event::PollFd::new(
        &process,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(
        &mut ended,
        Some(&rustix::event::Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        }),
    ) == Ok(1)
}

fn console_sockets() {
    let mut bundle = Bundle::new(&["tty"]);
    bundle.spec["process"]["terminal"] = json!(true);
    let path = bundle.path.join("a-console-socket-whose-path-is-much-longer-than-the-hundred-and-eight-bytes-that-an-address-of-a-unix-socket-holds");
    let short = std::path::PathBuf::from("/proc/self/fd");
    let directory = fs::File::open(&bundle.path).expect("opens");
    let through = short
        .join(std::os::fd::AsRawFd::as_raw_fd(&directory).to_string())
        .join(path.file_name().expect("a name"));
    assert!(
        UnixListener::bind(&through).is_err(),
        "even the short form is too long"
    );
    let path = bundle.path.join("console");
    let listener = UnixListener::bind(&path).expect("binds");
    let mut running = bundle
        .create(Stdio::ConsoleSocket(path), Gate::Held)
        .unwrap_or_else(|error| panic!("{}", told(&error)));
    let (socket, _) = listener.accept().expect("is connected");
    let (name, master) = receive(&socket);
    assert_eq!(name, "/dev/pts/0");
    running.0.start().expect("starts");
    assert!(read_all(master).contains("/dev/pts/0"));
}

fn receive(socket: &std::os::unix::net::UnixStream) -> (String, OwnedFd) {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4096];
    let length = recvmsg(
        socket,
        &mut [std::io::IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .expect("receives")
    .bytes;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut all) => all.next(),
        _ => None,
    });
    (
        String::from_utf8_lossy(&bytes[..length]).into_owned(),
        descriptor.expect("a descriptor"),
    )
}

fn gates() {
    for bundle in both(&["sleep", "60"]) {
        let path = bundle.path.join("gate");
        let mut running = bundle
            .create(nothing(), Gate::Socket(path.clone()))
            .unwrap_or_else(|error| panic!("{}", told(&error)));
        running.0.settle().expect("settles");
        let (pid, start) = (running.0.pid, running.0.start_time);
        jail::open_gate(&path, pid, start).unwrap_or_else(|error| panic!("{}", told(&error)));
        assert_eq!(
            fs::read_to_string(format!("/proc/{pid}/comm")).expect("reads"),
            "sleep\n"
        );
        assert!(matches!(
            jail::open_gate(&path, pid, start),
            Err(Error::AlreadyStarted)
        ));
        drop(running);
        assert!(matches!(
            jail::open_gate(&path, pid, start),
            Err(Error::NotRunning)
        ));
    }
    let bundle = Bundle::new(&["/data/script"]);
    fs::write(bundle.path.join("rootfs/data/script"), "#!/no/such\n").expect("is written");
    fs::set_permissions(
        bundle.path.join("rootfs/data/script"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("is set");
    let path = bundle.path.join("gate");
    let mut running = bundle
        .create(nothing(), Gate::Socket(path.clone()))
        .expect("is created");
    running.0.settle().expect("settles");
    let error = jail::open_gate(&path, running.0.pid, running.0.start_time).expect_err("fails");
    assert_eq!(
        (error.exit_code(), running.wait()),
        (127, 127),
        "{}",
        told(&error)
    );
}

/// A caller that is killed before its container was started or settled leaves no process.
fn unsettled_containers_end() {
    for bundle in both(&["sleep", "60"]) {
        for socket in [true, false] {
            let (mut told, teller) = std::io::pipe().expect("a pipe");
            match sys::fork(0, None).expect("forks") {
                sys::Fork::Child => {
                    let gate = if socket {
                        Gate::Socket(bundle.path.join("gate"))
                    } else {
                        Gate::Held
                    };
                    let running = bundle.create(nothing(), gate).expect("is created");
                    std::io::Write::write_all(&mut &teller, &running.0.pid.to_le_bytes())
                        .expect("is told");
                    std::thread::sleep(std::time::Duration::from_secs(60));
                }
                sys::Fork::Parent { pidfd, .. } => {
                    drop(teller);
                    let ended = ends_after(&mut told, || {
                        rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL)
                            .expect("is sent");
                        crate::ground::wait(pidfd.as_fd());
                    });
                    assert!(ended, "init outlives its caller");
                    _ = fs::remove_file(bundle.path.join("gate"));
                }
            }
        }
    }
}

fn hooks() {
    for mut bundle in both(&["echo", "program"]) {
        let log = bundle.path.join("log");
        let hook = |name: &str, script: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": [format!("NAME={name}")], "timeout": 5}]);
        let outer = format!("echo $NAME $(cat) >> {}", log.display());
        bundle.spec["hooks"] = json!({
            "prestart": hook("prestart", &outer), "createRuntime": hook("createRuntime", &outer),
            "startContainer": hook("x", "cat; echo; echo started; test -e /etc/secret && exit 0"),
        });
        let (code, text) = bundle
            .run()
            .unwrap_or_else(|error| panic!("{}", told(&error)));
        let log = fs::read_to_string(&log).expect("hooks ran");
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!((code, text.as_str()), (0, "program\n"));
        assert!(
            lines.len() == 2
                && lines[0].starts_with("prestart {")
                && lines[1].contains("\"status\":\"creating\""),
            "{log}"
        );
        bundle.spec["hooks"] = json!({"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]}]});
        assert!(
            bundle
                .failure()
                .contains("createContainer hook 0 failed: exit status: 3: no"),
            "{}",
            bundle.failure()
        );
        bundle.spec["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "sleep 30"], "timeout": 1}]});
        assert!(bundle.failure().contains("longer than its timeout"));
    }
}

fn filters() {
    for no_new_privs in [true, false] {
        for mut bundle in both(&["sh", "-c", "mkdir /tmp/x; echo $?"]) {
            bundle.spec["process"]["noNewPrivileges"] = json!(no_new_privs);
            bundle.spec["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
                             {"names": ["capset", "setresuid", "setgroups", "close_range", "chdir", "accept4"], "action": "SCMP_ACT_KILL_PROCESS"}]
            });
            let (_, text) = bundle
                .run()
                .unwrap_or_else(|error| panic!("{}", told(&error)));
            assert!(text.contains("No space left on device"), "{text}");
        }
    }
}

fn listeners() {
    let mut bundle = Bundle::new(&["sleep", "60"]);
    let path = bundle.path.join("agent");
    bundle.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "hello",
        "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_NOTIFY"}]
    });
    let listener = UnixListener::bind(&path).expect("binds");
    let mut running = bundle
        .create(nothing(), Gate::Held)
        .unwrap_or_else(|error| panic!("{}", told(&error)));
    running
        .0
        .start()
        .unwrap_or_else(|error| panic!("{}", told(&error)));
    let (socket, _) = listener.accept().expect("is connected");
    let (text, _listener) = receive(&socket);
    let state: serde_json::Value = serde_json::from_str(&text).expect("a state");
    assert_eq!(
        (&state["metadata"], &state["fds"]),
        (&json!("hello"), &json!(["seccompFd"])),
        "{text}"
    );
    assert_eq!(state["pid"], json!(running.0.pid));
}

fn exec_fails_well() {
    let bundle = Bundle::with_user_namespace(&["sleep", "60"]);
    let running = bundle.idle();
    let process = |args: serde_json::Value| json!({"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    let error = exec(&bundle, &running, process(json!(["nope"]))).expect_err("fails");
    assert_eq!(error.exit_code(), 127, "{}", told(&error));
    let (code, text) =
        exec(&bundle, &running, process(json!(["ls", "/proc/self/fd"]))).expect("runs");
    assert_eq!((code, text.as_str()), (0, "0\n1\n2\n3\n"));
    let mut limited = process(json!(["sh", "-c", "ulimit -n"]));
    limited["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]);
    limited["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    assert_eq!(exec(&bundle, &running, limited).expect("runs").1, "50\n");
    let mut lost = process(json!(["true"]));
    lost["cwd"] = json!("/proc/self/fd/0/x");
    assert!(exec(&bundle, &running, lost).is_err());
    rustix::process::pidfd_send_signal(&running.0.pidfd, rustix::process::Signal::KILL)
        .expect("is sent");
    running.wait();
    assert!(matches!(
        exec(&bundle, &running, process(json!(["true"]))),
        Err(Error::NotRunning)
    ));
}
