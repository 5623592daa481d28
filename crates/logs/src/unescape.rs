//! The text of a JSON string whose syntax was checked already, without an allocation of its own. Pure.

use memchr::memchr;

/// Appends the text of `string`, which stands in quotes. Half a surrogate pair becomes U+FFFD.
pub fn unescape(string: &str, out: &mut Vec<u8>) {
    let mut rest = string
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or_default()
        .as_bytes();
    while let Some(length) = memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..length]);
        rest = escaped(&rest[length + 1..], out);
    }
    out.extend_from_slice(rest);
}

/// Appends what the escape stands for that begins behind its backslash; gives what follows.
fn escaped<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some((&kind, rest)) = rest.split_first() else {
        return rest;
    };
    out.push(match kind {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        b'u' => return unicode(rest, out),
        itself => itself,
    });
    rest
}

/// The same of `\uXXXX` and `\uXXXX\uXXXX`.
fn unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let (unit, rest) = hex(rest);
    let pair = match (unit, rest) {
        (0xd800..=0xdbff, [b'\\', b'u', second @ ..]) => Some(hex(second)),
        _ => None,
    };
    let (code, rest) = match pair {
        Some((low @ 0xdc00..=0xdfff, rest)) => {
            (0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), rest)
        }
        _ => (unit, rest),
    };
    let found = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

fn hex(text: &[u8]) -> (u32, &[u8]) {
    let (digits, rest) = text.split_at(text.len().min(4));
    let value = digits.iter().fold(0, |sum, &digit| {
        sum * 16 + char::from(digit).to_digit(16).unwrap_or(0)
    });
    (value, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(string: &str) -> String {
        let mut out = Vec::new();
        unescape(string, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes() {
        let cases = [
            (r#""""#, ""),
            (r#""a\tb\\\"\/\n\r\b\f""#, "a\tb\\\"/\n\r\u{8}\u{c}"),
            (r#""\u003c\u20AC\ud83d\ude00!""#, "<\u{20ac}\u{1f600}!"),
            (
                r#""\ud83d x\ude00\ud83d\ud83d\ude00""#,
                "\u{fffd} x\u{fffd}\u{fffd}\u{1f600}",
            ),
        ];
        for (string, expected) in cases {
            assert_eq!(text(string), expected, "{string}");
        }
    }

    proptest! {
        #[test]
        fn as_another_writer_escapes(plain in "(\\PC|[\u{0}-\u{20}\"\\\\]){0,60}") {
            prop_assert_eq!(text(&serde_json::to_string(&plain).unwrap()), plain);
        }

        #[test]
        fn any_text_is_answered(any in ".{0,40}") {
            let mut out = Vec::new();
            unescape(&format!("\"{any}\""), &mut out);
        }
    }
}
