//! Any bytes as the body of a request: no panic, never more data than bytes, nothing read behind the end.
#![no_main]

use std::io::Read;

use layer::body::{Body, Framing};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for framing in [Framing::Raw, Framing::Chunked, Framing::Length(100)] {
        let mut out = Vec::new();
        let read = Body::new(data, framing).read_to_end(&mut out);
        assert!(out.len() <= data.len());
        if framing == Framing::Chunked && read.is_ok() {
            // What follows the end changes nothing.
            let longer = [data, b"1\r\nx\r\n"].concat();
            let mut again = Vec::new();
            assert!(Body::new(&longer[..], framing).read_to_end(&mut again).is_ok());
            assert_eq!(out, again);
        }
    }
});
