//! A failure on its way: made where it happened, carried over the socket, turned into the caller's [`Error`].

use std::io;

use crate::{Error, Stage};

/// One failed step: the stage, what it failed on, why.
#[derive(Debug)]
pub(crate) struct Fault {
    pub stage: Stage,
    pub subject: String,
    pub reason: io::Error,
}

pub(crate) type Outcome<T> = Result<T, Fault>;

/// Names the stage and the object of a failed call.
pub(crate) trait At<T> {
    fn at(self, stage: Stage, subject: impl std::fmt::Display) -> Outcome<T>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, stage: Stage, subject: impl std::fmt::Display) -> Outcome<T> {
        self.map_err(|error| Fault {
            stage,
            subject: subject.to_string(),
            reason: error.into(),
        })
    }
}

impl Fault {
    /// A refusal that no system call gave.
    pub fn refuse<T>(stage: Stage, subject: impl std::fmt::Display, reason: &str) -> Outcome<T> {
        Err(Fault {
            stage,
            subject: subject.to_string(),
            reason: io::Error::other(reason),
        })
    }

    /// `stage, errno (0: a text follows), length of the subject, subject, text`.
    pub fn encode(&self) -> Vec<u8> {
        let subject = &self.subject.as_bytes()[..self.subject.len().min(4096)];
        let errno = self.reason.raw_os_error().unwrap_or(0);
        let mut bytes = vec![self.stage as u8];
        bytes.extend(errno.to_le_bytes());
        bytes.extend((subject.len() as u16).to_le_bytes());
        bytes.extend(subject);
        if errno == 0 {
            bytes.extend(self.reason.to_string().into_bytes());
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Fault> {
        let (&stage, rest) = bytes.split_first()?;
        let (errno, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (subject, text) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        let reason = match i32::from_le_bytes(*errno) {
            0 => io::Error::other(String::from_utf8_lossy(text).into_owned()),
            errno => io::Error::from_raw_os_error(errno),
        };
        let subject = String::from_utf8_lossy(subject).into_owned();
        Some(Fault {
            stage: *Stage::ALL.get(usize::from(stage))?,
            subject,
            reason,
        })
    }

    /// What the caller sees of a fault that the container's process told at a stage.
    pub fn told(bytes: &[u8], stage: Stage) -> Error {
        Fault::decode(bytes).map_or(Error::Died { stage }, Fault::inside)
    }

    /// What the caller sees when this happened in its own process.
    pub fn on_host(self) -> Error {
        Error::Host {
            stage: self.stage,
            subject: self.subject,
            source: self.reason,
        }
    }

    /// What the caller sees when this happened in the container's process.
    pub fn inside(self) -> Error {
        match self.stage {
            Stage::Execute if self.reason.raw_os_error().is_none() => Error::NotFound {
                program: self.subject,
            },
            Stage::Execute => Error::NotExecutable {
                program: self.subject,
                source: self.reason,
            },
            stage => Error::Inside {
                stage,
                subject: self.subject,
                source: self.reason,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_wire() {
        let fault = Fault {
            stage: Stage::Mount,
            subject: "/proc".into(),
            reason: io::Error::from_raw_os_error(libc::EPERM),
        };
        let back = Fault::decode(&fault.encode()).expect("decodes");
        assert_eq!(
            (
                back.stage,
                back.subject.as_str(),
                back.reason.raw_os_error()
            ),
            (Stage::Mount, "/proc", Some(libc::EPERM))
        );
        let fault = Fault {
            stage: Stage::Execute,
            subject: "x".into(),
            reason: io::Error::other("not there"),
        };
        assert_eq!(
            Fault::decode(&fault.encode())
                .expect("decodes")
                .reason
                .to_string(),
            "not there"
        );
    }

    #[test]
    fn rejects_noise() {
        for noise in [
            &b""[..],
            b"\xff\0\0\0\0\0\0",
            b"\0\0\0",
            b"\0\0\0\0\0\xff\xff",
        ] {
            assert!(Fault::decode(noise).is_none());
        }
    }
}
