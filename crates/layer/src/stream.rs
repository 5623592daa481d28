//! The bytes of a layer on their way: read, inflated and digested on threads of their own, handed on in chunks.
//!
//! One thread reads, digests what it read and inflates; one digests the tar; the caller's thread takes the tar as a
//! [`BufRead`]. Chunks are shared, not copied, and used again.

use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Scope, ScopedJoinHandle};

use sha2::{Digest, Sha256};

use crate::zstd;

const CHUNK: usize = 256 * 1024;
const AHEAD: usize = 16;
/// From here on a read goes past the buffer.
const BULK: usize = 16 * 1024;

/// Below this a layer is small enough to expand as much as it likes.
const RATIO_FREE: u64 = 1 << 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// How much a stream may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of tar.
    pub bytes: u64,
    /// Bytes of tar for one byte read; 0 for any number.
    pub ratio: u64,
}

/// Where the bytes come from.
pub type Input = Box<dyn Read + Send>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the layer expands beyond {0} bytes")]
    TooLong(u64),
    #[error("the layer expands more than {0} times")]
    Ratio(u64),
    #[error("{0} is not served\n\nhint: gzip, zstd or none")]
    Unserved(&'static str),
}

/// What is known of a stream once it was read to its end.
#[derive(Debug)]
pub struct Totals {
    pub digest: String,
    pub size: u64,
    pub tar_digest: String,
    pub tar_size: u64,
    pub compression: Compression,
}

/// The threads that feed a [`Stream`].
pub struct Feeders<'scope> {
    inflater: ScopedJoinHandle<'scope, Option<(String, u64, u64, Compression)>>,
    digester: ScopedJoinHandle<'scope, String>,
}

impl Feeders<'_> {
    /// Waits for both; None when the stream was not read to its end.
    pub fn finish(self) -> Option<Totals> {
        let inflated = self.inflater.join().expect("a panic aborts the program");
        let tar_digest = self.digester.join().expect("a panic aborts the program");
        let (digest, size, tar_size, compression) = inflated?;
        let digest = match compression {
            Compression::None => tar_digest.clone(),
            _ => digest,
        };
        Some(Totals {
            digest,
            size,
            tar_digest,
            tar_size,
            compression,
        })
    }
}

/// Starts reading `input`.
pub fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    input: Input,
    limits: Limits,
) -> (Stream, Feeders<'scope>) {
    start_with(scope, input, limits, true)
}

/// [`start`] without the digests, which come out empty: who wants those of single files takes [`Stream::piece`].
pub fn start_plain<'scope>(
    scope: &'scope Scope<'scope, '_>,
    input: Input,
    limits: Limits,
) -> (Stream, Feeders<'scope>) {
    start_with(scope, input, limits, false)
}

fn start_with<'scope>(
    scope: &'scope Scope<'scope, '_>,
    input: Input,
    limits: Limits,
    digests: bool,
) -> (Stream, Feeders<'scope>) {
    let (to_taker, taker) = sync_channel(AHEAD);
    let (to_digester, tar) = sync_channel::<Arc<Chunk>>(AHEAD);
    let inflater = scope.spawn(move || {
        let feed = Feed {
            pool: Pool::default(),
            taker: to_taker,
            digester: digests.then_some(to_digester),
            limits,
        };
        feed.run(input)
    });
    let digester = scope.spawn(move || {
        let mut sum = Sha256::new();
        for chunk in tar {
            sum.update(&chunk.data);
        }
        named(sum)
    });
    (
        Stream {
            chunks: taker,
            current: None,
            at: 0,
        },
        Feeders { inflater, digester },
    )
}

/// A digest as OCI writes it.
pub fn named(sum: Sha256) -> String {
    let mut text = String::from("sha256:");
    for byte in sum.finalize().iter() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

type Pool = Arc<Mutex<Vec<Vec<u8>>>>;

/// A buffer that goes back to its pool.
pub struct Chunk {
    data: Vec<u8>,
    pool: Pool,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Ok(mut pool) = self.pool.lock() {
            pool.push(std::mem::take(&mut self.data));
        }
    }
}

struct Feed {
    pool: Pool,
    taker: SyncSender<io::Result<Arc<Chunk>>>,
    digester: Option<SyncSender<Arc<Chunk>>>,
    limits: Limits,
}

impl Feed {
    fn run(self, input: Input) -> Option<(String, u64, u64, Compression)> {
        match self.pump(input) {
            Ok(totals) => totals,
            Err(error) => {
                // Nobody to tell means that the taker failed on its own.
                let _ = self.taker.send(Err(error));
                None
            }
        }
    }

