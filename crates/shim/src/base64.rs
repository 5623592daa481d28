//! Base64 with padding (RFC 4648, section 4), read strictly. Pure.

/// `None` when it is not valid.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for (at, four) in text.chunks(4).enumerate() {
        let last = (at + 1) * 4 == text.len();
        let filled = if last {
            4usize.checked_sub(padding)?
        } else {
            4
        };
        let mut bits = 0u32;
        for (index, &byte) in four.iter().enumerate() {
            let value = if index < filled { sextet(byte)? } else { 0 };
            bits = bits << 6 | value;
        }
        let bytes = bits.to_be_bytes();
        let count = match filled {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        if bytes[1 + count..].iter().any(|&byte| byte != 0) {
            return None;
        }
        out.extend_from_slice(&bytes[1..1 + count]);
    }
    Some(out)
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn words() {
        let cases: [(&str, Option<&[u8]>); 12] = [
            ("", Some(b"")),
            ("Zg==", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9vYg==", Some(b"foob")),
            ("/+8A", Some(b"\xff\xef\0")),
            ("Zg", None),
            ("Zg=", None),
            ("Zh==", None),
            ("=Zg=", None),
            ("Z===", None),
            ("Zg==Zg==", None),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text).as_deref(), expected, "{text:?}");
        }
    }
}
