//! Names of sockets whose shim was killed when its bundle, which tells of them, was half removed or gone: nobody else
//! finds them, so a shim that leaves looks for some. Off every caller's path: it has answered all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::socket;

/// Looked at by one leaving shim: the end of one among a thousand costs as little as the end of the only one.
const AT_ONCE: usize = 32;

/// Removes dead neighbours' names. What fails is found by the next shim that leaves.
pub fn bury(directory: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(held) = rustix::fs::open(directory, flags, Mode::empty()) else {
        return;
    };
    // Whoever holds it may be making the very files that look dead.
    if rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).is_err() {
        return;
    }
    let shims = by_shim(directory);
    // Another part of them each time: pids differ.
    let first = std::process::id() as usize % shims.len().max(1);
    for (name, files) in shims
        .iter()
        .cycle()
        .skip(first)
        .take(shims.len().min(AT_ONCE))
    {
        if is_dead(&directory.join(name)) {
            for file in files {
                let _ = std::fs::remove_file(file);
            }
        }
    }
}

/// The files of each shim, by what their names have in common: what was cut in the making or in the removal too.
fn by_shim(directory: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut shims: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let stem = name.split('.').next().unwrap_or_default().to_owned();
        shims.entry(stem).or_default().push(entry.path());
    }
    shims
}

/// Nobody is asked whose process lives: that would wake every idle shim. A number that means another process by now
/// hides a dead one for a while. A pid of another namespace means nothing here, hence the second question.
fn is_dead(ttrpc: &Path) -> bool {
    let pid = std::fs::read_to_string(ttrpc.with_extension("pid"));
    let pid = pid.ok().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
    let gone = pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH));
    gone && !socket::answering(ttrpc)
}
