//! Errors of the wall and the cgroups as answers: the code that containerd acts on, and the whole chain of causes as text.

use std::error::Error;

use crate::stdio;
use crate::ttrpc::{Code, Refusal};

/// The causes of an error, outermost first, with colons between.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = words(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&words(error));
        cause = error.source();
    }
    text
}

/// The kernel's reasons in the small letters of Go's runtimes: Docker and podman look for "no such file or directory" and
/// "permission denied" to choose their exit codes.
fn words(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    let is_kernels = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.raw_os_error().is_some());
    match text.split_once(" (os error ") {
        Some((reason, _)) if is_kernels => reason.to_ascii_lowercase(),
        _ => text,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_reasons_are_in_small_letters() {
        let open = stdio::Error::Open {
            path: "/f".into(),
            source: std::io::Error::from_raw_os_error(2),
        };
        assert_eq!(chain(&open), "open /f: no such file or directory");
        assert_eq!(Refusal::from(open).code, Code::NotFound);
    }
}
