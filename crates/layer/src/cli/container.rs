//! `stat`, `copy-out`, `copy-in`, `export`, `fill` and `accounts`: a container's root, and what is done with it.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use lexopt::prelude::*;

use super::transfer::{Incoming, descriptor};
use super::{Error, Lines, Result, bound, map, needed};
use crate::container::{self, Asked, Bind, Options, Overlay};
use crate::disk;
use crate::ids::Map;
use crate::patient::Patient;

/// Where the root is.
#[derive(Debug)]
enum Source {
    Descriptor(OwnedFd),
    Directory(PathBuf),
    Overlay(Overlay),
}

/// The options that all of these commands have, and what each adds.
#[derive(Debug, Default)]
struct Given {
    source: Option<Source>,
    binds: Vec<Bind>,
    uids: Map,
    gids: Option<Map>,
    to: Option<OwnedFd>,
    volume: Option<PathBuf>,
    incoming: Incoming,
    into: Options,
    paths: Vec<Vec<u8>>,
}

/// Which options and how many paths a command takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Look,
    Out,
    In,
    Export,
    Fill,
    Accounts,
}

impl Given {
    fn read(mut arguments: lexopt::Parser, command: Command) -> Result<Given> {
        let mut given = Given::default();
        (given.into.limits.bytes, given.into.limits.entries) = (1 << 40, 10_000_000);
        while let Some(argument) = arguments.next()? {
            match argument {
                Long(name) => {
                    let name = name.to_owned();
                    let known = given.root_option(&name, &mut arguments)?
                        || given.own_option(&name, &mut arguments, command)?;
                    if !known {
                        return Err(Long(&name).unexpected().into());
                    }
                }
                Value(value) => given.paths.push(value.as_bytes().to_vec()),
                other => return Err(other.unexpected().into()),
            }
        }
        let paths = usize::from(!matches!(command, Command::Export | Command::Accounts));
        if given.paths.len() != paths {
            let found = given.paths.len();
            return Err(Error::Usage(format!(
                "one root and {paths} paths, not {found}"
            )));
        }
        Ok(given)
    }

    fn root_option(&mut self, name: &str, arguments: &mut lexopt::Parser) -> Result<bool> {
        let source = match name {
            "root" => Source::Descriptor(descriptor(arguments, "--root")?),
            "dir" => Source::Directory(PathBuf::from(arguments.value()?)),
            "overlay" | "lower" => {
                let value = arguments.value()?;
                let mut overlay = match self.source.take() {
                    None => Overlay::default(),
                    Some(Source::Overlay(overlay)) => overlay,
                    Some(_) => return Err(Error::Usage("more than one root".to_owned())),
                };
                if name == "lower" {
                    overlay.lowers.push(value.into());
                } else {
                    let text = value.string()?;
                    overlay.add(&text).ok_or_else(|| {
                        Error::Usage(format!("--overlay cannot be read: {text:?}"))
                    })?;
                }
                self.source = Some(Source::Overlay(overlay));
                return Ok(true);
            }
            "bind" => {
                let text = arguments.value()?.string()?;
                let bind = Bind::parse(&text).ok_or_else(|| {
                    Error::Usage(format!(
                        "--bind takes /SOURCE:/TARGET[:ro][,idmap], not {text:?}"
                    ))
                })?;
                self.binds.push(bind);
                return Ok(true);
            }
            "uid-map" => {
                self.uids = map(arguments.value()?, "--uid-map")?;
                return Ok(true);
            }
            "gid-map" => {
                self.gids = Some(map(arguments.value()?, "--gid-map")?);
                return Ok(true);
            }
            _ => return Ok(false),
        };
        if self.source.replace(source).is_some() {
            return Err(Error::Usage("more than one root".to_owned()));
        }
        Ok(true)
    }

    fn own_option(
        &mut self,
        name: &str,
        arguments: &mut lexopt::Parser,
        command: Command,
    ) -> Result<bool> {
        let into = command == Command::In;
        match name {
            "to" if matches!(command, Command::Out | Command::Export) => {
                self.to = Some(descriptor(arguments, "--to")?);
            }
            "into" if command == Command::Fill => {
                self.volume = Some(PathBuf::from(arguments.value()?));
            }
            "owner" if into => {
                let text = arguments.value()?.string()?;
                let owner = text
                    .split_once(':')
                    .and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
                self.into.owner =
                    Some(owner.ok_or_else(|| {
                        Error::Usage(format!("--owner takes UID:GID, not {text:?}"))
                    })?);
            }
            "no-overwrite-dir-non-dir" if into => self.into.keep_types = true,
            _ if into => {
                return Ok(self.incoming.take(name, arguments)?
                    || bound(&mut self.into.limits, name, arguments)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn gids(&self) -> Map {
        self.gids.clone().unwrap_or_else(|| self.uids.clone())
    }

    fn root(&mut self, write: bool) -> Result<OwnedFd> {
        container::allow_depth();
        let source = needed(self.source.take(), "--root, --overlay or --dir")?;
        if !self.binds.is_empty() && !matches!(source, Source::Overlay(_)) {
            return Err(Error::Usage("--bind goes with --overlay".to_owned()));
        }
        Ok(match source {
            Source::Descriptor(root) => root,
            Source::Directory(path) => disk::root(&path)?,
            Source::Overlay(overlay) => {
                container::mount(&overlay, &self.binds, (&self.uids, &self.gids()), write)?
            }
        })
    }

    fn asked(&self) -> Asked {
        Asked::new(self.paths.first().map_or(b"", |path| &path[..]))
    }
}

fn put(answer: &impl serde::Serialize) -> Result<()> {
    let mut lines = Lines::new();
    lines.put(answer)?;
    lines.end()
}

pub(super) fn stat(arguments: lexopt::Parser) -> Result<()> {
    let mut given = Given::read(arguments, Command::Look)?;
    let root = given.root(false)?;
    put(&container::stat(&root, &given.asked())?)
}

pub(super) fn copy_out(arguments: lexopt::Parser) -> Result<()> {
    let mut given = Given::read(arguments, Command::Out)?;
    let to = Patient(needed(given.to.take(), "--to")?);
    let root = given.root(false)?;
    let gids = given.gids();
    put(&container::copy_out(
        &root,
        &given.asked(),
        (&given.uids, &gids),
        to,
    )?)
}

pub(super) fn export(arguments: lexopt::Parser) -> Result<()> {
    let mut given = Given::read(arguments, Command::Export)?;
    let to = Patient(needed(given.to.take(), "--to")?);
    let root = given.root(false)?;
    let gids = given.gids();
    put(&container::export(&root, (&given.uids, &gids), to)?)
}

pub(super) fn copy_in(arguments: lexopt::Parser) -> Result<()> {
    let mut given = Given::read(arguments, Command::In)?;
    let root = given.root(true)?;
    let input = std::mem::take(&mut given.incoming).open()?;
    let options = Options {
        gids: given.gids(),
        uids: std::mem::take(&mut given.uids),
        ..std::mem::take(&mut given.into)
    };
    put(&container::copy_in(&root, &given.asked(), input, &options)?)
}

pub(super) fn fill(arguments: lexopt::Parser) -> Result<()> {
    let mut given = Given::read(arguments, Command::Fill)?;
    let volume = needed(given.volume.take(), "--into")?;
    let root = given.root(false)?;
    put(&container::fill(&root, &given.asked(), &volume)?)
}

pub(super) fn accounts(arguments: lexopt::Parser) -> Result<()> {
    let mut given = Given::read(arguments, Command::Accounts)?;
    let root = given.root(false)?;
    put(&container::accounts(&root)?)
}
