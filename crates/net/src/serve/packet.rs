//! DNS messages (RFC 1035, 6891): a query is looked at as far as its question and its EDNS record, an answer is written.
//! Nothing here trusts a length, a count or a pointer.

use std::net::IpAddr;

use crate::value::octets;

pub const A: u16 = 1;
pub const PTR: u16 = 12;
pub const AAAA: u16 = 28;
const OPT: u16 = 41;
const IN: u16 = 1;
const HEADER: usize = 12;
/// What an answer by UDP may take when the query does not say.
pub const PLAIN: usize = 512;
/// What passes networks whole; also what we say that we take.
const WHOLE: usize = 1232;
/// How long an answer of ours may be kept, in seconds: a container that is started anew may have another address.
const KEEP: u32 = 10;

/// What an answer says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Fine = 0,
    Malformed = 1,
    Failed = 2,
    NotServed = 4,
    Refused = 5,
    /// Of a version of EDNS that is not known; its high bits are in the EDNS record.
    Version = 16,
}

/// A query as far as it is looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct Query<'a> {
    pub id: [u8; 2],
    recursion: bool,
    /// The question's bytes, name to class.
    pub question: &'a [u8],
    /// In lower case, without the last dot; absent: it has bytes that no name of ours has.
    pub name: Option<String>,
    pub kind: u16,
    /// Of the Internet: the only class with names of ours.
    pub internet: bool,
    /// How long an answer the asker takes; absent: without EDNS.
    edns: Option<usize>,
}

/// Why bytes are no query that is answered by names.
#[derive(Debug, PartialEq, Eq)]
pub enum Unsound {
    /// Not even that much is sound that an answer would reach anybody.
    Silent,
    Answer(Vec<u8>),
}

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Address(IpAddr),
    Name(String),
}

/// Reads a query.
pub fn parse(bytes: &[u8]) -> Result<Query<'_>, Unsound> {
    const RESPONSE: u8 = 0x80;
    const OPCODE: u8 = 0x78;
    let (Some(header), Some(body)) = (bytes.get(..HEADER), bytes.get(HEADER..)) else {
        return Err(Unsound::Silent);
    };
    if header[2] & RESPONSE != 0 {
        return Err(Unsound::Silent);
    }
    let mut query = Query {
        id: [header[0], header[1]],
        recursion: header[2] & 1 != 0,
        question: &[],
        name: None,
        kind: 0,
        internet: false,
        edns: None,
    };
    if header[2] & OPCODE != 0 {
        return Err(Unsound::Answer(query.answer(Code::NotServed, &[], PLAIN)));
    }
    let counts: Vec<u16> = header[4..]
        .chunks(2)
        .filter_map(|two| short(two, 0))
        .collect();
    let malformed = |query: &Query<'_>| Unsound::Answer(query.answer(Code::Malformed, &[], PLAIN));
    let [1, 0, 0, additional] = counts[..] else {
        return Err(malformed(&query));
    };
    let Some((name, behind)) = read_name(body) else {
        return Err(malformed(&query));
    };
    let (Some(kind), Some(class)) = (short(body, behind), short(body, behind + 2)) else {
        return Err(malformed(&query));
    };
    (query.kind, query.internet, query.name) = (kind, class == IN, name);
    query.question = &body[..behind + 4];
    let Ok(edns) = find_edns(&body[behind + 4..], additional) else {
        return Err(malformed(&query));
    };
    query.edns = edns.map(|(size, _)| size);
    match edns {
        Some((_, version)) if version != 0 => {
            Err(Unsound::Answer(query.answer(Code::Version, &[], PLAIN)))
        }
        _ => Ok(query),
    }
}

