//! Reading an archive entry by entry from a stream.

use std::io::BufRead;

use super::header::{self, Header};
use super::pax::Pax;
use super::sparse::{self, PaxMap};
use super::{BLOCK, Entry, Error, Kind, Result, Segment};

/// Bytes of extension headers that one entry may have (paths are at most 4096, attributes at most 64 KiB each).
const MOST_EXTENSION: u64 = 1 << 20;

/// Reads entries; after [`Reader::next`] their data comes from [`Reader::chunk`].
pub struct Reader<R> {
    source: R,
    /// Bytes of the current entry's data not read yet.
    left: u64,
    padding: u64,
}

/// What came before an entry's own header.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    gnu_name: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    bytes: u64,
}

impl<R: BufRead> Reader<R> {
    pub fn new(source: R) -> Reader<R> {
        Reader {
            source,
            left: 0,
            padding: 0,
        }
    }

    /// Reads the next header into `entry`, skipping what is left of the data before; false at the archive's end.
    pub fn next(&mut self, entry: &mut Entry) -> Result<bool> {
        self.skip()?;
        let mut extensions = Extensions::default();
        loop {
            let mut block = [0; BLOCK];
            if !self.header_block(&mut block)? {
                let alone = extensions.bytes == 0;
                return if alone {
                    Ok(false)
                } else {
                    Err(Error::LoneExtension)
                };
            }
            let header = Header::new(&block)?;
            match header.type_flag() {
                b'x' | b'X' => {
                    let records = self.extension(&header, &mut extensions.bytes)?;
                    extensions.pax = Some(Pax::parse(&records)?);
                }
                b'g' => drop(self.extension(&header, &mut extensions.bytes)?),
                b'L' => {
                    extensions.gnu_name =
                        Some(gnu_text(self.extension(&header, &mut extensions.bytes)?))
                }
                b'K' => {
                    extensions.gnu_link =
                        Some(gnu_text(self.extension(&header, &mut extensions.bytes)?))
                }
                _ => {
                    self.fill_entry(&header, extensions, entry)?;
                    return Ok(true);
                }
            }
        }
    }

