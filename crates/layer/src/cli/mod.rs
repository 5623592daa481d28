//! The program: arguments in, one JSON object a line out, an exit code.

mod apply;
mod changes;
mod container;
mod diff;
mod keep;
mod shifted;
mod transfer;
mod unpack;
mod view;

use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::prelude::*;

use crate::intake::Limits;
use crate::{disk, remove};

const HELP: &str = include_str!("../help.txt");

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}\n\nhint: stockade-layer help")]
    Usage(String),
    #[error(transparent)]
    Arguments(#[from] lexopt::Error),
    #[error("open {path:?}")]
    Open {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("descriptor {number}")]
    Descriptor {
        number: i32,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Container(#[from] crate::container::Error),
    #[error(transparent)]
    Shifted(#[from] crate::shifted::Error),
    #[error(transparent)]
    Receive(#[from] crate::receive::Error),
    #[error(transparent)]
    Intake(#[from] crate::intake::Error),
    #[error(transparent)]
    Send(#[from] crate::send::Error),
    #[error(transparent)]
    Unpack(#[from] crate::unpack::Error),
    #[error(transparent)]
    Diff(#[from] crate::diff::Error),
    #[error(transparent)]
    Apply(#[from] crate::apply::Error),
    #[error(transparent)]
    Disk(#[from] disk::Error),
    #[error("start /proc/self/exe")]
    Start(#[source] std::io::Error),
    #[error("write the answer")]
    Output(#[from] std::io::Error),
}

impl Error {
    fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Arguments(_) => 2,
            Error::Apply(error) if error.is_refusal() => 3,
            Error::Container(error) => error.exit_code(),
            _ => 1,
        }
    }
}

type Result<T> = std::result::Result<T, Error>;

/// The program `stockade-layer`.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads on: that is the reader's decision, not a failure to report.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::from(1)
        }
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "stockade-layer: {}",
                causes::told(&error)
            );
            ExitCode::from(error.exit_code())
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = lexopt::Parser::from_env();
    let command = match arguments.next()? {
        Some(Value(command)) => command,
        Some(Long("help") | Short('h')) => "help".into(),
        Some(Long("version") | Short('V')) => "version".into(),
        Some(other) => return Err(other.unexpected().into()),
        None => return Err(Error::Usage("a command is missing".to_owned())),
    };
    match command.to_str() {
        Some("unpack") => unpack::run(arguments),
        Some("apply") => apply::run(arguments),
        Some("diff") => diff::run(arguments),
        Some("stat") => container::stat(arguments),
        Some("copy-out") => container::copy_out(arguments),
        Some("copy-in") => container::copy_in(arguments),
        Some("export") => container::export(arguments),
        Some("accounts") => container::accounts(arguments),
        Some("fill") => container::fill(arguments),
        Some("copy-shifted") => shifted::run(arguments),
        Some("receive") => transfer::receive(arguments),
        Some("keep") => keep::run(arguments),
        Some("send") => transfer::send(arguments),
        Some("usage") => transfer::usage(arguments),
        Some("view") => view::run(arguments),
        Some("changes") => changes::run(arguments),
        Some("remove") => Ok(several(arguments, "a directory")?
            .iter()
            .try_for_each(|directory| remove::remove(directory))?),
        Some("help") => say(HELP),
        Some("version") => say(concat!("stockade-layer ", env!("CARGO_PKG_VERSION"), "\n")),
        _ => Err(Error::Usage(format!("unknown command {command:?}"))),
    }
}

fn say(text: &str) -> Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// The positional arguments of a command without options.
fn several(mut arguments: lexopt::Parser, what: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Value(value) => found.push(PathBuf::from(value)),
            other => return Err(other.unexpected().into()),
        }
    }
    needed((!found.is_empty()).then_some(found), what)
}

/// The single positional argument of a command without options.
fn one(arguments: lexopt::Parser, what: &str) -> Result<PathBuf> {
    let mut found = several(arguments, what)?;
    if let Some(more) = found.get(1) {
        return Err(Error::Usage(format!("{more:?} is one too many")));
    }
    Ok(found.remove(0))
}

fn needed<T>(value: Option<T>, what: &str) -> Result<T> {
    value.ok_or_else(|| Error::Usage(format!("{what} is missing")))
}

/// A decimal number.
fn number<T: std::str::FromStr>(value: OsString, option: &str) -> Result<T> {
    let text = value.to_string_lossy();
    text.parse()
        .map_err(|_| Error::Usage(format!("{option} takes a number, not {text:?}")))
}

/// A number of bytes, with a binary unit or none.
fn bytes(value: OsString, option: &str) -> Result<u64> {
    let text = value.to_string_lossy();
    let shift = match text.bytes().last() {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        _ => 0,
    };
    let digits = if shift == 0 {
        &text[..]
    } else {
        &text[..text.len() - 1]
    };
    let number: u64 = number(digits.into(), option)?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| Error::Usage(format!("{option} {text:?} is too large")))
}

/// Takes an option if it is one of those that bound an archive.
fn bound(limits: &mut Limits, name: &str, arguments: &mut lexopt::Parser) -> Result<bool> {
    match name {
        "max-bytes" => limits.bytes = bytes(arguments.value()?, "--max-bytes")?,
        "max-entries" => limits.entries = number(arguments.value()?, "--max-entries")?,
        "max-ratio" => limits.ratio = number(arguments.value()?, "--max-ratio")?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// A map of ids.
fn map(value: OsString, option: &str) -> Result<crate::ids::Map> {
    let text = value.to_string_lossy();
    crate::ids::Map::parse(&text)
        .ok_or_else(|| Error::Usage(format!("{option} takes C:H:N[,...], not {text:?}")))
}

/// Answers, one JSON object a line.
struct Lines {
    out: BufWriter<std::io::StdoutLock<'static>>,
}

impl Lines {
    fn new() -> Lines {
        Lines {
            out: BufWriter::with_capacity(64 * 1024, std::io::stdout().lock()),
        }
    }

    fn put(&mut self, line: &impl serde::Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.out, line).map_err(std::io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }

    fn end(mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// A path as it is printed: text, and its bytes beside it where it is none.
#[derive(serde::Serialize)]
pub(crate) struct Shown {
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) raw: Option<String>,
}

impl Shown {
    pub(crate) fn new(path: &[u8]) -> Shown {
        let raw = std::str::from_utf8(path)
            .is_err()
            .then(|| path.iter().map(|byte| format!("{byte:02x}")).collect());
        Shown {
            path: disk::show(path).into_owned(),
            raw,
        }
    }
}

/// The word for a file type.
pub(crate) fn type_name(found: &rustix::fs::Statx) -> &'static str {
    use rustix::fs::FileType;
    match disk::kind(found) {
        FileType::RegularFile => "file",
        FileType::Directory => "dir",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "char",
        FileType::BlockDevice => "block",
        FileType::Unknown => "unknown",
    }
}