    /// None when the taker went away.
    fn pump(&self, input: Input) -> io::Result<Option<(String, u64, u64, Compression)>> {
        let mut source = Source::new(input, self.digester.is_some());
        let start = source.fill_buf()?;
        if let Some(name) = unserved(start) {
            return Err(io::Error::other(Error::Unserved(name)));
        }
        let compression = detect(start);
        // What is not compressed is digested once, as the tar that it is.
        source.digests &= compression != Compression::None;
        let mut decoder: Box<dyn Decode> = match compression {
            Compression::None => Box::new(source),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
            Compression::Zstd => Box::new(zstd::Decoder::new(source)),
        };
        let mut tar_size = 0u64;
        loop {
            let mut data = self
                .pool
                .lock()
                .ok()
                .and_then(|mut pool| pool.pop())
                .unwrap_or_default();
            data.resize(CHUNK, 0);
            let filled = fill(&mut decoder, &mut data)?;
            if filled == 0 {
                break;
            }
            data.truncate(filled);
            tar_size += filled as u64;
            self.check(tar_size, decoder.source().size)?;
            let chunk = Arc::new(Chunk {
                data,
                pool: self.pool.clone(),
            });
            if let Some(digester) = &self.digester
                && digester.send(chunk.clone()).is_err()
            {
                return Ok(None);
            }
            if self.taker.send(Ok(chunk)).is_err() {
                return Ok(None);
            }
        }
        let source = decoder.source();
        Ok(Some((
            named(source.sum.clone()),
            source.size,
            tar_size,
            compression,
        )))
    }

    fn check(&self, tar_size: u64, read: u64) -> io::Result<()> {
        if tar_size > self.limits.bytes {
            return Err(io::Error::other(Error::TooLong(self.limits.bytes)));
        }
        let ratio = self.limits.ratio;
        if ratio != 0 && tar_size > RATIO_FREE && tar_size / ratio > read {
            return Err(io::Error::other(Error::Ratio(ratio)));
        }
        Ok(())
    }
}

fn fill(decoder: &mut Box<dyn Decode>, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match decoder.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// By the first bytes: gzip (RFC 1952), zstd and its skippable frames (RFC 8878), else a plain tar.
fn detect(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [first, 0x2a, 0x4d, 0x18, ..] if first & 0xf0 == 0x50 => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Compressions that others read and this does not.
fn unserved(start: &[u8]) -> Option<&'static str> {
    match start {
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("bzip2"),
        [0xfd, b'7', b'z', b'X', ..] => Some("xz"),
        _ => None,
    }
}

/// A decoder that still knows what it reads from.
trait Decode: Read {
    fn source(&self) -> &Source;
}

impl Decode for Source {
    fn source(&self) -> &Source {
        self
    }
}

impl Decode for flate2::bufread::MultiGzDecoder<Source> {
    fn source(&self) -> &Source {
        self.get_ref()
    }
}

impl Decode for zstd::Decoder<Source> {
    fn source(&self) -> &Source {
        self.get_ref()
    }
}

/// The input, digested as it is read.
pub struct Source {
    input: Input,
    digests: bool,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    sum: Sha256,
    size: u64,
}

impl Source {
    fn new(input: Input, digests: bool) -> Source {
        Source {
            input,
            digests,
            buffer: vec![0; CHUNK],
            at: 0,
            end: 0,
            sum: Sha256::new(),
            size: 0,
        }
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.end {
            // The start of a compressed stream must be seen whole, however small the pieces of a pipe are.
            self.at = 0;
            self.end = match self.input.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if self.size == 0 {
                while self.end > 0 && self.end < 4 {
                    match self.input.read(&mut self.buffer[self.end..])? {
                        0 => break,
                        bytes => self.end += bytes,
                    }
                }
            }
            if self.digests {
                self.sum.update(&self.buffer[..self.end]);
            }
            self.size += self.end as u64;
            if self.end == 0 {
                break;
            }
        }
        Ok(&self.buffer[self.at..self.end])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // What is asked for in bulk need not be copied twice; the start is looked at first.
        if self.at == self.end && self.size > 0 && buffer.len() >= BULK {
            // An interrupted read is the caller's to try again.
            let bytes = self.input.read(buffer)?;
            if self.digests {
                self.sum.update(&buffer[..bytes]);
            }
            self.size += bytes as u64;
            return Ok(bytes);
        }
        read_buffered(self, buffer)
    }
}

/// Read by way of BufRead.
fn read_buffered(from: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let mut available = from.fill_buf()?;
    let bytes = available.read(buffer)?;
    from.consume(bytes);
    Ok(bytes)
}

/// The tar, as it comes.
pub struct Stream {
    chunks: Receiver<io::Result<Arc<Chunk>>>,
    current: Option<Arc<Chunk>>,
    at: usize,
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self
            .current
            .as_ref()
            .is_none_or(|chunk| self.at == chunk.data.len())
        {
            self.at = 0;
            // Given back before waiting, so that the pool does not grow.
            self.current = None;
            self.current = self.chunks.recv().ok().transpose()?;
        }
        Ok(self
            .current
            .as_ref()
            .map_or(&[], |chunk| &chunk.data[self.at..]))
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

/// A part of a chunk, shared.
pub struct Piece {
    chunk: Arc<Chunk>,
    range: Range<usize>,
}

impl Piece {
    pub fn bytes(&self) -> &[u8] {
        &self.chunk.data[self.range.clone()]
    }
}

impl Stream {
    /// The next `bytes` of what `fill_buf` just gave, without copying them.
    pub fn piece(&self, bytes: usize) -> Option<Piece> {
        let chunk = self.current.as_ref()?;
        let range = self.at..self.at.checked_add(bytes)?;
        (range.end <= chunk.data.len()).then(|| Piece {
            chunk: chunk.clone(),
            range,
        })
    }

    /// Reads what follows the archive's end: the digests cover it.
    pub fn drain(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.fill_buf()?.len();
            if bytes == 0 {
                return Ok(());
            }
            self.consume(bytes);
        }
    }
}
