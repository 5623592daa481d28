//! What is asked for: one JSON object (help.txt has the grammar).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Get {
    pub sources: Vec<Source>,
    /// None: whatever comes, at one try once something did.
    #[serde(default, deserialize_with = "maybe")]
    pub digest: Option<Digest>,
    /// 0: not known.
    #[serde(default)]
    pub size: u64,
    #[serde(default = "Get::most_bytes")]
    pub max_bytes: u64,
    #[serde(default)]
    pub media_type: String,
    pub blob: PathBuf,
    #[serde(default)]
    pub sync: bool,
    #[serde(default)]
    pub unpack: Option<Unpack>,
    #[serde(default)]
    pub user_agent: String,
    /// Seconds without a byte.
    #[serde(default = "patience")]
    pub stall: u64,
}

impl Get {
    fn most_bytes() -> u64 {
        16 << 30
    }

    pub fn size(&self) -> Option<u64> {
        (self.size > 0).then_some(self.size)
    }
}

fn patience() -> u64 {
    30
}

/// One place that has the blob.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub url: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub ca: Vec<PathBuf>,
    #[serde(default)]
    pub client_cert: Option<PathBuf>,
    #[serde(default)]
    pub client_key: Option<PathBuf>,
    #[serde(default)]
    pub insecure: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unpack {
    pub directory: PathBuf,
    #[serde(default, deserialize_with = "maybe")]
    pub diff_id: Option<Digest>,
    /// Topmost first.
    #[serde(default)]
    pub lowers: Vec<PathBuf>,
    pub max_bytes: Option<u64>,
    pub max_entries: Option<u64>,
    pub max_ratio: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    Gzip,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// Where it goes, as a [`Source`] says where a blob comes from.
    pub target: Source,
    pub source: PathBuf,
    #[serde(default)]
    pub compress: Option<Compress>,
    #[serde(default, deserialize_with = "maybe")]
    pub digest: Option<Digest>,
    #[serde(default)]
    pub user_agent: String,
    #[serde(default = "patience")]
    pub stall: u64,
}

/// `sha256:` and 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(String);

impl Digest {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Digest, String> {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.strip_prefix("sha256:") {
            Some(hex) if hex.len() == 64 && hex.bytes().all(is_digit) => Ok(Digest(text)),
            _ => Err(format!("{text:?} is no sha256 digest")),
        }
    }
}

/// A digest; the empty text is none.
fn maybe<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Digest>, D::Error> {
    match Option::<String>::deserialize(from)? {
        Some(text) if !text.is_empty() => Digest::try_from(text)
            .map(Some)
            .map_err(serde::de::Error::custom),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_least_that_is_asked() {
        let text = format!(
            r#"{{"sources":[{{"url":"http://h/b"}}],"digest":"sha256:{HEX}","blob":"/b","unpack":{{"directory":"/d","diff_id":""}}}}"#
        );
        let get: Get = serde_json::from_str(&text).unwrap();
        assert_eq!((get.size(), get.max_bytes, get.stall), (None, 16 << 30, 30));
        assert_eq!(get.unpack.unwrap().diff_id, None);
        let put: Put = serde_json::from_str(
            r#"{"target":{"url":"http://h/"},"source":"/s","compress":"gzip","digest":""}"#,
        )
        .unwrap();
        assert_eq!((put.compress, put.digest), (Some(Compress::Gzip), None));
    }

    #[test]
    fn digests_of_other_kinds_and_unknown_words_are_refused() {
        for bad in [
            "",
            "sha256:",
            "sha512:0",
            &format!("sha256:{HEX}0"),
            &format!("sha256:{}", HEX.to_uppercase()),
        ] {
            assert!(Digest::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        let text = format!(r#"{{"sources":[],"digest":"sha256:{HEX}","blob":"/b","unpakc":null}}"#);
        assert!(serde_json::from_str::<Get>(&text).is_err());
    }
}