impl Query<'_> {
    /// How long an answer by UDP may be.
    pub fn limit(&self) -> usize {
        self.edns.unwrap_or(PLAIN).clamp(PLAIN, WHOLE)
    }

    /// An answer of at most `limit` bytes; with more records than that it says that it is cut off.
    pub fn answer(&self, code: Code, records: &[Record], limit: usize) -> Vec<u8> {
        const TRUNCATED: u8 = 0x02;
        const EDNS_LENGTH: usize = 11;
        let mut out = Vec::with_capacity(limit.min(PLAIN));
        out.extend_from_slice(&self.id);
        // A response; RD as it was asked; RA.
        out.extend_from_slice(&[0x80 | u8::from(self.recursion), 0x80 | (code as u8 & 15)]);
        out.extend_from_slice(&[0, u8::from(!self.question.is_empty()), 0, 0]);
        out.extend_from_slice(&[0, 0, 0, u8::from(self.edns.is_some())]);
        out.extend_from_slice(self.question);
        let room = limit.saturating_sub(if self.edns.is_some() { EDNS_LENGTH } else { 0 });
        let mut count: u16 = 0;
        for record in records {
            let before = out.len();
            put(&mut out, record);
            if out.len() > room {
                out.truncate(before);
                out[2] |= TRUNCATED;
                break;
            }
            count = count.saturating_add(1);
        }
        out[6..8].copy_from_slice(&count.to_be_bytes());
        if self.edns.is_some() {
            let [high, low] = (WHOLE as u16).to_be_bytes();
            let extended = (code as u8) >> 4;
            out.extend_from_slice(&[0, 0, OPT as u8, high, low, extended, 0, 0, 0, 0, 0]);
        }
        out
    }
}

/// A record of the name that was asked for, which stands right behind the header.
fn put(out: &mut Vec<u8>, record: &Record) {
    const ASKED: [u8; 2] = [0xc0, HEADER as u8];
    let (kind, data) = match record {
        Record::Address(address @ IpAddr::V4(_)) => (A, octets(*address)),
        Record::Address(address @ IpAddr::V6(_)) => (AAAA, octets(*address)),
        Record::Name(name) => (PTR, write_name(name)),
    };
    out.extend_from_slice(&ASKED);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&IN.to_be_bytes());
    out.extend_from_slice(&KEEP.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(&data);
}

/// A name as labels; labels that are too long for one are cut.
fn write_name(name: &str) -> Vec<u8> {
    const LONGEST: usize = 253;
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        if out.len() + label.len() + 1 > LONGEST {
            break;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.push(0);
    out
}

/// The name of a question, and where it ends. There is nothing before it that a pointer could lead to.
fn read_name(bytes: &[u8]) -> Option<(Option<String>, usize)> {
    const LONGEST: usize = 255;
    let (mut name, mut at, mut plain) = (String::new(), 0, true);
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((plain.then_some(name), at));
        }
        let label = bytes.get(at..at + length).filter(|_| length < 64)?;
        at += length;
        if at >= LONGEST {
            return None;
        }
        plain &= label
            .iter()
            .all(|&byte| byte.is_ascii_graphic() && byte != b'.');
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(
            label
                .iter()
                .map(|byte| char::from(byte.to_ascii_lowercase())),
        );
    }
}

/// The asker's EDNS record among `count` records: the size that it takes, and the version.
fn find_edns(bytes: &[u8], count: u16) -> Result<Option<(usize, u8)>, ()> {
    // One, and perhaps a signature or a cookie: nobody asks with more.
    const MOST: u16 = 4;
    if count > MOST {
        return Err(());
    }
    let (mut at, mut found) = (0, None);
    for _ in 0..count {
        let root = bytes.get(at) == Some(&0);
        at += skip_name(bytes.get(at..).unwrap_or_default()).ok_or(())?;
        let fixed = bytes.get(at..at + 10).ok_or(())?;
        let (kind, size) = (short(fixed, 0).ok_or(())?, short(fixed, 2).ok_or(())?);
        at += 10 + usize::from(short(fixed, 8).ok_or(())?);
        if at > bytes.len() {
            return Err(());
        }
        if kind == OPT {
            // Twice is an error (RFC 6891, 6.1.1), and it is the root's.
            if found.is_some() || !root {
                return Err(());
            }
            found = Some((usize::from(size), fixed[5]));
        }
    }
    Ok(found)
}

