//! Any bytes as a layer, unpacked for real into a directory beside a victim that must stay as it is. The checksums are
//! made right first: without that nothing but the first header is ever reached.
#![no_main]

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use layer::intake::Limits;
use layer::tar::Reader;
use layer::unpack::{Devices, Options, entries};

fn repaired(data: &[u8]) -> Vec<u8> {
    let mut archive = data.to_vec();
    for block in archive.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    archive
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let top = format!("/dev/shm/stockade-fuzz-{}", std::process::id());
    let top = Path::new(&top);
    let _ = fs::remove_dir_all(top);
    fs::create_dir_all(top.join("out")).expect("a directory");
    fs::write(top.join("victim"), "untouched").expect("a file");
    let out: OwnedFd = fs::File::open(top.join("out")).expect("a directory").into();
    let limits = Limits { bytes: 1 << 22, entries: 200, ..Limits::default() };
    let options = Options { devices: Devices::Skip, limits, ..Options::default() };
    let archive = repaired(data);
    let _ = entries(&mut Reader::new(&archive[..]), out, &options);
    assert_eq!(fs::read(top.join("victim")).expect("the victim"), b"untouched");
    assert_eq!(fs::read_dir(top).expect("a directory").count(), 2);
    let _ = fs::remove_dir_all(top);
});
