//! Hooks: programs of the host's that are told the container's state (runtime.md, "Lifecycle").

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spec::{Hook, State};

use crate::{Error, HookStage};

/// What is kept of a hook's output for the error's text.
const OUTPUT_LIMIT: usize = 4096;

/// Runs hooks one after the other, with `state` on their standard input; stops at the first failure.
///
/// Those of one stage only: [`crate::create`] runs the stages up to `startContainer` itself, in the namespaces that the
/// specification wants; `poststart` and `poststop` are the caller's, who logs their failures and goes on.
pub fn run_hooks(stage: HookStage, hooks: &[Hook], state: &State) -> Result<(), Error> {
    if hooks.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_vec(state).map_err(|error| Error::Invalid {
        property: "state".into(),
        reason: error.to_string(),
    })?;
    hooks.iter().enumerate().try_for_each(|(number, hook)| {
        run(hook, &text).map_err(|reason| Error::Hook {
            path: hook.path.clone(),
            reason: format!("{} hook {number} {reason}", stage.name()),
        })
    })
}

impl HookStage {
    fn name(self) -> &'static str {
        match self {
            HookStage::Prestart => "prestart",
            HookStage::CreateRuntime => "createRuntime",
            HookStage::CreateContainer => "createContainer",
            HookStage::StartContainer => "startContainer",
            HookStage::Poststart => "poststart",
            HookStage::Poststop => "poststop",
        }
    }
}

fn run(hook: &Hook, state: &[u8]) -> Result<(), String> {
    if !hook.path.is_absolute() {
        return Err("has no absolute path".into());
    }
    let timeout = match hook.timeout {
        Some(seconds) if seconds <= 0 => return Err(format!("has a timeout of {seconds} s")),
        timeout => timeout.map(|seconds| Duration::from_secs(seconds.unsigned_abs())),
    };
    let (output, writer) = std::io::pipe().map_err(|error| error.to_string())?;
    let copy = writer.try_clone().map_err(|error| error.to_string())?;
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    let environment = hook.env.iter().filter_map(|entry| entry.split_once('='));
    command
        .env_clear()
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(writer)
        .stderr(copy);
    let mut child = command
        .spawn()
        .map_err(|error| format!("could not be started: {error}"))?;
    drop(command);
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its state; one that does not gets EPIPE over here.
        _ = stdin.write_all(state);
    }
    wait(child, output.into(), timeout)
}

/// Waits for the hook itself: what it left running in the background may keep the pipe open.
fn wait(mut child: Child, output: OwnedFd, timeout: Option<Duration>) -> Result<(), String> {
    let mut text = Vec::new();
    let ended = watch(&child, &output, timeout, &mut text);
    if !matches!(ended, Ok(true)) {
        _ = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match ended {
        Ok(true) if status.success() => Ok(()),
        Ok(true) => {
            drain(&output, &mut text);
            Err(format!(
                "failed: {status}: {}",
                String::from_utf8_lossy(&text).trim()
            ))
        }
        Ok(false) => Err("ran longer than its timeout and was killed".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn watch(
    child: &Child,
    output: &OwnedFd,
    timeout: Option<Duration>,
    text: &mut Vec<u8>,
) -> rustix::io::Result<bool> {
    let pid = rustix::process::Pid::from_child(child);
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let flags = rustix::fs::fcntl_getfl(output)?;
    rustix::fs::fcntl_setfl(output, flags | rustix::fs::OFlags::NONBLOCK)?;
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut open = true;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut wanted = [
            PollFd::new(&process, PollFlags::IN),
            PollFd::new(output, PollFlags::IN),
        ];
        let count = if open { 2 } else { 1 };
        match poll(&mut wanted[..count], left.as_ref()) {
            Ok(0) => return Ok(false),
            Err(rustix::io::Errno::INTR) => continue,
            answer => answer?,
        };
        let (ended, readable) = (
            !wanted[0].revents().is_empty(),
            open && !wanted[1].revents().is_empty(),
        );
        if ended {
            return Ok(true);
        }
        if readable {
            open = drain(output, text);
        }
    }
}

/// Reads what is there and keeps the beginning of it; whether more may come.
fn drain(output: &OwnedFd, text: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    let Ok(copy) = output.as_fd().try_clone_to_owned() else {
        return false;
    };
    match std::fs::File::from(copy).read(&mut chunk) {
        Ok(0) => false,
        Ok(length) => {
            let room = OUTPUT_LIMIT.saturating_sub(text.len());
            text.extend(&chunk[..length.min(room)]);
            true
        }
        Err(error) => {
            error.kind() == std::io::ErrorKind::WouldBlock
                || error.kind() == std::io::ErrorKind::Interrupted
        }
    }
}
