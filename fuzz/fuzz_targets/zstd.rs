//! Any bytes as a zstd stream: no panic, bounded output.
#![no_main]

use std::io::Read;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut out = Vec::new();
    let _ = layer::zstd::Decoder::new(data).take(1 << 22).read_to_end(&mut out);
});
