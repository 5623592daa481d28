//! `copy-shifted`.

use std::path::PathBuf;

use lexopt::prelude::*;

use super::{Error, Lines, Result, map, needed};
use crate::{container, disk, shifted};

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let (mut uids, mut gids, mut paths) = (None, None, Vec::new());
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("uid-map") => uids = Some(map(arguments.value()?, "--uid-map")?),
            Long("gid-map") => gids = Some(map(arguments.value()?, "--gid-map")?),
            Value(value) => paths.push(PathBuf::from(value)),
            other => return Err(other.unexpected().into()),
        }
    }
    let uids = needed(uids, "--uid-map")?;
    let gids = gids.unwrap_or_else(|| uids.clone());
    let [source, target] = &paths[..] else {
        return Err(Error::Usage("SRC and DEST, and no more".to_owned()));
    };
    container::allow_depth();
    let copied = shifted::copy(&disk::root(source)?, target, (&uids, &gids))?;
    let mut lines = Lines::new();
    lines.put(&copied)?;
    lines.end()
}