    /// More of the current entry's data; empty when there is none left. Say by [`Reader::consume`] how much was used.
    pub fn chunk(&mut self) -> Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let chunk = fill(&mut self.source)?;
        if chunk.is_empty() {
            return Err(Error::Truncated("a file"));
        }
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(chunk.len());
        Ok(&chunk[..most])
    }

    pub fn consume(&mut self, bytes: usize) {
        self.source.consume(bytes);
        self.left -= bytes as u64;
    }

    /// What is read from; nothing may be taken from it.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// What follows the archive's end, to be read to its own.
    pub fn into_source(self) -> R {
        self.source
    }

    fn skip(&mut self) -> Result<()> {
        self.left += std::mem::take(&mut self.padding);
        while self.left > 0 {
            let bytes = self.chunk()?.len();
            self.consume(bytes);
        }
        Ok(())
    }

    /// Reads a header block; false at the end: two blocks of zeros, or nothing more at all.
    fn header_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool> {
        if fill(&mut self.source)?.is_empty() {
            return Ok(false);
        }
        self.block(block, "a header")?;
        if block.iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        if fill(&mut self.source)?.is_empty() {
            return Ok(false);
        }
        self.block(block, "a header")?;
        if block.iter().any(|byte| *byte != 0) {
            Err(Error::LoneZeroBlock)
        } else {
            Ok(false)
        }
    }

    fn block(&mut self, block: &mut [u8; BLOCK], what: &'static str) -> Result<()> {
        let mut filled = 0;
        while filled < BLOCK {
            let chunk = fill(&mut self.source)?;
            if chunk.is_empty() {
                return Err(Error::Truncated(what));
            }
            let bytes = chunk.len().min(BLOCK - filled);
            block[filled..filled + bytes].copy_from_slice(&chunk[..bytes]);
            self.source.consume(bytes);
            filled += bytes;
        }
        Ok(())
    }

    /// Reads the data of an extension header.
    fn extension(&mut self, header: &Header<'_>, total: &mut u64) -> Result<Vec<u8>> {
        let size = header.unsigned(header::SIZE, "size")?;
        *total = total.saturating_add(size).saturating_add(BLOCK as u64);
        if *total > MOST_EXTENSION {
            return Err(Error::ExtensionTooLong(MOST_EXTENSION));
        }
        let mut data = Vec::with_capacity(size as usize);
        (self.left, self.padding) = (size, padding(size));
        while self.left > 0 {
            let chunk = self.chunk().map_err(|error| match error {
                Error::Truncated(_) => Error::Truncated("an extension header"),
                other => other,
            })?;
            data.extend_from_slice(chunk);
            let bytes = chunk.len();
            self.consume(bytes);
        }
        self.skip()?;
        Ok(data)
    }

    fn fill_entry(
        &mut self,
        header: &Header<'_>,
        extensions: Extensions,
        entry: &mut Entry,
    ) -> Result<()> {
        let mut pax = extensions.pax.unwrap_or_default();
        names(
            header,
            &mut pax,
            (extensions.gnu_name, extensions.gnu_link),
            entry,
        )?;
        entry.kind = kind(header, &entry.path)?;
        entry.mode = header.small(header::MODE, "mode")? & 0o7777;
        entry.uid = pax
            .uid
            .map_or_else(|| header.small(header::UID, "uid"), Ok)?;
        entry.gid = pax
            .gid
            .map_or_else(|| header.small(header::GID, "gid"), Ok)?;
        entry.mtime = match pax.mtime {
            Some(time) => time,
            None => (
                header.number(header::MTIME).ok_or(Error::Number("mtime"))?,
                0,
            ),
        };
        (entry.major, entry.minor) = (0, 0);
        if matches!(entry.kind, Kind::Char | Kind::Block) {
            entry.major = header.small(header::MAJOR, "major number")?;
            entry.minor = header.small(header::MINOR, "minor number")?;
        }
        entry.attributes = std::mem::take(&mut pax.attributes);
        let stored = pax
            .size
            .map_or_else(|| header.unsigned(header::SIZE, "size"), Ok)?;
        // Only files have data, whatever the size says.
        let stored = if entry.kind == Kind::File { stored } else { 0 };
        if stored > i64::MAX as u64 {
            return Err(Error::Number("size"));
        }
        (self.left, self.padding) = (stored, padding(stored));
        entry.size = stored;
        entry.sparse = None;
        if entry.kind == Kind::File {
            self.holes(header, pax, entry)?;
        }
        Ok(())
    }

    /// Reads the map of a file with holes, which may take blocks of its own.
    fn holes(&mut self, header: &Header<'_>, mut pax: Pax, entry: &mut Entry) -> Result<()> {
        let segments = if header.type_flag() == b'S' && header.is_gnu() {
            entry.size = header.unsigned((483, 12), "real size")?;
            self.old_gnu(header)?
        } else {
            let segments = match pax.sparse.map()? {
                PaxMap::None => return Ok(()),
                PaxMap::Given(segments) => segments,
                PaxMap::InData => self.map_in_data()?,
            };
            entry.size = pax.sparse.real_size.ok_or(Error::Sparse)?;
            segments
        };
        if entry.size > i64::MAX as u64 {
            return Err(Error::Number("real size"));
        }
        sparse::check(&segments, entry.size, self.left)?;
        entry.sparse = Some(segments);
        Ok(())
    }

    fn old_gnu(&mut self, header: &Header<'_>) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        let mut more = sparse::old_gnu(
            header.field((386, 96)),
            header.field((482, 1))[0],
            &mut segments,
        )?;
        while more {
            let mut block = [0; BLOCK];
            self.block(&mut block, "the map of a sparse file")?;
            let before = segments.len();
            more = sparse::old_gnu(&block[..504], block[504], &mut segments)?;
            if more && segments.len() < before + 21 {
                return Err(Error::Sparse);
            }
        }
        Ok(segments)
    }

    fn map_in_data(&mut self) -> Result<Vec<Segment>> {
        let stored = self.left;
        let (segments, blocks) =
            sparse::in_data(|block| self.block(block, "the map of a sparse file"))?;
        self.left = stored
            .checked_sub(blocks * BLOCK as u64)
            .ok_or(Error::Sparse)?;
        Ok(segments)
    }
}

fn fill<R: BufRead>(source: &mut R) -> Result<&[u8]> {
    // Asked twice because a borrow that is returned cannot be retried.
    loop {
        match source.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Read(error)),
        }
    }
    source.fill_buf().map_err(Error::Read)
}

/// Zeros up to the next block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// The data of GNU's long name headers, which ends in NUL.
fn gnu_text(mut data: Vec<u8>) -> Vec<u8> {
    let end = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    data.truncate(end);
    data
}

/// Name and link: GNU's extensions outrank PAX ones, and these the header.
fn names(
    header: &Header<'_>,
    pax: &mut Pax,
    (gnu_name, gnu_link): (Option<Vec<u8>>, Option<Vec<u8>>),
    entry: &mut Entry,
) -> Result<()> {
    let sparse_name = pax.sparse.name.take();
    match gnu_name.or(sparse_name).or(pax.path.take()) {
        Some(path) => entry.path = path,
        None => {
            entry.path.clear();
            let prefix = header.prefix();
            if !prefix.is_empty() {
                entry.path.extend_from_slice(prefix);
                entry.path.push(b'/');
            }
            entry.path.extend_from_slice(header.text(header::NAME));
        }
    }
    entry.link.clear();
    match gnu_link.or(pax.link.take()) {
        Some(link) => entry.link = link,
        None => entry.link.extend_from_slice(header.text(header::LINK)),
    }
    Ok(())
}

fn kind(header: &Header<'_>, path: &[u8]) -> Result<Kind> {
    Ok(match header.type_flag() {
        // Before POSIX a directory was a file whose name ends so.
        0 if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' => Kind::File,
        b'S' if header.is_gnu() => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' if !header.is_v7() => Kind::Char,
        b'4' if !header.is_v7() => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => return Err(Error::Type(other as char)),
    })
}