/// The length of a name; a pointer ends it and is not followed.
fn skip_name(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
        if at > 255 {
            return None;
        }
    }
}

/// The address that a name asks back for: 2.0.18.172.in-addr.arpa.
pub fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut bytes = [0u8; 4];
        let mut parts = digits.split('.');
        for byte in bytes.iter_mut().rev() {
            *byte = parts.next()?.parse().ok()?;
        }
        return parts.next().is_none().then(|| bytes.into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let mut bytes = [0u8; 16];
    let mut parts = digits.split('.');
    for byte in bytes.iter_mut().rev() {
        let mut digit = || {
            let part = parts.next().filter(|part| part.len() == 1)?;
            u8::from_str_radix(part, 16).ok()
        };
        *byte = digit()? | (digit()? << 4);
    }
    parts.next().is_none().then(|| bytes.into())
}

/// Whether a server's answer is one to what it was asked.
pub fn is_answer(answer: &[u8], id: [u8; 2], question: &[u8]) -> bool {
    const RESPONSE: u8 = 0x80;
    let Some(header) = answer.get(..HEADER) else {
        return false;
    };
    let asked = header[..2] == id && header[2] & RESPONSE != 0;
    // A server that fails may leave the question away.
    let empty = header[4..6] == [0, 0] && header[3] & 15 != 0;
    let same = header[4..6] == [0, 1]
        && answer[HEADER..]
            .get(..question.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(question));
    asked && (same || empty)
}

