//! `linux.seccomp` of `config.json` becomes a seccomp filter: a compiler of our own to classic BPF.
//!
//! [`compile`] is pure; [`Filter::load`] is the one thing here that touches the kernel. The semantics are libseccomp's
//! as runc uses it (its test oracle too), so that every published profile means the same under Stockade:
//! - a call of an architecture that the profile does not name kills the thread;
//! - a name that this program does not know is skipped (a profile may be newer or older than we are);
//! - a number above the largest that the profile names answers ENOSYS instead of the default, unless the default lets
//!   calls through: the C library then tries the older call, as on an older kernel.
//!
//! The program is small and shallow, because the kernel runs it for every system call number when it is loaded: numbers
//! with one decision are coalesced into ranges, ranges are searched binarily, equal returns are shared.
#![deny(unsafe_code)]

mod action;
mod arch;
mod assemble;
mod compile;
mod features;
mod rules;
mod table;

pub use action::Action;
pub use compile::{compile, compile_everywhere};
pub use features::features;

use std::io;
use std::os::fd::OwnedFd;

/// What is wrong with a filter, by the word or number that is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("seccomp: unknown {what} {value:?}")]
    Unknown { what: &'static str, value: String },
    #[error("seccomp: {0} takes no errnoRet")]
    ErrnoNotTaken(String),
    #[error("seccomp: errnoRet {0} does not fit into 16 bits")]
    ErrnoRange(u32),
    #[error(
        "seccomp: SCMP_ACT_NOTIFY cannot be the default action: nobody could start the listener"
    )]
    NotifyDefault,
    #[error(
        "seccomp: SCMP_ACT_NOTIFY on write would stop the runtime itself, which reports by write"
    )]
    NotifyWrite,
    #[error("seccomp: SCMP_ACT_NOTIFY without listenerPath")]
    NoListenerPath,
    #[error("seccomp: the filter has {0} instructions, the kernel takes 4096")]
    TooLong(usize),
    #[error("seccomp: the kernel does not take the filter")]
    Load(#[source] io::Error),
}

/// A compiled filter, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub program: Vec<sys::SockFilter>,
    /// `SECCOMP_FILTER_FLAG_…`.
    pub flags: u32,
    /// Some rule notifies: loading answers a listener.
    pub notify: bool,
}

impl Filter {
    /// Installs the filter on the calling thread; the answer is the listener (closed on exec) when a rule notifies.
    pub fn load(&self) -> Result<Option<OwnedFd>, Error> {
        sys::load_seccomp(&self.program, self.flags).map_err(Error::Load)
    }
}
