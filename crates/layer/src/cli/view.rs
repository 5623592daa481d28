//! `view`.

use std::path::PathBuf;

use lexopt::prelude::*;

use super::{Error, Lines, Result, needed};
use crate::view::{self, Build};

#[derive(serde::Serialize)]
struct Pruned {
    removed: Vec<String>,
}

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let (mut source, mut dest) = (PathBuf::from("/"), None);
    let (mut build, mut prune, mut keep) = (Build::Always, false, Vec::new());
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("source-root") => source = arguments.value()?.into(),
            Long("dest") => dest = Some(PathBuf::from(arguments.value()?)),
            Long("only-if-stale") if build == Build::Always => build = Build::IfStale,
            Long("check") if build == Build::Always => build = Build::Never,
            Long("prune") => prune = true,
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
        lines.put(&Pruned {
            removed: view::prune(&dest, &keep)?,
        })?;
    } else if keep.is_empty() {
        lines.put(&view::refresh(&source, &dest, build)?)?;
    } else {
        return Err(Error::Usage("--keep belongs to --prune".to_owned()));
    }
    lines.end()
}
