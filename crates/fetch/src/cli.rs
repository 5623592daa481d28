//! The program: a command, a request on stdin, answers on stdout, an exit code.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::get::{self, Failed};
use crate::put;
use crate::report::{self, Failure, Line};

const HELP: &str = include_str!("help.txt");
const LONGEST_REQUEST: u64 = 1 << 20;

/// The program `stockade-fetch`.
pub fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_str()).collect();
    let outcome = match words[..] {
        [Some("get")] => request().map_err(Failed::from).and_then(get::run),
        [Some("put")] => request()
            .map_err(Failed::from)
            .and_then(|request| put::run(&request)),
        [Some("help" | "--help" | "-h")] => say(HELP).map_err(Failed::from),
        [Some("version" | "--version" | "-V")] => {
            say(concat!("stockade-fetch ", env!("CARGO_PKG_VERSION"), "\n")).map_err(Failed::from)
        }
        _ => Err(Error::Usage("get or put, and nothing else".to_owned()).into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => tell(&failed),
    }
}

fn say(text: &str) -> Result<(), Error> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Error::Output)
}

fn request<T: DeserializeOwned>() -> Result<T, Error> {
    let mut text = Vec::new();
    io::stdin()
        .lock()
        .take(LONGEST_REQUEST)
        .read_to_end(&mut text)
        .map_err(|source| Error::Request(serde_json::Error::io(source)))?;
    serde_json::from_slice(&text).map_err(Error::Request)
}

fn tell(failed: &Failed) -> ExitCode {
    let error = &failed.error;
    let (line, code) = match error {
        Error::Challenge { url, challenge } => (
            Line::Challenge {
                challenge,
                url,
                source: failed.source.unwrap_or_default(),
            },
            3,
        ),
        _ => (
            Line::Failed(failure(failed)),
            u8::from(error.kind() == "usage") + 1,
        ),
    };
    // Where nobody reads on there is nobody to tell.
    let _ = report::put(&line);
    let _ = writeln!(io::stderr(), "stockade-fetch: {}", causes::told(error));
    ExitCode::from(code)
}

fn failure(failed: &Failed) -> Failure<'_> {
    let (status, detail) = match &failed.error {
        Error::Status { status, detail, .. } => (Some(*status), detail.as_str()),
        Error::Challenge { .. } => (Some(401), ""),
        _ => (None, ""),
    };
    Failure {
        kind: failed.error.kind(),
        source: failed.source,
        status,
        detail,
    }
}
