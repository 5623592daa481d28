//! A zstd stream of many frames, skippable ones among them (RFC 8878), decoded as one.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Decoded at a time; a frame's window stays in memory beside it.
const STEP: usize = 512 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the zstd stream is damaged")]
    Frame(#[source] FrameDecoderError),
    #[error("a zstd frame's checksum is wrong")]
    Checksum,
}

pub struct Decoder<R> {
    source: R,
    frame: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Decoder<R> {
    pub fn new(source: R) -> Decoder<R> {
        Decoder {
            source,
            frame: FrameDecoder::new(),
            in_frame: false,
        }
    }

    pub fn get_ref(&self) -> &R {
        &self.source
    }

    /// Enters the next frame that holds data; false at the stream's end.
    fn enter(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.frame.reset(&mut self.source) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    self.skip(length.into())?;
                }
                Err(error) => return Err(io::Error::other(Error::Frame(error))),
            }
        }
        Ok(false)
    }

    fn skip(&mut self, mut length: u64) -> io::Result<()> {
        while length > 0 {
            let available = self.source.fill_buf()?.len();
            if available == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let bytes = available.min(usize::try_from(length).unwrap_or(usize::MAX));
            self.source.consume(bytes);
            length -= bytes as u64;
        }
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        match self.frame.get_checksum_from_data() {
            Some(stated) if self.frame.get_calculated_checksum() != Some(stated) => {
                Err(io::Error::other(Error::Checksum))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame && !self.enter()? {
                return Ok(0);
            }
            if self.frame.can_collect() == 0 && !self.frame.is_finished() {
                self.frame
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBytes(STEP))
                    .map_err(|error| io::Error::other(Error::Frame(error)))?;
            }
            let bytes = self.frame.read(buffer)?;
            if bytes > 0 || buffer.is_empty() {
                return Ok(bytes);
            }
            if self.frame.is_finished() {
                self.check()?;
                self.in_frame = false;
            }
        }
    }
}
