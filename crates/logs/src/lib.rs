//! The reader of logs: Docker's json-file as the shim writes it, with its rotated files, written to whoever asked.
//!
//! Law: it decides nothing; which container, since when and for whom is said by its options. One thread; memory is bounded
//! whatever stands in the file; while nothing is written it sleeps in poll(2). It never writes to the log or beside it.
//!
//! ```text
//! chain    the file and what it was renamed to: which comes before, which after
//! tail     where the last entries begin
//! lines    whole lines out of a file that may grow
//! entry    a line as an entry; its text by unescape
//! choice   whether an entry is wanted
//! sink     entries to descriptors: as they are, framed, or as JSON
//! watch    sleeps until there is more, or nothing more will come
//! read     the loop over all of it
//! ```

mod args;
mod chain;
mod choice;
mod entry;
mod lines;
mod moment;
mod read;
mod sink;
mod tail;
mod unescape;
mod watch;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = include_str!("help.txt");

/// Why a log was not read to its end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}\n\nhint: stockade-logs --help")]
    Usage(String),
    #[error(transparent)]
    Arguments(#[from] lexopt::Error),
    #[error("read {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("read an open file of the log")]
    ReadOpen(#[source] std::io::Error),
    #[error("watch {path:?}")]
    Watch {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("wait for more")]
    Wait(#[source] std::io::Error),
    #[error("write the log")]
    Write(#[source] std::io::Error),
    /// Nobody reads on: an end like any other.
    #[error("the other end of the output is gone")]
    Gone,
}

type Result<T> = std::result::Result<T, Error>;

/// The program `stockade-logs`.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) | Err(Error::Gone) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "stockade-logs: {}", causes::told(&error));
            ExitCode::from(match error {
                Error::Usage(_) | Error::Arguments(_) => 2,
                _ => 1,
            })
        }
    }
}

fn run() -> Result<()> {
    match args::parse(lexopt::Parser::from_env())? {
        args::Wish::Say(text) => std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(Error::Write),
        args::Wish::Read(options) => {
            read::read(&options, [rustix::stdio::stdout(), rustix::stdio::stderr()])
        }
    }
}
