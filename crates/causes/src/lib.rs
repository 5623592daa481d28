//! An error and its causes in one line, outermost first, with colons between: what every program says when it fails.
//!
//! Law: it words errors; it knows none, and prints nothing.

use std::error::Error;
use std::iter::successors;

/// As they say it themselves.
pub fn told(error: &dyn Error) -> String {
    successors(error.source(), |&cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// As Go's wrapped errors print, the kernel's reasons with a small letter and without a number: Docker and podman look for
/// "no such file or directory" and "permission denied" to choose their exit codes.
pub fn in_gos_words(error: &(dyn Error + 'static)) -> String {
    successors(Some(error), |&error| error.source())
        .map(words)
        .collect::<Vec<_>>()
        .join(": ")
}

fn words(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    let is_kernels = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.raw_os_error().is_some());
    match text.split_once(" (os error ") {
        Some((reason, _)) if is_kernels => uncapitalized(reason),
        _ => text,
    }
}

fn uncapitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_ascii_lowercase().to_string() + letters.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::{self, Display, Formatter};
    use std::io;

    #[derive(Debug)]
    struct Open(io::Error);

    impl Display for Open {
        fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
            formatter.write_str("Open /f")
        }
    }

    impl Error for Open {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn causes_follow_what_they_caused() {
        let error = Open(io::Error::from_raw_os_error(2));
        assert_eq!(
            told(&error),
            "Open /f: No such file or directory (os error 2)"
        );
        assert_eq!(in_gos_words(&error), "Open /f: no such file or directory");
    }

    #[test]
    fn only_the_kernels_words_are_changed() {
        let error = Open(io::Error::other("What (os error 2) may be"));
        assert_eq!(in_gos_words(&error), "Open /f: What (os error 2) may be");
        let error = Open(io::Error::from_raw_os_error(132));
        assert_eq!(
            in_gos_words(&error),
            "Open /f: operation not possible due to RF-kill"
        );
    }
}
