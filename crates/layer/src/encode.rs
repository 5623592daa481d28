//! The way out: a tar digested, compressed, and digested again as it is written.

use std::io::{self, BufWriter, Write};

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use sha2::{Digest, Sha256};

use crate::stream::{Compression, named};

/// Each piece becomes a zstd frame of its own; the encoder looks back no further than 128 KiB.
const FRAME: usize = 1 << 20;

/// Digests and counts what passes.
struct Tally<W> {
    target: W,
    sum: Sha256,
    size: u64,
}

impl<W: Write> Tally<W> {
    fn new(target: W) -> Tally<W> {
        Tally {
            target,
            sum: Sha256::new(),
            size: 0,
        }
    }
}

impl<W: Write> Write for Tally<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.target.write(data)?;
        self.sum.update(&data[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

enum Codec<W: Write> {
    None(W),
    Gzip(Box<flate2::write::GzEncoder<W>>),
    Zstd { target: W, piece: Vec<u8> },
}

impl<W: Write> Write for Codec<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Codec::None(target) => target.write(data),
            Codec::Gzip(encoder) => encoder.write(data),
            Codec::Zstd { target, piece } => {
                let taken = data.len().min(FRAME - piece.len());
                piece.extend_from_slice(&data[..taken]);
                if piece.len() == FRAME {
                    target.write_all(&compress_to_vec(&piece[..], CompressionLevel::Fastest))?;
                    piece.clear();
                }
                Ok(taken)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Codec<W> {
    fn finish(self) -> io::Result<W> {
        match self {
            Codec::None(target) => Ok(target),
            Codec::Gzip(encoder) => encoder.finish(),
            Codec::Zstd { mut target, piece } => {
                target.write_all(&compress_to_vec(&piece[..], CompressionLevel::Fastest))?;
                Ok(target)
            }
        }
    }
}

/// Writes a layer's tar to `W` in one of the compressions.
pub struct Encoder<W: Write> {
    tar: BufWriter<Tally<Codec<Tally<W>>>>,
    compression: Compression,
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    pub digest: String,
    pub size: u64,
    pub tar_digest: String,
    pub tar_size: u64,
    pub compression: Compression,
}

impl<W: Write> Encoder<W> {
    pub fn new(target: W, compression: Compression) -> Encoder<W> {
        let target = Tally::new(target);
        let codec = match compression {
            Compression::None => Codec::None(target),
            // No name and no time in the header: the same tree gives the same bytes.
            Compression::Gzip => Codec::Gzip(Box::new(flate2::write::GzEncoder::new(
                target,
                flate2::Compression::new(6),
            ))),
            Compression::Zstd => Codec::Zstd {
                target,
                piece: Vec::with_capacity(FRAME),
            },
        };
        Encoder {
            tar: BufWriter::with_capacity(256 * 1024, Tally::new(codec)),
            compression,
        }
    }

    pub fn finish(self) -> io::Result<Written> {
        let tar = self
            .tar
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let (tar_digest, tar_size) = (named(tar.sum), tar.size);
        let mut out = tar.target.finish()?;
        out.flush()?;
        Ok(Written {
            digest: named(out.sum),
            size: out.size,
            tar_digest,
            tar_size,
            compression: self.compression,
        })
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.tar.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tar.flush()
    }
}
