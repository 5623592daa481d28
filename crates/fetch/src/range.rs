//! `Range` and `Content-Range` (RFC 9110, section 14), as far as one run of bytes goes.

/// What a 206 says that it holds; `total` None: the server does not know.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    pub from: u64,
    /// One beyond the last.
    pub to: u64,
    pub total: Option<u64>,
}

/// The value of `Range` for `from..to`; without `to`: up to the end.
pub fn wanted(from: u64, to: Option<u64>) -> String {
    match to {
        Some(to) => format!("bytes={from}-{}", to.saturating_sub(1)),
        None => format!("bytes={from}-"),
    }
}

/// Reads `bytes FROM-LAST/TOTAL`.
pub fn held(text: &str) -> Option<Held> {
    let (run, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, last) = run.split_once('-')?;
    let from = number(from)?;
    let to = number(last)?.checked_add(1)?;
    let total = match total {
        "*" => None,
        digits => Some(number(digits)?),
    };
    (from < to && total.is_none_or(|total| to <= total)).then_some(Held { from, to, total })
}

fn number(digits: &str) -> Option<u64> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(wanted(3, Some(10)), "bytes=3-9");
        assert_eq!(wanted(3, None), "bytes=3-");
        let some = |from, to, total| Some(Held { from, to, total });
        assert_eq!(held("bytes 3-9/20"), some(3, 10, Some(20)));
        assert_eq!(held("bytes 0-0/*"), some(0, 1, None));
        for bad in [
            "",
            "bytes",
            "bytes */20",
            "bytes 9-3/20",
            "bytes 3-20/20",
            "bytes -3-9/20",
            "bytes +3-9/20",
            "bytes 0-18446744073709551615/*",
            "items 3-9/20",
        ] {
            assert_eq!(held(bad), None, "{bad}");
        }
    }
}
