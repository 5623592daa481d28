//! One layer into a file, as it comes, with the digests of its bytes and of the tar in it.

use std::fs::File;
use std::io::{self, Read, Write};

use crate::intake::{self, Error};
use crate::stream::{self, Compression, Input, Limits, Totals};

#[derive(Debug, serde::Serialize)]
pub struct Answer {
    digest: String,
    diff_id: String,
    size: u64,
    tar_size: u64,
    compression: Compression,
}

/// Hands on what it reads, and writes it down.
struct Tee {
    input: Input,
    file: File,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.file.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// Writes what `input` holds into `file`.
pub fn keep(input: Input, file: File, limits: Limits) -> Result<Answer, Error> {
    let totals = std::thread::scope(|scope| {
        let (stream, feeders) = stream::start(scope, Box::new(Tee { input, file }), limits);
        intake::drain(stream)?;
        feeders.finish().ok_or(Error::Cut)
    })?;
    let Totals {
        digest,
        size,
        tar_digest,
        tar_size,
        compression,
    } = totals;
    Ok(Answer {
        digest,
        diff_id: tar_digest,
        size,
        tar_size,
        compression,
    })
}
