//! Any bytes as an archive: no panic, and what is parsed can be written and parsed again.
#![no_main]

use layer::tar::{Entry, Kind, Reader, Writer};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut reader = Reader::new(data);
    let mut entry = Entry::default();
    while let Ok(true) = reader.next(&mut entry) {
        if entry.path.is_empty() || entry.kind == Kind::File && entry.size > 0 {
            continue;
        }
        let mut writer = Writer::new(Vec::new());
        writer.entry(&entry).expect("a vector takes all");
        let archive = writer.finish().expect("a vector takes all");
        let mut again = Entry::default();
        let mut second = Reader::new(&archive[..]);
        assert!(second.next(&mut again).expect("what was written is whole"));
        if entry.sparse.is_none() {
            assert_eq!(again, entry);
        }
    }
});
