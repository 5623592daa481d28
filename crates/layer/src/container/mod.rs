//! The files of a container, running or not: looked at, taken out, put in.
//!
//! Whatever lies below a container's root is hostile, and while the container runs it changes between two looks. So every
//! path is resolved by the kernel with that root as `/` (openat2(2), `RESOLVE_IN_ROOT`), what is acted on is what was opened,
//! and nothing is opened for its content before it is known to be a regular file. What paths mean is Docker's archive API:
//! `GET`, `HEAD` and `PUT /containers/{id}/archive`.

mod accounts;
mod fill;
mod inside;
mod into;
mod mounted;
mod out;
mod stat;

use crate::disk;
use crate::intake::{self, FillError};

pub use accounts::accounts;
pub use fill::fill;
pub use inside::Asked;
pub use into::{Options, copy_in};
pub use mounted::{Bind, Overlay, mount};
pub use out::{allow_depth, copy_out, export};
pub use stat::stat;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?}: no such file or directory")]
    NotFound(String),
    #[error("{0:?} is not a directory")]
    NotDirectory(String),
    #[error("cannot overwrite directory {0:?} with non-directory {1:?}")]
    OverDirectory(String, String),
    #[error("cannot overwrite non-directory {0:?} with directory {1:?}")]
    OverOther(String, String),
    #[error("{0:?} is on a read-only file system")]
    ReadOnly(String),
    #[error("entry {path:?}: {reason}")]
    Entry { path: String, reason: String },
    #[error(transparent)]
    Intake(#[from] intake::Error),
    #[error("write the archive")]
    Write(#[source] std::io::Error),
    #[error("read {path:?}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("fill {path:?}")]
    Fill {
        path: String,
        #[source]
        source: FillError,
    },
    #[error("{0:?} is larger than 1 MiB")]
    TooLarge(&'static str),
    #[error("{action}")]
    Mount {
        action: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Copy(#[from] crate::shifted::Error),
    #[error(transparent)]
    Disk(disk::Error),
}

impl From<disk::Error> for Error {
    fn from(error: disk::Error) -> Error {
        if error.source == rustix::io::Errno::ROFS {
            Error::ReadOnly(error.path)
        } else {
            Error::Disk(error)
        }
    }
}

impl Error {
    /// What a caller acts on without reading the text.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::NotFound(_) => 4,
            Error::NotDirectory(_) => 5,
            Error::OverDirectory(..) | Error::OverOther(..) => 6,
            Error::ReadOnly(_) => 7,
            Error::Entry { .. } | Error::Intake(_) => 8,
            Error::Fill {
                source: FillError::Archive(_),
                ..
            } => 8,
            _ => 1,
        }
    }
}

pub type Result<T> = std::result::Result<T, Error>;
