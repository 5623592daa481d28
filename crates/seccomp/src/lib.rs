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

    /// Whether compiling `spec` would answer a filter that notifies; nothing else of it is looked at.
    pub fn would_notify(spec: &spec::Seccomp) -> bool {
        let actions = spec.syscalls.iter().map(|rule| rule.action.as_str());
        actions
            .chain([spec.default_action.as_str()])
            .any(|action| action == "SCMP_ACT_NOTIFY")
    }

    /// For another process of this program, which is to load it: flags, then the instructions.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + 8 * self.program.len());
        bytes.extend(self.flags.to_le_bytes());
        for one in &self.program {
            bytes.extend(one.code.to_le_bytes());
            bytes.extend([one.jt, one.jf]);
            bytes.extend(one.k.to_le_bytes());
        }
        bytes
    }

    /// What [`Filter::encode`] wrote of a filter that does not notify.
    pub fn decode(bytes: &[u8]) -> Option<Filter> {
        let (flags, rest) = bytes.split_first_chunk::<4>()?;
        let (instructions, []) = rest.as_chunks::<8>() else {
            return None;
        };
        let read = |&[a, b, jt, jf, k0, k1, k2, k3]: &[u8; 8]| sys::SockFilter {
            code: u16::from_le_bytes([a, b]),
            jt,
            jf,
            k: u32::from_le_bytes([k0, k1, k2, k3]),
        };
        Some(Filter {
            program: instructions.iter().map(read).collect(),
            flags: u32::from_le_bytes(*flags),
            notify: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(rule: &str) -> spec::Seccomp {
        let text = format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{"names": ["read", "getpid"], "action": "{rule}"}}]}}"#
        );
        serde_json::from_str(&text).expect("a profile")
    }

    #[test]
    fn a_filter_is_the_same_in_another_process() {
        let filter = compile(&profile("SCMP_ACT_ALLOW")).expect("a filter");
        assert_eq!(Filter::decode(&filter.encode()), Some(filter.clone()));
        for cut in [0, 3, filter.encode().len() - 1] {
            assert_eq!(Filter::decode(&filter.encode()[..cut]), None);
        }
    }

    #[test]
    fn who_notifies_is_known_before_compiling() {
        assert!(Filter::would_notify(&profile("SCMP_ACT_NOTIFY")));
        assert!(!Filter::would_notify(&profile("SCMP_ACT_ALLOW")));
    }
}
