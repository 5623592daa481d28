//! Everything a command can fail with, and the exit code that says so.

use std::io;
use std::path::PathBuf;

use spec::Status;

use crate::{args, log, store};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Args(#[from] args::Error),
    #[error(transparent)]
    Log(#[from] log::OpenError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Config(#[from] spec::LoadError),
    #[error(transparent)]
    Jail(#[from] jail::Error),
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    #[error("unknown command {0:?}")]
    UnknownVerb(String),
    #[error("\"{verb}\" requires {want} argument(s), got {got}")]
    Operands {
        verb: &'static str,
        want: &'static str,
        got: usize,
    },
    #[error("{0} is not supported: {1}")]
    Unsupported(&'static str, &'static str),
    #[error("invalid value {value:?} for --{flag}: {reason}")]
    Flag {
        flag: &'static str,
        value: String,
        reason: &'static str,
    },
    #[error("{0}")]
    Refused(&'static str),
    #[error("JSON specification file {0} not found")]
    NoConfig(PathBuf),
    #[error("{0} is no valid configuration")]
    Malformed(PathBuf, #[source] serde_json::Error),
    #[error("cannot start an already running container")]
    AlreadyRunning,
    #[error("cannot start a container that has stopped")]
    StartStopped,
    #[error("cannot start a container in the {} state", word(*.0))]
    StartIn(Status),
    #[error("container not running")]
    NotRunning,
    #[error("container not paused")]
    NotPaused,
    #[error("cannot exec in a {} container", word(*.0))]
    ExecIn(Status),
    #[error("cannot exec in a paused container (use --ignore-paused to override)")]
    ExecPaused,
    #[error("container with id {0} is not running")]
    NoStats(String),
    #[error("cannot delete container {id} that is not stopped: {}", word(*status))]
    DeleteIn { id: String, status: Status },
    #[error("unknown signal {0:?}")]
    Signal(String),
    #[error("unable to signal init")]
    SignalInit(#[source] io::Error),
    #[error("File config.json exists. Remove it first")]
    SpecExists,
    #[error("{act} {path}")]
    Io {
        act: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    System(&'static str, #[source] io::Error),
    /// `exec` says 255 of its own failures, so that they differ from the codes most programs use.
    #[error("exec failed")]
    Exec(#[source] Box<Error>),
}

impl Error {
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Jail(error) => error.exit_code(),
            Error::Exec(inner) => match inner.exit_code() {
                code @ (126 | 127) => code,
                _ => 255,
            },
            _ => 1,
        }
    }

    /// Whether a look at the verb's help is what the caller needs.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Error::Args(_) | Error::Operands { .. } | Error::UnknownVerb(_)
        )
    }

    pub fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { act, path, source }
    }
}

pub fn word(status: Status) -> &'static str {
    match status {
        Status::Creating => "creating",
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Stopped => "stopped",
    }
}
