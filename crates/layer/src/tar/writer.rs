//! Writing an archive that every reader understands: ustar headers, PAX records where those are too small.

use std::io::{self, Write};

use super::header::{CHECKSUM, GID, LINK, MAGIC, MAJOR, MINOR, MODE, MTIME, NAME, SIZE, TYPE, UID};
use super::{BLOCK, Entry, Kind, Segment};

pub struct Writer<W> {
    target: W,
}

impl<W: Write> Writer<W> {
    pub fn new(target: W) -> Writer<W> {
        Writer { target }
    }

    /// Writes an entry's headers; its data, and [`Writer::pad`], follow. Of a sparse file the data are the map that
    /// [`sparse_map`] gives and the segments, one after the other.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let map = entry.sparse.as_deref().map(sparse_map);
        let stored = stored(entry, map.as_deref());
        let records = records(entry, stored);
        if !records.is_empty() {
            let name = Entry {
                path: b"PaxHeaders/entry".to_vec(),
                mode: 0o644,
                ..Entry::default()
            };
            self.target
                .write_all(&block(&name, b'x', records.len() as u64))?;
            self.target.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        let flag = match entry.kind {
            Kind::File => b'0',
            Kind::HardLink => b'1',
            Kind::Symlink => b'2',
            Kind::Char => b'3',
            Kind::Block => b'4',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
        };
        self.target.write_all(&block(entry, flag, stored))?;
        map.map_or(Ok(()), |map| self.target.write_all(&map))
    }

    /// A piece of the data of the entry written last.
    pub fn data(&mut self, data: &[u8]) -> io::Result<()> {
        self.target.write_all(data)
    }

    /// Ends data of that many bytes (those of the map are padded already).
    pub fn pad(&mut self, bytes: u64) -> io::Result<()> {
        let missing = (bytes.wrapping_neg() % BLOCK as u64) as usize;
        self.target.write_all(&[0; BLOCK][..missing])
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.target.write_all(&[0; 2 * BLOCK])?;
        Ok(self.target)
    }
}

fn stored(entry: &Entry, map: Option<&[u8]>) -> u64 {
    let segments =
        |segments: &[Segment]| segments.iter().map(|segment| segment.length).sum::<u64>();
    match (entry.kind, &entry.sparse) {
        (Kind::File, Some(runs)) => map.map_or(0, |map| map.len() as u64) + segments(runs),
        (Kind::File, None) => entry.size,
        _ => 0,
    }
}

