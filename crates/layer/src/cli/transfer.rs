//! `receive`, `send` and `usage`, and the descriptors of a request's body.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use lexopt::prelude::*;

use super::{Error, Lines, Result, Shown, bound, needed, number, several};
use crate::body::{Body, Framing};
use crate::disk;
use crate::intake::Limits;
use crate::patient::Patient;
use crate::receive::{self, Options, Received};
use crate::{send, usage};

/// Where an archive comes from.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    body: Option<OwnedFd>,
    early: Option<OwnedFd>,
    framing: Option<Framing>,
}

impl Incoming {
    /// Takes an option if it is one of these.
    pub(super) fn take(&mut self, name: &str, arguments: &mut lexopt::Parser) -> Result<bool> {
        match name {
            "body" => self.body = Some(descriptor(arguments, "--body")?),
            "early" => self.early = Some(descriptor(arguments, "--early")?),
            "framing" => {
                let text = arguments.value()?.string()?;
                let framing = Framing::parse(&text).ok_or_else(|| {
                    Error::Usage(format!(
                        "--framing takes raw, chunked or length:N, not {text:?}"
                    ))
                })?;
                self.framing = Some(framing);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The bytes, without what frames them; of stdin when no body is named.
    pub(super) fn open(self) -> Result<Box<dyn Read + Send>> {
        let framing = self.framing.unwrap_or(Framing::Raw);
        let body = match self.body {
            Some(body) => body,
            None => rustix::io::dup(std::io::stdin()).map_err(std::io::Error::from)?,
        };
        let body = Patient(body);
        Ok(match self.early {
            Some(early) => Box::new(Body::new(Patient(early).chain(body), framing)),
            None => Box::new(Body::new(body, framing)),
        })
    }
}

/// A descriptor that the caller gave, by its number.
pub(super) fn descriptor(arguments: &mut lexopt::Parser, option: &str) -> Result<OwnedFd> {
    let number: i32 = number(arguments.value()?, option)?;
    sys::inherited(number).map_err(|source| Error::Descriptor { number, source })
}

#[derive(serde::Serialize)]
struct File {
    #[serde(flatten)]
    path: Shown,
    file: String,
    size: u64,
    digest: String,
}

#[derive(serde::Serialize)]
struct Link {
    #[serde(flatten)]
    path: Shown,
    link: String,
}

pub(super) fn receive(mut arguments: lexopt::Parser) -> Result<()> {
    let mut options = Options {
        limits: Limits {
            entries: 100_000,
            ..Limits::default()
        },
        sync: false,
    };
    let (mut incoming, mut directory) = (Incoming::default(), None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("sync") => options.sync = true,
            Long(name) => {
                let name = name.to_owned();
                if !incoming.take(&name, &mut arguments)?
                    && !bound(&mut options.limits, &name, &mut arguments)?
                {
                    return Err(Long(&name).unexpected().into());
                }
            }
            Value(value) if directory.is_none() => directory = Some(PathBuf::from(value)),
            other => return Err(other.unexpected().into()),
        }
    }
    let directory = disk::root(&needed(directory, "the directory")?)?;
    let input = incoming.open()?;
    receive::receive(input, &directory, options, |received| {
        let mut line = match received {
            Received::File {
                path,
                file,
                size,
                digest,
            } => serde_json::to_vec(&File {
                path: Shown::new(&path),
                file: file.to_string(),
                size,
                digest,
            })?,
            Received::Link { path, link } => serde_json::to_vec(&Link {
                path: Shown::new(&path),
                link: disk::show(&link).into_owned(),
            })?,
        };
        line.push(b'\n');
        // At once: the caller shows how far it is.
        std::io::Write::write_all(&mut std::io::stdout(), &line)
    })?;
    Ok(())
}

#[derive(serde::Serialize)]
struct Sent {
    entries: u64,
}

pub(super) fn send(mut arguments: lexopt::Parser) -> Result<()> {
    let mut to = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("to") => to = Some(descriptor(&mut arguments, "--to")?),
            other => return Err(other.unexpected().into()),
        }
    }
    let to = Patient(needed(to, "--to")?);
    let entries = send::send(std::io::stdin().lock(), to)?;
    let mut lines = Lines::new();
    lines.put(&Sent { entries })?;
    lines.end()
}

#[derive(serde::Serialize)]
struct Used {
    #[serde(flatten)]
    path: Shown,
    #[serde(flatten)]
    usage: usage::Usage,
}

pub(super) fn usage(arguments: lexopt::Parser) -> Result<()> {
    let mut lines = Lines::new();
    crate::container::allow_depth();
    for path in several(arguments, "a directory")? {
        use std::os::unix::ffi::OsStrExt;
        let usage = usage::usage(&disk::root(&path)?)?;
        lines.put(&Used {
            path: Shown::new(path.as_os_str().as_bytes()),
            usage,
        })?;
    }
    lines.end()
}
