//! Errors of the wall and the cgroups as answers: the code that containerd acts on, and the whole chain of causes as text.

use std::error::Error;

use crate::stdio;
use crate::ttrpc::{Code, Refusal};

/// The causes of an error, outermost first, with colons between.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<jail::Error> for Refusal {
    fn from(error: jail::Error) -> Refusal {
        let code = match &error {
            jail::Error::Unserved { .. } => Code::Unimplemented,
            jail::Error::Invalid { .. } => Code::InvalidArgument,
            jail::Error::NotRunning | jail::Error::AlreadyStarted => Code::FailedPrecondition,
            _ => Code::Unknown,
        };
        Refusal::new(code, chain(&error))
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
        Refusal::new(code, chain(&error))
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
        Refusal::new(code, chain(&error))
    }
}
