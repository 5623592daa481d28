//! Any bytes as a question to the resolver, and as a server's answer to it: no panic, answers within their limit.
#![no_main]

use net::packet;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(query) = packet::parse(data) {
        let records = vec![packet::Record::Address([127, 0, 0, 1].into()); 100];
        let answer = query.answer(packet::Code::Fine, &records, query.limit());
        assert!(answer.len() <= query.limit() && packet::is_answer(&answer, query.id, query.question));
        let _ = packet::is_answer(data, query.id, query.question);
        let _ = query.name.as_deref().and_then(packet::reversed);
    }
});
