//! stub
use std::os::fd::OwnedFd;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("seccomp: {what} {value:?} is not known")]
    Unknown { what: &'static str, value: String },
    #[error("seccomp: {0}")]
    Rule(String),
    #[error("seccomp: the filter has {0} instructions, the kernel takes 4096")]
    TooLong(usize),
    #[error("load the seccomp filter")]
    Load(#[source] std::io::Error),
}

/// A compiled filter, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter { pub program: Vec<sys::SockFilter>, pub flags: u32, pub notify: bool }

/// Compiles `linux.seccomp`; pure.
pub fn compile(_spec: &spec::Seccomp) -> Result<Filter, Error> { todo!() }

impl Filter {
    /// Installs the filter on the calling thread; the listener when a rule notifies.
    pub fn load(&self) -> Result<Option<OwnedFd>, Error> { todo!() }
}

pub fn features() -> spec::SeccompFeatures { todo!() }
