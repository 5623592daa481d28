//! Measures a container that runs `true`, from create to the end of its clean-up. Needs root.
//!
//! `launch [--runs N] [--pause MS] [--host-user] [--host-net] [--no-cgroup] [--exec] ROOTFS`: a root file system that holds `/bin/true`.
//! Prints the median of each step in microseconds.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jail::{Gate, Launch, Options, RootfsMount, Stdio, Target};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde_json::{Value, json};
use spec::Spec;

const BASE: u32 = 500_000;

type Failure = Box<dyn std::error::Error>;

struct Args {
    runs: usize,
    pause: Duration,
    user: bool,
    net: bool,
    cgroup: bool,
    exec: bool,
    rootfs: PathBuf,
}

fn main() -> Result<(), Failure> {
    let args = parse()?;
    let scratch = std::env::temp_dir().join(format!("stockade-launch-{}", std::process::id()));
    let outcome = measure(&args, &scratch);
    _ = fs::remove_dir_all(&scratch);
    for (name, median) in outcome? {
        println!("{name:>8} {median:>7} µs");
    }
    Ok(())
}

fn parse() -> Result<Args, Failure> {
    let mut args = Args {
        runs: 200,
        pause: Duration::ZERO,
        user: true,
        net: true,
        cgroup: true,
        exec: false,
        rootfs: PathBuf::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            words
                .next()
                .ok_or("a number is missing")?
                .parse::<u64>()
                .map_err(Failure::from)
        };
        match word.as_str() {
            "--runs" => args.runs = number()? as usize,
            "--pause" => args.pause = Duration::from_millis(number()?),
            "--host-user" => args.user = false,
            "--host-net" => args.net = false,
            "--no-cgroup" => args.cgroup = false,
            "--exec" => args.exec = true,
            path => args.rootfs = fs::canonicalize(path)?,
        }
    }
    if args.rootfs.as_os_str().is_empty() {
        Err("usage: launch [options] ROOTFS".into())
    } else {
        Ok(args)
    }
}

fn measure(args: &Args, scratch: &Path) -> Result<Vec<(&'static str, u128)>, Failure> {
    fs::create_dir_all(scratch)?;
    let spec: Spec = serde_json::from_value(config(args))?;
    if args.exec {
        return measure_exec(args, scratch, &spec);
    }
    let mut steps = vec![Vec::new(); 6];
    for run in 0..args.runs {
        std::thread::sleep(args.pause);
        for (step, took) in once(args, scratch, &spec, run)?.into_iter().enumerate() {
            steps[step].push(took.as_micros());
        }
    }
    let names = ["cgroup", "create", "start", "exit", "undo", "whole"];
    Ok(names
        .into_iter()
        .zip(steps.into_iter().map(median))
        .collect())
}

fn median(mut times: Vec<u128>) -> u128 {
    times.sort_unstable();
    times[times.len() / 2]
}

fn null() -> Result<OwnedFd, Failure> {
    Ok(fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?
        .into())
}

fn cgroup(args: &Args, spec: &Spec, name: &str) -> Result<cgroup::Cgroup, Failure> {
    if !args.cgroup {
        return Ok(cgroup::Cgroup::disabled());
    }
    let cgroup = cgroup::Cgroup::plan("", name)?;
    cgroup.create(
        spec.linux
            .as_ref()
            .and_then(|linux| linux.resources.as_ref())
            .ok_or("no resources")?,
    )?;
    Ok(cgroup)
}

fn launch(
    args: &Args,
    scratch: &Path,
    spec: &Spec,
    cgroup: &cgroup::Cgroup,
    name: &str,
) -> Result<jail::Container, Failure> {
    let rootfs = if args.user {
        vec![overlay(args, scratch, name)?]
    } else {
        Vec::new()
    };
    let stdio = Stdio::Descriptors {
        stdin: null()?,
        stdout: null()?,
        stderr: null()?,
    };
    let options = Options::default();
    Ok(jail::create(Launch {
        id: name,
        bundle: scratch,
        spec,
        rootfs: &rootfs,
        stdio,
        gate: Gate::Held,
        cgroup,
        options,
    })?)
}

