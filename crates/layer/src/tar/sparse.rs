//! Maps of sparse files: GNU's old header, and its PAX formats 0.0, 0.1 and 1.0 (GNU tar's manual, "Storing Sparse Files").

use super::header::number;
use super::{BLOCK, Error, Result, Segment};

/// More runs than this are refused: a map costs memory before a byte of data is read.
pub(super) const MOST_SEGMENTS: usize = 1 << 18;

/// Decimal digits, nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// The records `GNU.sparse.*`.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    major: Option<u64>,
    minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    offset: Option<u64>,
    segments: Vec<Segment>,
    has_map: bool,
}

/// Where the map of a PAX sparse file is.
pub(super) enum PaxMap {
    None,
    Given(Vec<Segment>),
    /// At the start of the data.
    InData,
}

impl PaxSparse {
    /// Takes the record `GNU.sparse.<key>`; None when its value is none.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"name" if !value.contains(&0) => {
                self.name = (!value.is_empty()).then(|| value.to_vec())
            }
            b"name" => return None,
            b"size" | b"realsize" => self.real_size = Some(decimal(value)?),
            b"numblocks" => self.has_map = true,
            b"offset" => self.offset = Some(decimal(value)?),
            b"numbytes" => {
                let segment = Segment {
                    offset: self.offset.take()?,
                    length: decimal(value)?,
                };
                self.push(segment)?;
            }
            b"map" => {
                self.segments.clear();
                self.has_map = true;
                let mut numbers = value.split(|byte| *byte == b',').map(decimal);
                while !value.is_empty()
                    && let Some(offset) = numbers.next()
                {
                    let segment = Segment {
                        offset: offset?,
                        length: numbers.next()??,
                    };
                    self.push(segment)?;
                }
            }
            _ => {}
        }
        Some(())
    }

    fn push(&mut self, segment: Segment) -> Option<()> {
        self.segments.push(segment);
        (self.segments.len() <= MOST_SEGMENTS).then_some(())
    }

    pub(super) fn map(&mut self) -> Result<PaxMap> {
        match (self.major, self.minor) {
            (Some(1), Some(0)) => Ok(PaxMap::InData),
            (Some(0), Some(0 | 1)) | (None, None) if self.has_map => {
                Ok(PaxMap::Given(std::mem::take(&mut self.segments)))
            }
            (None, None) if self.segments.is_empty() => Ok(PaxMap::None),
            _ => Err(Error::Sparse),
        }
    }
}

/// Appends the runs of an old GNU header or of its extension block; whether another block follows.
pub(super) fn old_gnu(entries: &[u8], more: u8, segments: &mut Vec<Segment>) -> Result<bool> {
    for entry in entries.chunks_exact(24) {
        if entry[0] == 0 {
            break;
        }
        let value = |field: &[u8]| {
            number(field)
                .and_then(|value| u64::try_from(value).ok())
                .ok_or(Error::Sparse)
        };
        segments.push(Segment {
            offset: value(&entry[..12])?,
            length: value(&entry[12..])?,
        });
        if segments.len() > MOST_SEGMENTS {
            return Err(Error::Sparse);
        }
    }
    Ok(more != 0)
}

/// Reads a map that stands before the data (format 1.0) from a source of blocks; returns it and the blocks it took.
pub(super) fn in_data(
    mut block: impl FnMut(&mut [u8; BLOCK]) -> Result<()>,
) -> Result<(Vec<Segment>, u64)> {
    let mut text = Vec::new();
    let mut at = 0;
    let mut blocks = 0;
    let mut next = || -> Result<u64> {
        loop {
            if let Some(end) = text[at..].iter().position(|byte| *byte == b'\n') {
                let value = decimal(&text[at..at + end]).ok_or(Error::Sparse)?;
                at += end + 1;
                return Ok(value);
            }
            // No number is longer than its block: this line never ends.
            if text.len() - at > BLOCK {
                return Err(Error::Sparse);
            }
            text.drain(..at);
            at = 0;
            let mut buffer = [0; BLOCK];
            block(&mut buffer)?;
            blocks += 1;
            text.extend_from_slice(&buffer);
        }
    };
    let count = next()?;
    if count > MOST_SEGMENTS as u64 {
        return Err(Error::Sparse);
    }
    let mut segments = Vec::new();
    for _ in 0..count {
        segments.push(Segment {
            offset: next()?,
            length: next()?,
        });
    }
    Ok((segments, blocks))
}

/// Whether the runs ascend, lie within the file, and need exactly the bytes that are there.
pub(super) fn check(segments: &[Segment], real_size: u64, stored: u64) -> Result<()> {
    let mut end = 0u64;
    let mut total = 0u64;
    for segment in segments {
        if segment.offset < end {
            return Err(Error::Sparse);
        }
        end = segment
            .offset
            .checked_add(segment.length)
            .ok_or(Error::Sparse)?;
        total += segment.length;
    }
    if end > real_size || total != stored {
        Err(Error::Sparse)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_lie_are_refused() {
        let run = |offset, length| Segment { offset, length };
        assert!(check(&[run(0, 1), run(5, 2)], 7, 3).is_ok());
        assert!(check(&[run(0, 1), run(5, 2)], 6, 3).is_err());
        assert!(check(&[run(0, 1), run(5, 2)], 7, 4).is_err());
        assert!(check(&[run(5, 2), run(0, 1)], 7, 3).is_err());
        assert!(check(&[run(0, 4), run(3, 2)], 7, 6).is_err());
        assert!(check(&[run(u64::MAX, 2)], u64::MAX, 2).is_err());
    }

    #[test]
    fn a_map_in_the_data_may_span_blocks() {
        let mut text = b"100\n".to_vec();
        for at in 0..100u64 {
            text.extend_from_slice(format!("{}\n1\n", at * 10).as_bytes());
        }
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        let mut blocks = text.chunks_exact(BLOCK);
        let (segments, taken) = in_data(|block| {
            block.copy_from_slice(blocks.next().ok_or(Error::Sparse)?);
            Ok(())
        })
        .unwrap();
        assert_eq!(
            (segments.len(), taken),
            (100, text.len() as u64 / BLOCK as u64)
        );
        assert!(
            in_data(|block| {
                block.fill(b'1');
                Ok(())
            })
            .is_err()
        );
    }
}
