//! What the stdio fields of Create and Exec name: nothing, a FIFO, or a log target as a URI. Pure.
//!
//! | field | meaning |
//! |---|---|
//! | empty | nothing |
//! | `/path`, `fifo:///path` | a FIFO (or a regular file, appended to) |
//! | `file:///path` | appended to as it is |
//! | `json-file:///path?max-size=BYTES&max-file=N&attrs=JSON` | Docker's format, each entry with these attributes |
//! | `cri:///path?max-size=BYTES&max-file=N` | Kubernetes' format |
//! | `binary:///path?KEY=VALUE` | containerd's logging binary |

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::log::{Format, Rotation};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    None,
    Fifo(PathBuf),
    Log {
        path: PathBuf,
        format: Format,
        rotation: Option<Rotation>,
        /// A JSON object for each entry of Docker's format; empty: none.
        attrs: String,
    },
    Binary {
        path: PathBuf,
        args: Vec<String>,
    },
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "log target {0:?}: this scheme is not served\n\nhint: a FIFO's path, file://, json-file://, cri:// or binary://"
    )]
    Scheme(String),
    #[error("log target {0:?}: the path must be absolute")]
    Relative(String),
    #[error("log target {0:?}: {1:?} is not an option")]
    Option(String, String),
    #[error("log target {0:?}: attrs must be a JSON object of texts")]
    Attributes(String),
    #[error("log target {0:?}: {1} must be a number above 0")]
    Number(String, &'static str),
    #[error("log target {0:?}: not valid percent-encoding")]
    Encoding(String),
}

impl Target {
    pub fn parse(field: &str) -> Result<Target, Error> {
        if field.is_empty() {
            return Ok(Target::None);
        }
        let Some((scheme, rest)) = field.split_once("://") else {
            return if field.starts_with('/') {
                Ok(Target::Fifo(field.into()))
            } else {
                Err(Error::Relative(field.into()))
            };
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = PathBuf::from(decode(path).ok_or_else(|| Error::Encoding(field.into()))?);
        if !path.is_absolute() {
            return Err(Error::Relative(field.into()));
        }
        let format = match scheme {
            "fifo" => return Ok(Target::Fifo(path)),
            "binary" => {
                return Ok(Target::Binary {
                    path,
                    args: binary_args(field, query)?,
                });
            }
            "file" => Format::Raw,
            "json-file" => Format::Json,
            "cri" => Format::Cri,
            _ => return Err(Error::Scheme(field.into())),
        };
        let (rotation, attrs) = options(field, query, format)?;
        Ok(Target::Log {
            path,
            format,
            rotation,
            attrs,
        })
    }
}

/// Without `max-size` a file grows for ever; without `max-file` one that is full begins anew.
fn options(field: &str, query: &str, format: Format) -> Result<(Option<Rotation>, String), Error> {
    let (mut max_size, mut max_files, mut attrs) = (None, 1, String::new());
    for (key, value) in pairs(query) {
        let number = || value.parse::<u64>().ok().filter(|&number| number > 0);
        match key {
            "max-size" => {
                max_size = Some(number().ok_or_else(|| Error::Number(field.into(), "max-size"))?)
            }
            "max-file" => {
                let files = number().and_then(|number| u32::try_from(number).ok());
                max_files = files.ok_or_else(|| Error::Number(field.into(), "max-file"))?;
            }
            "attrs" if format == Format::Json => attrs = attributes(field, value)?,
            _ => return Err(Error::Option(field.into(), key.into())),
        }
    }
    let rotation = max_size.map(|max_size| Rotation {
        max_size,
        max_files,
    });
    Ok((rotation, attrs))
}

/// The object written anew: on one line, whatever was given.
fn attributes(field: &str, value: &str) -> Result<String, Error> {
    let text = decode(value).ok_or_else(|| Error::Encoding(field.into()))?;
    serde_json::from_str::<BTreeMap<String, String>>(&text)
        .and_then(|found| serde_json::to_string(&found))
        .map_err(|_| Error::Attributes(field.into()))
}

/// Each key becomes an argument, followed by its value unless that is empty.
fn binary_args(field: &str, query: &str) -> Result<Vec<String>, Error> {
    let mut args = Vec::new();
    for (key, value) in pairs(query) {
        for part in [key, value] {
            let part =
                decode(&part.replace('+', " ")).ok_or_else(|| Error::Encoding(field.into()))?;
            if !part.is_empty() {
                args.push(part);
            }
        }
    }
    Ok(args)
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(path: &str, format: Format, rotation: Option<(u64, u32)>) -> Result<Target, Error> {
        let rotation = rotation.map(|(max_size, max_files)| Rotation {
            max_size,
            max_files,
        });
        Ok(Target::Log {
            path: path.into(),
            format,
            rotation,
            attrs: String::new(),
        })
    }

    #[test]
    fn attributes() {
        let field = "json-file:///l?attrs=%7B%22b%22%3A%20%22%5Cn%22%2C%22a%22%3A%221%22%7D";
        match Target::parse(field) {
            Ok(Target::Log { attrs, .. }) => assert_eq!(attrs, r#"{"a":"1","b":"\n"}"#),
            other => panic!("{other:?}"),
        }
        for field in [
            "json-file:///l?attrs=%5B%5D",
            "json-file:///l?attrs=%7B%22a%22%3A1%7D",
        ] {
            assert_eq!(Target::parse(field), Err(Error::Attributes(field.into())));
        }
        let field = "cri:///l?attrs=%7B%7D";
        assert_eq!(
            Target::parse(field),
            Err(Error::Option(field.into(), "attrs".into()))
        );
    }

    #[test]
    fn fields() {
        let cases = [
            ("", Ok(Target::None)),
            (
                "/run/fifo/c-stdout",
                Ok(Target::Fifo("/run/fifo/c-stdout".into())),
            ),
            ("fifo:///f", Ok(Target::Fifo("/f".into()))),
            (
                "file:///var/log/a%20b",
                log("/var/log/a b", Format::Raw, None),
            ),
            (
                "json-file:///l?max-size=1000&max-file=3",
                log("/l", Format::Json, Some((1000, 3))),
            ),
            ("cri:///l?max-size=5", log("/l", Format::Cri, Some((5, 1)))),
            ("cri:///l?max-file=5", log("/l", Format::Cri, None)),
            (
                "binary:///b?id=x&-v",
                Ok(Target::Binary {
                    path: "/b".into(),
                    args: vec!["id".into(), "x".into(), "-v".into()],
                }),
            ),
            ("relative", Err(Error::Relative("relative".into()))),
            (
                "file://host/l",
                Err(Error::Relative("file://host/l".into())),
            ),
            ("syslog:///x", Err(Error::Scheme("syslog:///x".into()))),
            (
                "cri:///l?max-size=0",
                Err(Error::Number("cri:///l?max-size=0".into(), "max-size")),
            ),
            (
                "cri:///l?size=1",
                Err(Error::Option("cri:///l?size=1".into(), "size".into())),
            ),
            ("file:///%zz", Err(Error::Encoding("file:///%zz".into()))),
        ];
        for (field, expected) in cases {
            assert_eq!(Target::parse(field), expected, "{field}");
        }
    }
}
