//! `diff`.

use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use lexopt::prelude::*;

use super::{Error, Lines, Result, map, needed};
use crate::changes::Overlay;
use crate::diff::{self, Options};
use crate::disk;
use crate::encode::Encoder;
use crate::overlay::Marks;
use crate::stream::Compression;

#[derive(serde::Serialize)]
struct Answer {
    digest: String,
    diff_id: String,
    size: u64,
    tar_size: u64,
    entries: u64,
    compression: Compression,
    skipped_sockets: u64,
}

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let (mut upper, mut output, mut lowers) = (None, None, Vec::new());
    let (mut uids, mut gids, mut marks) = (crate::ids::Map::default(), None, Marks::Trusted);
    let (mut compression, mut hidden) = (Compression::None, Vec::new());
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("lower") => lowers.push(disk::root(&PathBuf::from(arguments.value()?))?),
            Long("uid-map") => uids = map(arguments.value()?, "--uid-map")?,
            Long("gid-map") => gids = Some(map(arguments.value()?, "--gid-map")?),
            Long("hide") => {
                let path = arguments.value()?.into_vec();
                hidden.push(path.strip_prefix(b"/").unwrap_or(&path).to_vec());
            }
            Long("userxattr") => marks = Marks::User,
            Long("gzip") if compression == Compression::None => compression = Compression::Gzip,
            Long("zstd") if compression == Compression::None => compression = Compression::Zstd,
            Long("output") => output = Some(PathBuf::from(arguments.value()?)),
            Value(value) if upper.is_none() => upper = Some(PathBuf::from(value)),
            other => return Err(other.unexpected().into()),
        }
    }
    let upper = disk::root(&needed(upper, "the upper directory")?)?;
    let gids = gids.unwrap_or_else(|| uids.clone());
    let options = Options {
        overlay: Overlay {
            upper,
            lowers,
            marks,
        },
        uids,
        gids,
        hidden,
    };
    let Some(path) = output else {
        let stdout = std::io::stdout().lock();
        write(&options, Encoder::new(stdout, compression))?;
        return Ok(());
    };
    let file = File::create(&path).map_err(|source| Error::Open { path, source })?;
    let answer = write(&options, Encoder::new(file, compression))?;
    let mut lines = Lines::new();
    lines.put(&answer)?;
    lines.end()
}

fn write<W: std::io::Write>(options: &Options, encoder: Encoder<W>) -> Result<Answer> {
    let (encoder, counts) = diff::diff(options, encoder)?;
    let written = encoder.finish().map_err(diff::Error::Write)?;
    Ok(Answer {
        digest: written.digest,
        diff_id: written.tar_digest,
        size: written.size,
        tar_size: written.tar_size,
        entries: counts.entries,
        compression: written.compression,
        skipped_sockets: counts.skipped_sockets,
    })
}
