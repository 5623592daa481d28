//! Errors of the wall and the cgroups as answers: the code that containerd acts on, and the whole chain of causes as text.

use causes::in_gos_words;

use crate::stdio;
use crate::ttrpc::{Code, Refusal};

impl From<jail::Error> for Refusal {
    fn from(error: jail::Error) -> Refusal {
        let code = match &error {
            jail::Error::Unserved { .. } => Code::Unimplemented,
            jail::Error::Invalid { .. } => Code::InvalidArgument,
            jail::Error::NotRunning | jail::Error::AlreadyStarted => Code::FailedPrecondition,
            _ => Code::Unknown,
        };
        Refusal::new(code, in_gos_words(&error))
    }
}

impl From<cgroup::Error> for Refusal {
    fn from(error: cgroup::Error) -> Refusal {
        let code = match &error {
            cgroup::Error::Value { .. } | cgroup::Error::Path(..) => Code::InvalidArgument,
            cgroup::Error::Unserved(_) => Code::Unimplemented,
            cgroup::Error::Disabled(_) | cgroup::Error::BelowUsage { .. } => {
                Code::FailedPrecondition
            }
            _ => Code::Unknown,
        };
        Refusal::new(code, in_gos_words(&error))
    }
}

impl From<stdio::Error> for Refusal {
    fn from(error: stdio::Error) -> Refusal {
        let code = match &error {
            stdio::Error::Target(_) | stdio::Error::Stdin(_) => Code::InvalidArgument,
            stdio::Error::Open { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Code::NotFound
            }
            _ => Code::Unknown,
        };
        Refusal::new(code, in_gos_words(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_reasons_are_in_small_letters() {
        let open = stdio::Error::Open {
            path: "/f".into(),
            source: std::io::Error::from_raw_os_error(2),
        };
        assert_eq!(in_gos_words(&open), "open /f: no such file or directory");
        assert_eq!(Refusal::from(open).code, Code::NotFound);
    }
}
