//! A layer into a directory: what each entry becomes, and what is refused.
//!
//! The directory becomes an overlay layer: `.wh.x` a whiteout, `.wh..wh..opq` an opaque directory (OCI image-spec,
//! "Layer"). Nothing of the archive is trusted; the kernel walks every path beneath the directory and through no link.

pub(crate) mod path;
mod tree;

use std::os::fd::OwnedFd;

use crate::disk;
use crate::ids::Map;
use crate::intake::{self, Limits, Tally};
use crate::overlay::Marks;
use crate::stream::{self, Compression, Input, Totals};
use crate::tar::{self, Entry};

pub use tree::Tree;

/// What to do with device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    #[default]
    Create,
    Skip,
    Refuse,
}

/// How to unpack.
#[derive(Debug, Default)]
pub struct Options {
    pub uids: Map,
    pub gids: Map,
    /// Lower layers, topmost first.
    pub lowers: Vec<OwnedFd>,
    pub marks: Marks,
    pub devices: Devices,
    pub limits: Limits,
    pub expect_digest: Option<String>,
    pub expect_diff_id: Option<String>,
}

#[derive(Debug, Default)]
pub struct Counts {
    pub skipped_attributes: u64,
    pub skipped_devices: u64,
    /// Directories that were made before, or without, an entry of their own.
    pub implied: u64,
}

/// What was unpacked.
#[derive(Debug, serde::Serialize)]
pub struct Answer {
    pub digest: String,
    pub diff_id: String,
    pub size: u64,
    pub tar_size: u64,
    pub entries: u64,
    pub bytes: u64,
    pub implied: u64,
    pub compression: Compression,
    pub skipped_xattrs: u64,
    pub skipped_devices: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("entry {path:?}")]
    Entry {
        path: String,
        #[source]
        reason: Reason,
    },
    #[error("the layer's {what} is {found}, not {expected}")]
    Digest {
        what: &'static str,
        found: String,
        expected: String,
    },
    #[error(transparent)]
    Intake(#[from] intake::Error),
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

/// Why one entry cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    #[error("its name leads upwards by \"..\"")]
    Upwards,
    #[error("its name is longer than 4095 bytes")]
    TooLong,
    #[error("its name is the layer's own directory")]
    Root,
    #[error("it names the whiteout of nothing")]
    Whiteout,
    #[error("{0:?} on its way is a symbolic link of the layer")]
    LinkOnTheWay(String),
    #[error("{0:?} on its way is no directory")]
    FileOnTheWay(String),
    #[error("its target is empty or has a NUL byte")]
    LinkTarget,
    #[error("it links to {0:?}, which is not in the layer before it")]
    LinkToNothing(String),
    #[error("it links to {0:?}, which leads out of the layer")]
    LinkOutwards(String),
    #[error("device nodes are refused")]
    Device,
    #[error("a device 0:0 would be a whiteout in disguise")]
    WhiteoutDevice,
    #[error("the attribute {0:?} belongs to overlayfs")]
    OverlayAttribute(String),
    #[error("{kind} {id} is not in the map")]
    Owner { kind: &'static str, id: u32 },
    #[error(transparent)]
    Disk(#[from] disk::Error),
    #[error(transparent)]
    Fill(#[from] intake::FillError),
}

/// Unpacks the layer that `input` holds into `directory`.
pub fn unpack(input: Input, directory: OwnedFd, options: &Options) -> Result<Answer, Error> {
    let (outcome, totals) = std::thread::scope(|scope| {
        let limits = options.limits.stream();
        let (stream, feeders) = stream::start(scope, input, limits);
        // The stream goes with the writer, also when that fails: then the threads end by themselves.
        (write(stream, directory, options), feeders.finish())
    });
    let (tally, counts) = outcome?;
    let totals = totals.ok_or(intake::Error::Cut)?;
    expect("digest", &totals.digest, options.expect_digest.as_ref())?;
    expect(
        "diff_id",
        &totals.tar_digest,
        options.expect_diff_id.as_ref(),
    )?;
    Ok(answer(totals, &tally, &counts))
}

fn answer(totals: Totals, tally: &Tally, counts: &Counts) -> Answer {
    Answer {
        digest: totals.digest,
        diff_id: totals.tar_digest,
        size: totals.size,
        tar_size: totals.tar_size,
        entries: tally.entries,
        bytes: tally.bytes,
        implied: counts.implied,
        compression: totals.compression,
        skipped_xattrs: counts.skipped_attributes,
        skipped_devices: counts.skipped_devices,
    }
}

fn expect(what: &'static str, found: &str, expected: Option<&String>) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != found => Err(Error::Digest {
            what,
            found: found.to_owned(),
            expected: expected.clone(),
        }),
        _ => Ok(()),
    }
}

fn write(
    stream: stream::Stream,
    directory: OwnedFd,
    options: &Options,
) -> Result<(Tally, Counts), Error> {
    let mut archive = tar::Reader::new(stream);
    let counts = entries(&mut archive, directory, options)?;
    intake::drain(archive.into_source())?;
    Ok(counts)
}

/// Unpacks the entries of an archive.
pub fn entries<R: std::io::BufRead>(
    archive: &mut tar::Reader<R>,
    directory: OwnedFd,
    options: &Options,
) -> Result<(Tally, Counts), Error> {
    let mut tree = Tree::new(directory, options)?;
    let mut entry = Entry::default();
    let mut tally = Tally::new(options.limits);
    while tally.next(archive, &mut entry)? {
        tree.entry(archive, &mut entry)
            .map_err(|reason| Error::Entry {
                path: disk::show(&entry.path).into_owned(),
                reason,
            })?;
    }
    Ok((tally, tree.finish()?))
}
