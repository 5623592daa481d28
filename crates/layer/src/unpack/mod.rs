//! A layer into a directory: what each entry becomes, and what is refused.
//!
//! The directory becomes an overlay layer: `.wh.x` a whiteout, `.wh..wh..opq` an opaque directory (OCI image-spec,
//! "Layer"). Nothing of the archive is trusted; the kernel walks every path beneath the directory and through no link.

pub(crate) mod path;
mod tree;

use std::os::fd::OwnedFd;

use crate::disk;
use crate::ids::Map;
use crate::overlay::Marks;
use crate::stream::{self, Compression, Input, Limits, Totals};
use crate::tar::{self, Entry, Kind};

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
    pub max_bytes: u64,
    pub max_entries: u64,
    pub max_ratio: u64,
    pub expect_digest: Option<String>,
    pub expect_diff_id: Option<String>,
}

impl Options {
    /// What bounds a layer where nobody says otherwise.
    pub fn bounded() -> Options {
        Options {
            max_bytes: 64 << 30,
            max_entries: 4_000_000,
            max_ratio: 300,
            ..Options::default()
        }
    }
}

#[derive(Debug, Default)]
pub struct Counts {
    pub entries: u64,
    pub skipped_attributes: u64,
    pub skipped_devices: u64,
    /// Directories that were made before, or without, an entry of their own.
    pub implied: u64,
    /// Of all files together, holes included.
    pub bytes: u64,
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
    #[error("after entry {path:?}")]
    Archive {
        path: String,
        #[source]
        source: tar::Error,
    },
    #[error("more than {0} entries")]
    Entries(u64),
    #[error("the files hold more than {0} bytes")]
    Bytes(u64),
    #[error("the layer's {what} is {found}, not {expected}")]
    Digest {
        what: &'static str,
        found: String,
        expected: String,
    },
    #[error("read the layer")]
    Read(#[source] std::io::Error),
    #[error("the layer was not read to its end")]
    Cut,
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
    Archive(#[from] tar::Error),
    #[error("write")]
    Write(#[source] std::io::Error),
}

/// Unpacks the layer that `input` holds into `directory`.
pub fn unpack(input: Input, directory: OwnedFd, options: &Options) -> Result<Answer, Error> {
    let limits = Limits {
        bytes: options.max_bytes,
        ratio: options.max_ratio,
    };
    let (outcome, totals) = std::thread::scope(|scope| {
        let (stream, feeders) = stream::start(scope, input, limits);
        // The stream goes with the writer, also when that fails: then the threads end by themselves.
        (write(stream, directory, options), feeders.finish())
    });
    let counts = outcome?;
    let totals = totals.ok_or(Error::Cut)?;
    expect("digest", &totals.digest, options.expect_digest.as_ref())?;
    expect(
        "diff_id",
        &totals.tar_digest,
        options.expect_diff_id.as_ref(),
    )?;
    Ok(answer(totals, &counts))
}

fn answer(totals: Totals, counts: &Counts) -> Answer {
    Answer {
        digest: totals.digest,
        diff_id: totals.tar_digest,
        size: totals.size,
        tar_size: totals.tar_size,
        entries: counts.entries,
        bytes: counts.bytes,
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

fn write(stream: stream::Stream, directory: OwnedFd, options: &Options) -> Result<Counts, Error> {
    let mut archive = tar::Reader::new(stream);
    let counts = entries(&mut archive, directory, options)?;
    archive.into_source().drain().map_err(Error::Read)?;
    Ok(counts)
}

/// Unpacks the entries of an archive.
pub fn entries<R: std::io::BufRead>(
    archive: &mut tar::Reader<R>,
    directory: OwnedFd,
    options: &Options,
) -> Result<Counts, Error> {
    let mut tree = Tree::new(directory, options)?;
    let mut entry = Entry::default();
    let shown = |entry: &Entry| disk::show(&entry.path).into_owned();
    loop {
        match archive.next(&mut entry) {
            Ok(true) => {}
            Ok(false) => break,
            Err(source) => {
                return Err(Error::Archive {
                    path: shown(&entry),
                    source,
                });
            }
        }
        tree.counts.entries += 1;
        if tree.counts.entries > options.max_entries {
            return Err(Error::Entries(options.max_entries));
        }
        if entry.kind == Kind::File {
            tree.counts.bytes = tree.counts.bytes.saturating_add(entry.size);
        }
        if tree.counts.bytes > options.max_bytes {
            return Err(Error::Bytes(options.max_bytes));
        }
        tree.entry(archive, &mut entry)
            .map_err(|reason| Error::Entry {
                path: shown(&entry),
                reason,
            })?;
    }
    tree.finish()
}