/// Whether a server says that it cannot answer, so that another one may.
pub fn is_failure(answer: &[u8]) -> bool {
    matches!(answer.get(3).map(|byte| byte & 15), Some(2 | 4 | 5))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A query for a name.
    pub fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut out = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        out.extend(write_name(name));
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out
    }

    fn with_edns(mut query: Vec<u8>, size: u16, version: u8) -> Vec<u8> {
        query[11] += 1;
        query.extend([0, 0, 41]);
        query.extend(size.to_be_bytes());
        query.extend([0, version, 0, 0, 0, 0]);
        query
    }

    #[test]
    fn a_question_is_read() {
        let bytes = query("Web.Example", A);
        let found = parse(&bytes).unwrap();
        assert_eq!(found.name.as_deref(), Some("web.example"));
        assert_eq!(
            (found.kind, found.internet, found.limit()),
            (A, true, PLAIN)
        );
        assert_eq!(found.question, &bytes[12..]);
        let bytes = with_edns(bytes, 4096, 0);
        assert_eq!(parse(&bytes).unwrap().limit(), WHOLE);
    }

    #[test]
    fn an_answer_has_the_question_and_the_records() {
        let bytes = with_edns(query("web", A), 1232, 0);
        let found = parse(&bytes).unwrap();
        let records = [Record::Address("172.18.0.2".parse().unwrap())];
        let answer = found.answer(Code::Fine, &records, found.limit());
        assert_eq!(
            answer[..12],
            [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 1]
        );
        assert!(is_answer(&answer, [0x12, 0x34], found.question));
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 10, 0, 4, 172, 18, 0, 2];
        let at = 12 + found.question.len();
        assert_eq!(answer[at..at + 16], record);
        assert_eq!(answer[at + 16..][..5], [0, 0, 41, 4, 0xd0]);
    }

    #[test]
    fn what_does_not_fit_is_said_to_be_cut_off() {
        let bytes = query("web", AAAA);
        let found = parse(&bytes).unwrap();
        let records = vec![Record::Address("fd00::1".parse().unwrap()); 100];
        let answer = found.answer(Code::Fine, &records, PLAIN);
        assert!(answer.len() <= PLAIN && answer[2] & 2 != 0);
        assert_eq!(
            usize::from(answer[7]),
            (answer.len() - 12 - found.question.len()) / 28
        );
        let whole = found.answer(Code::Fine, &records, 65535);
        assert!(whole[2] & 2 == 0 && whole[7] == 100);
    }

    #[test]
    fn hostile_queries() {
        let good = query("web", A);
        let code = |bytes: &[u8]| match parse(bytes) {
            Err(Unsound::Answer(answer)) => Some(answer[3] & 15),
            Err(Unsound::Silent) => None,
            Ok(_) => panic!("{bytes:?}"),
        };
        let changed = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        // A response is never answered: two servers would go on for ever.
        assert_eq!(code(&changed(2, 0x80)), None);
        assert_eq!(code(&[]), None);
        assert_eq!(code(&good[..11]), None);
        assert_eq!(code(&changed(2, 0x28)), Some(4));
        for (at, value) in [(5, 0), (5, 2), (7, 1), (9, 1), (11, 1), (11, 9)] {
            assert_eq!(code(&changed(at, value)), Some(1), "{at} {value}");
        }
        // Pointers, to itself and anywhere; reserved kinds of labels; a label past the end.
        for value in [0xc0, 0xff, 0x80, 0x40, 63] {
            assert_eq!(code(&changed(12, value)), Some(1), "{value}");
        }
        for cut in 12..good.len() {
            assert_eq!(code(&good[..cut]), Some(1), "{cut}");
        }
        let mut long = good[..12].to_vec();
        long.extend([1, b'a'].repeat(200));
        long.extend([0, 0, 1, 0, 1]);
        assert_eq!(code(&long), Some(1));
        let twice = with_edns(with_edns(good.clone(), 512, 0), 512, 0);
        assert_eq!(code(&twice), Some(1));
        // BADVERS is 16: 0 in the header.
        assert_eq!(code(&with_edns(good.clone(), 512, 1)), Some(0));
    }

    #[test]
    fn a_label_with_a_dot_in_it_is_no_name_of_ours() {
        let mut bytes = query("webxdb", A);
        bytes[16] = b'.';
        assert_eq!(parse(&bytes).unwrap().name, None);
    }

    #[test]
    fn addresses_asked_backwards() {
        let four = reversed("2.0.18.172.in-addr.arpa");
        assert_eq!(four, Some("172.18.0.2".parse().unwrap()));
        let six = format!("2{}.0.0.d.f.ip6.arpa", ".0".repeat(27));
        assert_eq!(reversed(&six), Some("fd00::2".parse().unwrap()));
        for name in [
            "web",
            "1.2.3.in-addr.arpa",
            "1.2.3.4.5.in-addr.arpa",
            "256.1.1.1.in-addr.arpa",
            "1.ip6.arpa",
        ] {
            assert_eq!(reversed(name), None, "{name}");
        }
    }

    #[test]
    fn only_the_answer_to_the_question_is_one() {
        let asked = query("web", A);
        let found = parse(&asked).unwrap();
        let answer = found.answer(Code::Fine, &[], PLAIN);
        let other = query("wec", A);
        let other = parse(&other).unwrap().answer(Code::Fine, &[], PLAIN);
        assert!(is_answer(&answer, found.id, found.question));
        assert!(!is_answer(&answer, [0, 0], found.question));
        assert!(!is_answer(&other, found.id, found.question));
        assert!(!is_answer(&asked, found.id, found.question));
        for cut in 0..answer.len() {
            assert!(!is_answer(&answer[..cut], found.id, found.question));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(query) = parse(&bytes) {
                prop_assert!(query.answer(Code::Fine, &[], PLAIN).len() <= PLAIN);
            }
        }

        #[test]
        fn no_change_of_a_query_breaks_it(at in 0usize..60, value in any::<u8>(), cut in 0usize..60) {
            let mut bytes = with_edns(query("web.example.org", PTR), 1232, 0);
            let length = bytes.len();
            bytes[at % length] = value;
            bytes.truncate(length - cut % length);
            if let Ok(query) = parse(&bytes) {
                let records = vec![Record::Name("a.b".to_owned()); 50];
                prop_assert!(query.answer(Code::Fine, &records, query.limit()).len() <= WHOLE);
            }
        }

        #[test]
        fn any_name_backwards(name in "[0-9a-f.]{0,80}(in-addr|ip6)\\.arpa") {
            let _ = reversed(&name);
        }
    }
}
