//! Tar archives: ustar, GNU and PAX, read as a stream from strangers and written for them.
//!
//! Where the formats leave room, an archive means what Go's archive/tar makes of it, because that is what the other
//! readers of the same layer use: two readers that disagree are how one is shown another archive than the other
//! (CVE-2025-62518). Nothing here touches a file system.

mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

/// Names and values of extended attributes.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

pub const BLOCK: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    File,
    HardLink,
    Symlink,
    Char,
    Block,
    Directory,
    Fifo,
}

/// A run of bytes of a sparse file that is in the archive; what lies between is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// One entry: what the header and its extensions say, unchecked but for NUL bytes and ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    pub path: Vec<u8>,
    /// Target of a hard or symbolic link.
    pub link: Vec<u8>,
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970, and nanoseconds counted forwards from there.
    pub mtime: (i64, u32),
    /// Bytes of the file as it reads; of a sparse one with its holes.
    pub size: u64,
    pub major: u32,
    pub minor: u32,
    pub attributes: Attributes,
    /// Where the archive's bytes belong when the file has holes: ascending, not overlapping, within `size`.
    pub sparse: Option<Vec<Segment>>,
}

/// Why an archive cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the archive")]
    Read(#[source] std::io::Error),
    #[error("the archive ends within {0}")]
    Truncated(&'static str),
    #[error("the header's checksum is wrong")]
    Checksum,
    #[error("a lone block of zeros within the archive")]
    LoneZeroBlock,
    #[error("the header's {0} is no number of that field")]
    Number(&'static str),
    #[error("extension headers of one entry exceed {0} bytes")]
    ExtensionTooLong(u64),
    #[error("a PAX record is malformed")]
    Pax,
    #[error("the PAX record {0:?} has no valid value")]
    PaxValue(String),
    #[error("a NUL byte in a name")]
    NulInName,
    #[error("entries of type {0:?} are not served")]
    Type(char),
    #[error("the map of the sparse file is invalid")]
    Sparse,
    #[error("an extension header without its entry")]
    LoneExtension,
}

pub type Result<T> = std::result::Result<T, Error>;
