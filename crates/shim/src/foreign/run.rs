//! Runs a short program to its end, within bounds.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags};

use crate::exits::gone_within;
use crate::stdio::ChildEnds;
use crate::ttrpc::{Code, Refusal};

/// How long a foreign program may take: hooks and slow disks included.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What is read of an answer, in bytes.
const ANSWER: u64 = 64 << 10;

/// Runs `command` with these streams, or with ended and unheard ones; how it ended. Never with /dev/null: crun gives its
/// streams to the container's ids (1.8 devices too), and that is the machine's own node.
pub fn run(
    program: &Path,
    mut command: Command,
    ends: Option<ChildEnds>,
) -> Result<ExitStatus, Refusal> {
    let failed = |error: std::io::Error| refused(program, &error.to_string());
    let (unheard, writer) = std::io::pipe().map_err(failed)?;
    match ends {
        Some(ChildEnds {
            stdin,
            stdout,
            stderr,
        }) => command.stdin(stdin).stdout(stdout).stderr(stderr),
        None => {
            let (ended, _) = std::io::pipe().map_err(failed)?;
            let complaint = writer.try_clone().map_err(failed)?;
            command.stdin(ended).stdout(writer).stderr(complaint)
        }
    };
    let status = wait(program, command);
    drop(unheard);
    status
}

/// Runs `command` and reads what it says.
pub fn ask(program: &Path, mut command: Command) -> Result<(ExitStatus, Vec<u8>), Refusal> {
    let failed = |error: std::io::Error| refused(program, &error.to_string());
    let (answer, writer) = std::io::pipe().map_err(failed)?;
    let complaint = writer.try_clone().map_err(failed)?;
    command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(complaint);
    let status = wait(program, command)?;
    // Whoever it left running may hold the pipe's other end.
    let answer = OwnedFd::from(answer);
    rustix::io::ioctl_fionbio(&answer, true).map_err(|error| failed(error.into()))?;
    let mut text = Vec::new();
    let _ = File::from(answer).take(ANSWER).read_to_end(&mut text);
    Ok((status, text))
}

fn wait(program: &Path, command: Command) -> Result<ExitStatus, Refusal> {
    let failed = |error: std::io::Error| refused(program, &error.to_string());
    let mut child = sys::spawn_unblocked(command).map_err(failed)?;
    let gone = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
        .is_ok_and(|pidfd| gone_within(&pidfd, PATIENCE));
    if !gone {
        // Fails only when it is gone already.
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    if gone {
        Ok(status)
    } else {
        Err(refused(
            program,
            &format!("was killed after {} s", PATIENCE.as_secs()),
        ))
    }
}

pub fn refused(program: &Path, why: &str) -> Refusal {
    Refusal::new(Code::Unknown, format!("{}: {why}", program.display()))
}
