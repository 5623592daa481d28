//! Why a blob did not come or go, by what the caller can act on.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}\n\nhint: stockade-fetch help")]
    Usage(String),
    #[error("the request on stdin")]
    Request(#[source] serde_json::Error),
    #[error("{what} {path:?}")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("certificates of {path:?}")]
    Certificates {
        path: PathBuf,
        #[source]
        source: Certificates,
    },
    #[error("{url} is no URL of http or https")]
    Url { url: String },
    #[error("{name} names no proxy that is served\n\nhint: as http://[USER:PASSWORD@]HOST[:PORT]")]
    Proxy { name: &'static str },
    #[error("{url}: header {name:?} cannot be sent")]
    Header { url: String, name: String },
    #[error("{url}: no connection")]
    Connect {
        url: String,
        #[source]
        source: ureq::Error,
    },
    #[error("{url}: no trust")]
    Tls {
        url: String,
        #[source]
        source: ureq::Error,
    },
    #[error("{url}: this is no HTTP")]
    Protocol {
        url: String,
        #[source]
        source: ureq::Error,
    },
    #[error("{url}: cut off")]
    Cut {
        url: String,
        #[source]
        source: io::Error,
    },
    #[error("{url}: stalled")]
    Stalled { url: String },
    #[error("{url}: the server answers {status}{}{}", if detail.is_empty() { "" } else { ": " }, one_line(detail))]
    Status {
        url: String,
        status: u16,
        detail: String,
        /// Seconds that the server asks to wait.
        wait: Option<u64>,
    },
    #[error("{url}: the server asks for credentials")]
    Challenge { url: String, challenge: String },
    #[error("{url}: {why}")]
    Redirect { url: String, why: String },
    #[error("{url}: {why}")]
    Answer { url: String, why: String },
    #[error("{url}: the blob has {found} bytes, not {expected}")]
    Size {
        url: String,
        found: u64,
        expected: u64,
    },
    #[error("the blob has more than {0} bytes")]
    TooLong(u64),
    #[error("the blob's digest is {found}, not {expected}")]
    Digest { found: String, expected: String },
    #[error("unpack the layer")]
    Layer(#[source] layer::unpack::Error),
    #[error("open {path:?}")]
    Directory {
        path: PathBuf,
        #[source]
        source: layer::disk::Error,
    },
    #[error("write the answer")]
    Output(#[source] io::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum Certificates {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("it is no PEM")]
    Pem(#[source] ureq::Error),
    #[error("it holds none")]
    Empty,
    #[error("the key does not fit the certificate")]
    Key(#[source] rustls::Error),
    #[error("certificate and key go together")]
    Half,
}

impl Error {
    /// The word for it in the answer.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Usage(_)
            | Error::Request(_)
            | Error::Url { .. }
            | Error::Proxy { .. }
            | Error::Header { .. } => "usage",
            Error::File { .. } | Error::Directory { .. } | Error::Output(_) => "file",
            Error::Connect { .. } => "connect",
            Error::Tls { .. } | Error::Certificates { .. } => "tls",
            Error::Protocol { .. }
            | Error::Status { .. }
            | Error::Challenge { .. }
            | Error::Answer { .. } => "http",
            Error::Redirect { .. } => "redirect",
            Error::Cut { .. } => "cut",
            Error::Stalled { .. } => "stalled",
            Error::Size { .. } | Error::TooLong(_) => "size",
            Error::Digest { .. } => "digest",
            Error::Layer(_) => "layer",
        }
    }

    /// Whether another source may do better.
    pub fn is_of_the_source(&self) -> bool {
        !matches!(self.kind(), "usage" | "file" | "digest" | "layer")
            && !matches!(self, Error::Challenge { .. } | Error::TooLong(_))
    }
}

/// What a server said, on one line and without what moves a terminal's cursor.
fn one_line(text: &str) -> String {
    let shown: String = text.chars().take(300).collect();
    shown
        .split(|letter: char| letter.is_control() || letter.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
