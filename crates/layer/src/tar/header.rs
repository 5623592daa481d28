//! The 512 bytes of a header block as fields (POSIX pax(1); GNU tar's manual, "Basic Tar Format").

use super::{BLOCK, Error, Result};

pub(super) struct Header<'a> {
    block: &'a [u8; BLOCK],
}

/// Offsets and lengths of the fields.
pub(super) const NAME: (usize, usize) = (0, 100);
pub(super) const MODE: (usize, usize) = (100, 8);
pub(super) const UID: (usize, usize) = (108, 8);
pub(super) const GID: (usize, usize) = (116, 8);
pub(super) const SIZE: (usize, usize) = (124, 12);
pub(super) const MTIME: (usize, usize) = (136, 12);
pub(super) const CHECKSUM: (usize, usize) = (148, 8);
pub(super) const TYPE: usize = 156;
pub(super) const LINK: (usize, usize) = (157, 100);
pub(super) const MAGIC: (usize, usize) = (257, 8);
pub(super) const MAJOR: (usize, usize) = (329, 8);
pub(super) const MINOR: (usize, usize) = (337, 8);
pub(super) const PREFIX: (usize, usize) = (345, 155);

impl<'a> Header<'a> {
    /// Takes a block whose checksum is right.
    pub(super) fn new(block: &'a [u8; BLOCK]) -> Result<Header<'a>> {
        let header = Header { block };
        let stated = header.number(CHECKSUM).ok_or(Error::Checksum)?;
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (at, byte) in block.iter().enumerate() {
            let in_sum = at >= CHECKSUM.0 && at < CHECKSUM.0 + CHECKSUM.1;
            let byte = if in_sum { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte as i8);
        }
        // Some old programs summed signed bytes.
        if stated == unsigned || stated == signed {
            Ok(header)
        } else {
            Err(Error::Checksum)
        }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.block[TYPE]
    }

    pub(super) fn field(&self, (start, length): (usize, usize)) -> &'a [u8] {
        &self.block[start..start + length]
    }

    /// A string field up to its first NUL.
    pub(super) fn text(&self, field: (usize, usize)) -> &'a [u8] {
        let field = self.field(field);
        &field[..field
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(field.len())]
    }

    /// The prefix of POSIX headers; GNU ones keep other things there.
    pub(super) fn prefix(&self) -> &'a [u8] {
        if self.field(MAGIC) == b"ustar\x0000" {
            self.text(PREFIX)
        } else {
            b""
        }
    }

    pub(super) fn is_v7(&self) -> bool {
        !self.field(MAGIC).starts_with(b"ustar")
    }

    pub(super) fn is_gnu(&self) -> bool {
        self.field(MAGIC) == b"ustar  \0"
    }

    pub(super) fn number(&self, field: (usize, usize)) -> Option<i64> {
        number(self.field(field))
    }

    pub(super) fn unsigned(&self, field: (usize, usize), what: &'static str) -> Result<u64> {
        self.number(field)
            .and_then(|value| u64::try_from(value).ok())
            .ok_or(Error::Number(what))
    }

    pub(super) fn small(&self, field: (usize, usize), what: &'static str) -> Result<u32> {
        self.number(field)
            .and_then(|value| u32::try_from(value).ok())
            .ok_or(Error::Number(what))
    }
}

/// Octal digits between spaces and NULs, or GNU's base-256 when the first bit is set.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Option<i64> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field
        .iter()
        .position(|byte| !is_blank(byte))
        .unwrap_or(field.len());
    let field = &field[start..];
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    let digits = field[..end].trim_ascii_end();
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// A big-endian two's complement number whose first bit is the mark.
fn base_256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let flip = if negative { 0xff } else { 0 };
    let mut value: u64 = 0;
    for (at, byte) in field.iter().enumerate() {
        let byte = (byte ^ flip) & if at == 0 { 0x7f } else { 0xff };
        if value >> 56 != 0 {
            return None;
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).ok()?;
    Some(if negative { !value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"  644 \0\0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"77777777777"), Some(0o77777777777));
        assert_eq!(number(b"0000648\0"), None);
        assert_eq!(number(b"-000644\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(
            number(&[
                0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
            ]),
            None
        );
        assert_eq!(
            number(&[
                0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
            ]),
            None
        );
    }
}
