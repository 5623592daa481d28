//! `unpack`.

use std::fs::File;
use std::path::PathBuf;

use lexopt::prelude::*;

use super::{Error, Lines, Result, bound, map, needed};
use crate::disk;
use crate::overlay::Marks;
use crate::unpack::{self, Devices, Options};

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let mut options = Options::default();
    let (mut directory, mut input, mut gids) = (None, None, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("input") => input = Some(PathBuf::from(arguments.value()?)),
            Long("uid-map") => options.uids = map(arguments.value()?, "--uid-map")?,
            Long("gid-map") => gids = Some(map(arguments.value()?, "--gid-map")?),
            Long("lower") => options
                .lowers
                .push(disk::root(&PathBuf::from(arguments.value()?))?),
            Long("userxattr") => options.marks = Marks::User,
            Long("devices") => options.devices = devices(&arguments.value()?.string()?)?,
            Long("expect-digest") => {
                options.expect_digest = Some(digest(arguments.value()?.string()?)?)
            }
            Long("expect-diff-id") => {
                options.expect_diff_id = Some(digest(arguments.value()?.string()?)?)
            }
            Value(value) if directory.is_none() => directory = Some(PathBuf::from(value)),
            Long(name) => {
                let name = name.to_owned();
                if !bound(&mut options.limits, &name, &mut arguments)? {
                    return Err(Long(&name).unexpected().into());
                }
            }
            other => return Err(other.unexpected().into()),
        }
    }
    options.gids = gids.unwrap_or_else(|| options.uids.clone());
    let directory = disk::root(&needed(directory, "the directory")?)?;
    let input = match input {
        Some(path) => File::open(&path).map_err(|source| Error::Open { path, source })?,
        None => File::from(rustix::io::dup(std::io::stdin()).map_err(std::io::Error::from)?),
    };
    let mut lines = Lines::new();
    lines.put(&unpack::unpack(Box::new(input), directory, &options)?)?;
    lines.end()
}

fn devices(word: &str) -> Result<Devices> {
    match word {
        "create" => Ok(Devices::Create),
        "skip" => Ok(Devices::Skip),
        "refuse" => Ok(Devices::Refuse),
        other => Err(Error::Usage(format!(
            "--devices takes create, skip or refuse, not {other:?}"
        ))),
    }
}

/// A digest of the one algorithm that is served.
fn digest(text: String) -> Result<String> {
    let is_hex = |hex: &str| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if text.strip_prefix("sha256:").is_some_and(is_hex) {
        Ok(text)
    } else {
        Err(Error::Usage(format!("{text:?} is no sha256 digest")))
    }
}