fn once(args: &Args, scratch: &Path, spec: &Spec, run: usize) -> Result<[Duration; 6], Failure> {
    let name = format!("bench-{}-{run}", std::process::id());
    let begin = Instant::now();
    let cgroup = cgroup(args, spec, &name)?;
    let limited = begin.elapsed();
    let mut container = launch(args, scratch, spec, &cgroup, &name)?;
    let created = begin.elapsed();
    container.start()?;
    let started = begin.elapsed();
    let status = waitid(
        WaitId::PidFd(container.pidfd.as_fd()),
        WaitIdOptions::EXITED,
    )?;
    if status.and_then(|status| status.exit_status()) != Some(0) {
        return Err("the program failed".into());
    }
    let ended = begin.elapsed();
    drop(container);
    cgroup.remove()?;
    let undone = begin.elapsed();
    _ = fs::remove_dir_all(scratch.join(&name));
    Ok([
        limited,
        created - limited,
        started - created,
        ended - started,
        undone - ended,
        undone,
    ])
}

fn measure_exec(
    args: &Args,
    scratch: &Path,
    spec: &Spec,
) -> Result<Vec<(&'static str, u128)>, Failure> {
    let cgroup = cgroup(args, spec, &format!("bench-{}", std::process::id()))?;
    let mut idle = spec.clone();
    let process = spec.process.clone().ok_or("no process")?;
    idle.process
        .iter_mut()
        .for_each(|process| process.args = vec!["sleep".into(), "600".into()]);
    let mut container = launch(args, scratch, &idle, &cgroup, "bench")?;
    container.start()?;
    let target = Target {
        id: "bench",
        bundle: scratch,
        pid: container.pid,
        start_time: container.start_time,
        spec,
        cgroup: &cgroup,
    };
    let mut times = Vec::with_capacity(args.runs);
    for _ in 0..args.runs {
        std::thread::sleep(args.pause);
        let begin = Instant::now();
        let stdio = Stdio::Descriptors {
            stdin: null()?,
            stdout: null()?,
            stderr: null()?,
        };
        let execed = jail::exec(&target, &process, stdio, jail::ExecOptions::default())?;
        waitid(WaitId::PidFd(execed.pidfd.as_fd()), WaitIdOptions::EXITED)?;
        times.push(begin.elapsed().as_micros());
    }
    cgroup.kill(9)?;
    rustix::process::pidfd_send_signal(&container.pidfd, rustix::process::Signal::KILL)?;
    waitid(
        WaitId::PidFd(container.pidfd.as_fd()),
        WaitIdOptions::EXITED,
    )?;
    cgroup.remove()?;
    Ok(vec![("exec", median(times))])
}

fn overlay(args: &Args, scratch: &Path, name: &str) -> Result<RootfsMount, Failure> {
    let own = |kind: &str| -> Result<String, Failure> {
        let path = scratch.join(name).join(kind);
        fs::create_dir_all(&path)?;
        std::os::unix::fs::chown(&path, Some(BASE), Some(BASE))?;
        Ok(format!("{kind}dir={}", path.display()))
    };
    let map = format!("0:{BASE}:65536");
    let lower = format!("lowerdir={}", args.rootfs.display());
    let options = vec![
        lower,
        own("upper")?,
        own("work")?,
        format!("uidmap={map}"),
        format!("gidmap={map}"),
        "volatile".into(),
    ];
    Ok(RootfsMount {
        kind: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options,
    })
}

/// The usual mounts, masks, capabilities, filter and limits.
fn config(args: &Args) -> Value {
    let mut spec = serde_json::to_value(jail::default_spec(false)).unwrap_or_default();
    let mut kinds = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    if args.net {
        kinds.push("network");
    }
    if args.user {
        kinds.push("user");
        let map = json!([{"containerID": 0, "hostID": BASE, "size": 65536}]);
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
    }
    if !args.cgroup {
        spec["mounts"]
            .as_array_mut()
            .into_iter()
            .for_each(|mounts| mounts.retain(|mount| mount["type"] != "cgroup"));
    }
    spec["root"] = json!({"path": args.rootfs});
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["/bin/true"]);
    spec["linux"]["namespaces"] = kinds.iter().map(|kind| json!({"type": kind})).collect();
    spec["linux"]["resources"] = json!({"memory": {"limit": 67_108_864}, "cpu": {"quota": 50000, "period": 100_000}, "pids": {"limit": 100}});
    spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["keyctl", "add_key", "request_key", "mount", "umount2", "reboot", "kexec_load", "init_module", "bpf", "ptrace"],
                      "action": "SCMP_ACT_ERRNO"}]
    });
    spec
}
