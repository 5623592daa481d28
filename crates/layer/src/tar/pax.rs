//! PAX extended header records: `LENGTH KEY=VALUE\n`, where the length counts itself (POSIX pax(1)).

use super::sparse::{self, PaxSparse};
use super::{Attributes, Error, Result};

/// What the records of one entry say; unset fields are the header's to say.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) attributes: Attributes,
    pub(super) sparse: PaxSparse,
}

impl Pax {
    pub(super) fn parse(mut records: &[u8]) -> Result<Pax> {
        let mut pax = Pax::default();
        while !records.is_empty() {
            let (key, value, rest) = record(records)?;
            pax.take(key, value)?;
            records = rest;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let bad = || Error::PaxValue(String::from_utf8_lossy(key).into_owned());
        // An empty value takes back what an earlier record said.
        match key {
            b"path" => self.path = name(value)?,
            b"linkpath" => self.link = name(value)?,
            b"size" => self.size = optional(value, bad)?,
            b"uid" => self.uid = optional(value, bad)?,
            b"gid" => self.gid = optional(value, bad)?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or_else(bad)?),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.attribute(name, value);
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.take(name, value).ok_or_else(bad)?;
                }
            }
        }
        Ok(())
    }

    fn attribute(&mut self, name: &[u8], value: &[u8]) {
        self.attributes.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.attributes.push((name.to_vec(), value.to_vec()));
        }
    }
}

fn name(value: &[u8]) -> Result<Option<Vec<u8>>> {
    if value.contains(&0) {
        return Err(Error::NulInName);
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn optional<T: TryFrom<u64>>(value: &[u8], bad: impl Fn() -> Error) -> Result<Option<T>> {
    if value.is_empty() {
        return Ok(None);
    }
    sparse::decimal(value)
        .and_then(|value| T::try_from(value).ok())
        .map(Some)
        .ok_or_else(bad)
}

/// Splits the first record off.
fn record(records: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    let space = records
        .iter()
        .take(8)
        .position(|byte| *byte == b' ')
        .ok_or(Error::Pax)?;
    let length = sparse::decimal(&records[..space])
        .and_then(|length| usize::try_from(length).ok())
        .ok_or(Error::Pax)?;
    if length <= space + 1 || length > records.len() {
        return Err(Error::Pax);
    }
    let body = records[space + 1..length]
        .strip_suffix(b"\n")
        .ok_or(Error::Pax)?;
    let equals = body
        .iter()
        .position(|byte| *byte == b'=')
        .ok_or(Error::Pax)?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    if key.is_empty() || key.contains(&0) {
        return Err(Error::Pax);
    }
    Ok((key, value, &records[length..]))
}

/// `[-]SECONDS[.FRACTION]`, as seconds rounded down and nanoseconds from there; digits beyond nine are cut.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let magnitude = i128::from(sparse::decimal(parts.next()?)?);
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = (0..9).map(|at| fraction.get(at).map_or(0, |digit| u32::from(digit - b'0')));
    let nanoseconds = digits.fold(0, |value, digit| value * 10 + digit);
    let (seconds, nanoseconds) = match (negative, nanoseconds) {
        (false, _) => (magnitude, nanoseconds),
        (true, 0) => (-magnitude, 0),
        (true, _) => (-magnitude - 1, 1_000_000_000 - nanoseconds),
    };
    Some((i64::try_from(seconds).ok()?, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_exact_in_length() {
        let pax = Pax::parse(b"9 path=a\n14 uid=100000\n").unwrap();
        assert_eq!(
            (pax.path.as_deref(), pax.uid),
            (Some(&b"a"[..]), Some(100_000))
        );
        for bad in [
            &b"9 path=ab\n"[..],
            b"0 path=a\n",
            b"99 path=a\n",
            b" path=a\n",
            b"9 path=a ",
            b"6 =ab\n\n",
            b"9path=ab\n",
            b"5 ab\n",
        ] {
            assert!(
                Pax::parse(bad).is_err(),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
        assert!(matches!(
            Pax::parse(b"11 path=a\0b\n"),
            Err(Error::NulInName | Error::Pax)
        ));
    }

    #[test]
    fn times_count_forwards() {
        assert_eq!(time(b"1.5"), Some((1, 500_000_000)));
        assert_eq!(time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        assert_eq!(time(b"1.0000000019"), Some((1, 1)));
        assert_eq!(time(b"-9223372036854775808"), Some((i64::MIN, 0)));
        assert_eq!(time(b"-9223372036854775808.1"), None);
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }
}
