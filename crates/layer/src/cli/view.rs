//! `view`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lexopt::prelude::*;

use super::{Error, Lines, Result, needed};
use crate::view::{self, Build};

#[derive(serde::Serialize)]
struct Pruned {
    removed: Vec<String>,
}

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let (mut source, mut dest) = (PathBuf::from("/"), None);
    let (mut build, mut keep) = (Build::Always, Vec::new());
    let (mut prune, mut beside) = (false, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("source-root") => source = arguments.value()?.into(),
            Long("dest") => dest = Some(PathBuf::from(arguments.value()?)),
            Long("only-if-stale") if build == Build::Always => build = Build::IfStale,
            Long("check") if build == Build::Always => build = Build::Never,
            Long("prune") => prune = true,
            Long("beside") => beside = true,
            Long("keep") => keep.push(arguments.value()?.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let dest = needed(dest, "--dest")?;
    let mut lines = Lines::new();
    if prune {
        if build != Build::Always {
            return Err(Error::Usage("--prune does nothing else".to_owned()));
        }
        let pruned = view::prune(&dest, &keep)?;
        if beside {
            clear_beside(&dest, &pruned)?;
        } else {
            view::clear(&dest, &pruned)?;
        }
        lines.put(&Pruned {
            removed: pruned.stamps,
        })?;
    } else if beside {
        return Err(Error::Usage("--beside belongs to --prune".to_owned()));
    } else if keep.is_empty() {
        lines.put(&view::refresh(&source, &dest, build)?)?;
    } else {
        return Err(Error::Usage("--keep belongs to --prune".to_owned()));
    }
    lines.end()
}

/// Has a process of its own remove what was pruned, and does not wait for it.
fn clear_beside(dest: &Path, pruned: &view::Pruned) -> Result<()> {
    if pruned.doomed.is_empty() {
        return Ok(());
    }
    let trees = pruned
        .doomed
        .iter()
        .map(|name| dest.join(OsStr::from_bytes(name)));
    Command::new("/proc/self/exe")
        .arg0("stockade-layer")
        .arg("remove")
        .args(trees)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map(drop)
        .map_err(Error::Start)
}