/// The map of PAX format 1.0, filled up to a whole block.
fn sparse_map(segments: &[Segment]) -> Vec<u8> {
    let mut map = format!("{}\n", segments.len()).into_bytes();
    for segment in segments {
        map.extend_from_slice(format!("{}\n{}\n", segment.offset, segment.length).as_bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// What the header cannot hold.
fn records(entry: &Entry, stored: u64) -> Vec<u8> {
    let mut records = Vec::new();
    if entry.sparse.is_some() {
        record(&mut records, b"GNU.sparse.major", b"1");
        record(&mut records, b"GNU.sparse.minor", b"0");
        record(&mut records, b"GNU.sparse.name", &entry.path);
        record(
            &mut records,
            b"GNU.sparse.realsize",
            entry.size.to_string().as_bytes(),
        );
    } else if !fits(&entry.path) {
        record(&mut records, b"path", &entry.path);
    }
    if !fits(&entry.link) {
        record(&mut records, b"linkpath", &entry.link);
    }
    if stored > octal_most(SIZE) {
        record(&mut records, b"size", stored.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
        if u64::from(id) > octal_most(UID) {
            record(&mut records, key, id.to_string().as_bytes());
        }
    }
    let (seconds, nanoseconds) = entry.mtime;
    if nanoseconds != 0 || seconds < 0 || seconds as u64 > octal_most(MTIME) {
        record(
            &mut records,
            b"mtime",
            time(seconds, nanoseconds).as_bytes(),
        );
    }
    for (name, value) in &entry.attributes {
        record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    records
}

/// A name that the field holds and whose bytes mean the same to everybody.
fn fits(name: &[u8]) -> bool {
    name.len() <= NAME.1 && name.is_ascii()
}

fn time(seconds: i64, nanoseconds: u32) -> String {
    match (seconds, nanoseconds) {
        (_, 0) => seconds.to_string(),
        (0.., _) => format!("{seconds}.{nanoseconds:09}")
            .trim_end_matches('0')
            .to_owned(),
        // Written as a magnitude: half a second before -1 is -1.5.
        _ => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds)
            .trim_end_matches('0')
            .to_owned(),
    }
}

/// Appends a record, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if length.to_string().len() > rest.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The largest number of a field that keeps one byte for its end.
fn octal_most((_, length): (usize, usize)) -> u64 {
    (1 << (3 * (length - 1))) - 1
}

fn block(entry: &Entry, flag: u8, stored: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let seconds = u64::try_from(entry.mtime.0).unwrap_or(0);
    text(&mut block, NAME, &entry.path);
    text(&mut block, LINK, &entry.link);
    number(&mut block, MODE, entry.mode.into());
    number(&mut block, UID, entry.uid.into());
    number(&mut block, GID, entry.gid.into());
    number(&mut block, SIZE, stored);
    number(&mut block, MTIME, seconds);
    number(&mut block, MAJOR, entry.major.into());
    number(&mut block, MINOR, entry.minor.into());
    block[TYPE] = flag;
    block[MAGIC.0..MAGIC.0 + MAGIC.1].copy_from_slice(b"ustar\x0000");
    block[CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[CHECKSUM.0..CHECKSUM.0 + 7].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn text(block: &mut [u8; BLOCK], (start, length): (usize, usize), text: &[u8]) {
    let text = &text[..text.len().min(length)];
    block[start..start + text.len()].copy_from_slice(text);
}

/// A number that does not fit is in a PAX record, and zero here.
fn number(block: &mut [u8; BLOCK], field: (usize, usize), value: u64) {
    let value = if value > octal_most(field) { 0 } else { value };
    let digits = format!("{value:0width$o}\0", width = field.1 - 1);
    block[field.0..field.0 + field.1].copy_from_slice(digits.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    fn round_trip(entry: &Entry) -> Entry {
        let mut writer = Writer::new(Vec::new());
        writer.entry(entry).unwrap();
        let data: u64 = match &entry.sparse {
            Some(segments) => segments.iter().map(|segment| segment.length).sum(),
            None if entry.kind == Kind::File => entry.size,
            None => 0,
        };
        writer.data(&vec![b'd'; data as usize]).unwrap();
        writer.pad(data).unwrap();
        let archive = writer.finish().unwrap();
        let mut reader = Reader::new(&archive[..]);
        let mut read = Entry::default();
        assert!(reader.next(&mut read).unwrap());
        assert!(!reader.next(&mut Entry::default()).unwrap());
        read
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(
            path in proptest::collection::vec(1u8..=255, 1..300),
            link in proptest::collection::vec(1u8..=255, 0..300),
            kind in 0usize..7,
            mode in 0u32..0o10000,
            ids in proptest::prelude::any::<(u32, u32)>(),
            mtime in (-5_000_000_000i64..50_000_000_000, 0u32..1_000_000_000),
            size in 0u64..3000,
            value in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..200),
            runs in proptest::option::of(proptest::collection::vec((1u64..5000, 1u64..700), 0..20)),
        ) {
            use Kind::*;
            let kind = [File, HardLink, Symlink, Char, Block, Directory, Fifo][kind];
            let mut entry = Entry {
                path, link, kind, mode, uid: ids.0, gid: ids.1, mtime,
                attributes: vec![(b"user.test".to_vec(), value)],
                ..Entry::default()
            };
            if kind == File {
                entry.size = size;
                entry.sparse = runs.map(|runs| {
                    let mut at = 0;
                    runs.iter().map(|(gap, length)| {
                        let segment = Segment { offset: at + gap, length: *length };
                        at = segment.offset + segment.length;
                        segment
                    }).collect()
                });
                if let Some(last) = entry.sparse.as_ref().and_then(|runs| runs.last()) {
                    entry.size += last.offset + last.length;
                }
            }
            if matches!(kind, Char | Block) {
                (entry.major, entry.minor) = (mode, 7);
            }
            proptest::prop_assert_eq!(round_trip(&entry), entry);
        }
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for length in 0..2000 {
            let mut records = Vec::new();
            record(&mut records, b"k", &vec![b'v'; length]);
            let text = String::from_utf8(records.clone()).unwrap();
            assert_eq!(
                text.split(' ').next().unwrap().parse::<usize>().unwrap(),
                records.len()
            );
        }
    }
}
