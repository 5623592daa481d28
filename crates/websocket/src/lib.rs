//! One client of a websocket, one process: its frames become a bare stream, and the stream's bytes frames.
//!
//! Law: it decides nothing and knows no container; the handshake is done before. One thread, memory bounded whatever
//! either end does, and no call but poll(2) waits.
//!
//! ```text
//! frame    frames apart and together (RFC 6455, section 5)
//! relay    the loop between both ends
//! ```

mod frame;
mod relay;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use lexopt::prelude::*;

use frame::Kind;

const HELP: &str = include_str!("help.txt");
/// What may have been read of a client beyond its handshake.
const MOST_EARLY: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}\n\nhint: stockade-websocket --help")]
    Usage(#[from] lexopt::Error),
    #[error("descriptor {number}")]
    Descriptor {
        number: i32,
        #[source]
        source: std::io::Error,
    },
    #[error("read what came early")]
    Early(#[source] std::io::Error),
    #[error("write the help")]
    Write(#[source] std::io::Error),
    #[error("wait for either end")]
    Wait(#[source] std::io::Error),
}

/// The program `stockade-websocket`.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "stockade-websocket: {}",
                causes::told(&error)
            );
            ExitCode::from(if matches!(error, Error::Usage(_)) {
                2
            } else {
                1
            })
        }
    }
}

fn run() -> Result<(), Error> {
    let mut arguments = lexopt::Parser::from_env();
    let mut kind = Kind::Binary;
    while let Some(argument) = arguments.next()? {
        let said = match argument {
            Long("text") => {
                kind = Kind::Text;
                continue;
            }
            Long("help") | Short('h') => HELP,
            Long("version") | Short('V') => {
                concat!("stockade-websocket ", env!("CARGO_PKG_VERSION"), "\n")
            }
            other => return Err(other.unexpected().into()),
        };
        return std::io::stdout()
            .write_all(said.as_bytes())
            .map_err(Error::Write);
    }
    let (client, stream) = (inherited(3)?, inherited(4)?);
    let mut early = Vec::new();
    std::io::stdin()
        .take(MOST_EARLY)
        .read_to_end(&mut early)
        .map_err(Error::Early)?;
    relay::Relay::new(client.as_fd(), stream.as_fd(), kind)
        .run(&early)
        .map_err(Error::Wait)
}

fn inherited(number: i32) -> Result<OwnedFd, Error> {
    sys::inherited(number).map_err(|source| Error::Descriptor { number, source })
}
