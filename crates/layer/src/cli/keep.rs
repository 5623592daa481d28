//! `keep`.

use std::fs::File;
use std::path::PathBuf;

use lexopt::prelude::*;

use super::transfer::Incoming;
use super::{Error, Lines, Result, bytes, needed, number};
use crate::keep;
use crate::stream::Limits;

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let mut limits = Limits {
        bytes: 64 << 30,
        ratio: 300,
    };
    let (mut incoming, mut path) = (Incoming::default(), None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("max-bytes") => limits.bytes = bytes(arguments.value()?, "--max-bytes")?,
            Long("max-ratio") => limits.ratio = number(arguments.value()?, "--max-ratio")?,
            Long(name) => {
                let name = name.to_owned();
                if !incoming.take(&name, &mut arguments)? {
                    return Err(Long(&name).unexpected().into());
                }
            }
            Value(value) if path.is_none() => path = Some(PathBuf::from(value)),
            other => return Err(other.unexpected().into()),
        }
    }
    let path = needed(path, "the file")?;
    let file = File::create_new(&path).map_err(|source| Error::Open { path, source })?;
    let mut lines = Lines::new();
    lines.put(&keep::keep(incoming.open()?, file, limits)?)?;
    lines.end()
}
