//! Text as a JSON string: eight bytes at a time where nothing needs escaping, which is nearly everywhere.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const REPLACEMENT: &[u8] = b"\\ufffd";

/// Appends `text` without quotes. A byte that is not UTF-8 becomes U+FFFD, one each, as Docker writes it.
pub fn escape(mut text: &[u8], out: &mut Vec<u8>) {
    while !text.is_empty() {
        let (plain, rest) = text.split_at(plain_prefix(text));
        out.extend_from_slice(plain);
        let Some(&byte) = rest.first() else { return };
        if byte.is_ascii() {
            escape_ascii(byte, out);
            text = &rest[1..];
        } else {
            let run = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
            escape_wide(&rest[..run], out);
            text = &rest[run..];
        }
    }
}

fn escape_ascii(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => out.extend_from_slice(&[
            b'\\',
            b'u',
            b'0',
            b'0',
            HEX[usize::from(byte >> 4)],
            HEX[usize::from(byte & 15)],
        ]),
    }
}

fn escape_wide(run: &[u8], out: &mut Vec<u8>) {
    for chunk in run.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            out.extend_from_slice(REPLACEMENT);
        }
    }
}

/// How many bytes at the front are ASCII that stands for itself.
fn plain_prefix(text: &[u8]) -> usize {
    let mut count = 0;
    for word in text.chunks_exact(8) {
        let word = u64::from_le_bytes(word.try_into().expect("chunks of eight"));
        let special = marks(word);
        if special != 0 {
            return count + special.trailing_zeros() as usize / 8;
        }
        count += 8;
    }
    count
        + text[count..]
            .iter()
            .position(|&byte| is_special(byte))
            .unwrap_or(text.len() - count)
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\' || byte >= 0x80
}

/// The high bit of each byte that needs care; bytes above the first one marked may be marked wrongly (borrows).
fn marks(word: u64) -> u64 {
    let below = |bound: u8, word: u64| word.wrapping_sub(ONES * u64::from(bound)) & !word;
    let equal = |byte: u8| below(1, word ^ (ONES * u64::from(byte)));
    (below(0x20, word) | equal(b'"') | equal(b'\\') | word) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        escape(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tables() {
        let cases: [(&[u8], &str); 8] = [
            (b"", ""),
            (
                b"plain text that is longer than eight",
                "plain text that is longer than eight",
            ),
            (b"say \"hi\"\\", r#"say \"hi\"\\"#),
            (b"a\tb\r\n\x00\x1b", r"a\tb\r\n\u0000\u001b"),
            (
                "gr\u{fc}n \u{20ac} \u{1f600}".as_bytes(),
                "gr\u{fc}n \u{20ac} \u{1f600}",
            ),
            (b"\xff\xfe", r"\ufffd\ufffd"),
            (b"cut \xe2\x82", r"cut \ufffd\ufffd"),
            (b"\x7f", "\x7f"),
        ];
        for (text, expected) in cases {
            assert_eq!(escaped(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_byte_at_every_place_survives_a_json_parser() {
        for byte in 0..=127u8 {
            for place in 0..20 {
                let mut text = [b'x'; 20];
                text[place] = byte;
                let parsed: String =
                    serde_json::from_str(&format!("\"{}\"", escaped(&text))).unwrap();
                assert_eq!(parsed.as_bytes(), text, "byte {byte} at {place}");
            }
        }
    }
}
