//! Doing a plan by its journal, finishing it, or undoing it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, RenameFlags, Statx};
use rustix::io::Errno;

use super::journal::{Identity, Journal, Line, Name, Operation};
use super::plan::{Action, Step, mode_to_give};
use super::stage::Stage;
use super::{Error, Options, Run, shown};
use crate::disk::{self, Context};
use crate::remove;

/// How a journal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Finished,
    Undone,
    Nothing,
}

/// Stages, commits and does the steps; on failure nothing of it stays.
pub(super) fn run(options: &Options, run: &Run, steps: &[&Step]) -> Result<(), Error> {
    if steps.is_empty() {
        return Ok(());
    }
    let target = options.target();
    let here = disk::look_at(target).on("look at", b".")?;
    let staging = format!(".stockade-apply-{:016x}", random());
    let directory =
        std::fs::canonicalize(&options.directory).unwrap_or_else(|_| options.directory.clone());
    let begin = Line::Begin {
        directory: Name(directory.into_os_string().into_encoded_bytes()),
        device: (here.stx_dev_major, here.stx_dev_minor),
        inode: here.stx_ino,
        staging: staging.clone(),
    };
    let mut journal = Journal::create(&run.journal)?;
    let owner = run.owner.unwrap_or((here.stx_uid, here.stx_gid));
    let prepared = journal
        .write(&[begin])
        .and_then(|()| stage(options, &staging, owner, steps))
        .and_then(|operations| {
            let mut lines: Vec<Line> = operations.iter().cloned().map(Line::Do).collect();
            lines.push(Line::Commit);
            journal.write(&lines).map(|()| operations)
        });
    let operations = match prepared {
        Ok(operations) => operations,
        Err(error) => {
            remove::remove_at(target, staging.as_bytes())?;
            journal.remove()?;
            return Err(error);
        }
    };
    finish(
        Work {
            target,
            staging: &staging,
        },
        journal,
        &operations,
    )
    .map(drop)
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Only uniqueness is asked for, and a name that is taken fails at mkdir.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_le_bytes(bytes)
}

/// Finishes or undoes what a journal tells.
pub fn recover(path: &Path) -> Result<Outcome, Error> {
    let Some(mut journal) = Journal::open(path)? else {
        return Ok(Outcome::Nothing);
    };
    let lines = journal.read()?;
    let mut lines = lines.into_iter();
    let Some(first) = lines.next() else {
        journal.remove()?;
        return Ok(Outcome::Nothing);
    };
    let Line::Begin {
        directory,
        device,
        inode,
        staging,
    } = first
    else {
        return Err(Error::Malformed {
            path: path.to_owned(),
            reason: "it does not begin",
        });
    };
    if !staging.starts_with(".stockade-apply-") || staging.contains('/') {
        return Err(Error::Malformed {
            path: path.to_owned(),
            reason: "its staging directory is none of ours",
        });
    }
    use std::os::unix::ffi::OsStrExt;
    let target = disk::root(Path::new(std::ffi::OsStr::from_bytes(&directory.0)))?;
    let here = disk::look_at(&target).on("look at", b".")?;
    if (here.stx_dev_major, here.stx_dev_minor) != device || here.stx_ino != inode {
        return Err(Error::Malformed {
            path: path.to_owned(),
            reason: "its directory is another one now",
        });
    }
    let story = Story::read(lines).ok_or_else(|| Error::Malformed {
        path: path.to_owned(),
        reason: "it begins twice",
    })?;
    let work = Work {
        target: &target,
        staging: &staging,
    };
    let (operations, undone) = (&story.operations, Outcome::Undone);
    match (story.done, story.committed, story.undoing) {
        (true, _, false) => work.clear(journal).map(|()| Outcome::Finished),
        (true, _, true) | (false, false, _) => work.clear(journal).map(|()| undone),
        (false, true, false) => finish(work, journal, operations),
        (false, true, true) => work.undo(journal, operations).map(|()| undone),
    }
}

/// How far a journal got.
#[derive(Default)]
struct Story {
    operations: Vec<Operation>,
    committed: bool,
    undoing: bool,
    done: bool,
}

impl Story {
    /// None when it begins a second time.
    fn read(lines: impl Iterator<Item = Line>) -> Option<Story> {
        let mut story = Story::default();
        for line in lines {
            match line {
                Line::Do(operation) => story.operations.push(operation),
                Line::Commit => story.committed = true,
                Line::Undo => story.undoing = true,
                Line::Done => story.done = true,
                Line::Begin { .. } => return None,
            }
        }
        Some(story)
    }
}

/// Does all operations, or undoes them all.
fn finish(
    work: Work<'_>,
    mut journal: Journal,
    operations: &[Operation],
) -> Result<Outcome, Error> {
    let outcome = work.staging().and_then(|staging| {
        for operation in operations {
            work.forward(&staging, operation)?;
        }
        Ok(())
    });
    match outcome {
        Ok(()) => {
            journal.write(&[Line::Done])?;
            work.clear(journal)?;
            Ok(Outcome::Finished)
        }
        Err(error) => {
            journal.write(&[Line::Undo])?;
            work.undo(journal, operations)?;
            Err(error)
        }
    }
}

/// Copies what the steps bring into the staging directory, and names the operations that put it into place.
fn stage(
    options: &Options,
    staging: &str,
    owner: (u32, u32),
    steps: &[&Step],
) -> Result<Vec<Operation>, Error> {
    rustix::process::umask(Mode::empty());
    let target = options.target();
    rustix::fs::mkdirat(target, staging, Mode::RWXU).on("make directory", staging.as_bytes())?;
    let open = disk::directory(target, staging.as_bytes()).on("open", staging.as_bytes())?;
    let stage = Stage {
        upper: &options.overlay.upper,
        staging: &open,
        owner,
    };
    let mut operations = Vec::new();
    let mut directories: Vec<(&Step, Vec<u8>)> = Vec::new();
    // A directory that is new goes into place with all that lies in it.
    let mut roots: std::collections::HashMap<&[u8], Vec<u8>> = std::collections::HashMap::new();
    for (number, step) in steps.iter().enumerate() {
        let number = number as u64;
        let (parent, name) = disk::split(&step.path);
        let within = roots.get(parent).map(|root| disk::join(root, name));
        let alone = within.is_none();
        let place = within.unwrap_or_else(|| number.to_string().into_bytes());
        if let (Action::Add | Action::Replace, Some(now)) = (step.action, &step.now) {
            stage.copy(&step.path, &place, now)?;
            if disk::kind(now) == FileType::Directory {
                roots.insert(&step.path, place.clone());
                directories.push((step, place.clone()));
            }
        }
        if alone {
            operations.extend(operation(step, number, &open, &place)?);
        }
    }
    for (step, place) in directories.iter().rev() {
        if let Some(now) = &step.now {
            stage.finish_directory(&step.path, place, now)?;
        }
    }
    rustix::fs::syncfs(&open).on("write back", staging.as_bytes())?;
    Ok(operations)
}

fn operation(
    step: &Step,
    number: u64,
    staging: &OwnedFd,
    place: &[u8],
) -> Result<Option<Operation>, Error> {
    let path = Name(step.path.clone());
    let staged = || -> Result<u64, Error> {
        let found = disk::look(staging, place).on("look at", place)?;
        Ok(found.ok_or(Errno::NOENT).on("look at", place)?.stx_ino)
    };
    Ok(match (step.action, &step.now, &step.before) {
        (Action::Add, ..) => Some(Operation::Add {
            path,
            number,
            staged: staged()?,
        }),
        (Action::Replace, _, Some(before)) => Some(Operation::Replace {
            path,
            number,
            staged: staged()?,
            before: identity(before),
        }),
        (Action::Delete, _, Some(before)) => Some(Operation::Delete {
            path,
            number,
            before: identity(before),
        }),
        (Action::Mode, Some(now), Some(before)) => Some(Operation::Mode {
            path,
            before: disk::mode(before),
            after: mode_to_give(now).bits(),
        }),
        _ => None,
    })
}

fn identity(found: &Statx) -> Identity {
    let modified = (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec);
    Identity {
        inode: found.stx_ino,
        modified,
        size: found.stx_size,
    }
}

/// The directory and the name of the staging directory in it.
struct Work<'a> {
    target: &'a OwnedFd,
    staging: &'a str,
}

/// The directory that holds a path, and the path's last name.
struct Spot<'a> {
    parent: OwnedFd,
    name: &'a [u8],
    path: &'a [u8],
}

impl Spot<'_> {
    fn found(&self) -> Result<Option<Statx>, Error> {
        Ok(disk::look(&self.parent, self.name).on("look at", self.path)?)
    }

    fn inode(&self) -> Result<Option<u64>, Error> {
        Ok(self.found()?.map(|found| found.stx_ino))
    }

    fn conflict(&self) -> Error {
        Error::Conflict {
            path: shown(self.path),
        }
    }
}

impl Work<'_> {
    fn staging(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        Ok(
            disk::beneath_same_mount(self.target, self.staging.as_bytes(), flags)
                .on("open", self.staging.as_bytes())?,
        )
    }

    fn spot<'p>(&self, path: &'p Name) -> Result<Spot<'p>, Error> {
        let (parent, name) = disk::split(&path.0);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        match disk::beneath_same_mount(self.target, parent, flags) {
            Ok(parent) => Ok(Spot {
                parent,
                name,
                path: &path.0,
            }),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Err(Error::Conflict {
                path: shown(&path.0),
            }),
            Err(errno) => Err(errno).on("open", parent)?,
        }
    }

    /// Does one operation unless it is done already.
    fn forward(&self, staging: &OwnedFd, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::Add {
                path,
                number,
                staged,
            } => {
                let spot = self.spot(path)?;
                if spot.inode()? == Some(*staged) {
                    return Ok(());
                }
                rename(staging, &number.to_string(), &spot, RenameFlags::NOREPLACE)
            }
            Operation::Replace {
                path,
                number,
                staged,
                before,
            } => {
                let spot = self.spot(path)?;
                let found = spot.found()?;
                if found.as_ref().is_some_and(|found| found.stx_ino == *staged) {
                    return Ok(());
                }
                if found.as_ref().map(identity) != Some(*before) {
                    return Err(spot.conflict());
                }
                let number = number.to_string();
                rename(staging, &number, &spot, RenameFlags::EXCHANGE)?;
                // Between the look and the exchange something else may have come there.
                let out = disk::look(staging, number.as_bytes()).on("look at", spot.path)?;
                if out.is_some_and(|out| out.stx_ino == before.inode) {
                    Ok(())
                } else {
                    Err(spot.conflict())
                }
            }
            Operation::Delete {
                path,
                number,
                before,
            } => self.delete(staging, (path, *number), before),
            Operation::Mode { path, after, .. } => self.mode(path, *after),
        }
    }

    fn delete(
        &self,
        staging: &OwnedFd,
        (path, number): (&Name, u64),
        before: &Identity,
    ) -> Result<(), Error> {
        let aside = format!("{number}.old");
        let moved = || disk::look(staging, aside.as_bytes()).on("look at", aside.as_bytes());
        if moved()?.is_some() {
            return Ok(());
        }
        let spot = self.spot(path)?;
        if spot.found()?.as_ref().map(identity) != Some(*before) {
            return Err(spot.conflict());
        }
        rustix::fs::renameat(&spot.parent, spot.name, staging, &aside).on("delete", spot.path)?;
        // Between the look and the rename something else may have come there.
        if moved()?.is_some_and(|out| out.stx_ino == before.inode) {
            Ok(())
        } else {
            Err(spot.conflict())
        }
    }

    fn mode(&self, path: &Name, mode: u32) -> Result<(), Error> {
        let spot = self.spot(path)?;
        match disk::directory(&spot.parent, spot.name) {
            Ok(open) => {
                Ok(rustix::fs::fchmod(open, Mode::from_raw_mode(mode))
                    .on("set mode of", spot.path)?)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(spot.conflict()),
            Err(errno) => Err(errno).on("open", spot.path)?,
        }
    }

    /// Undoes all operations that are done, the last first.
    fn undo(&self, mut journal: Journal, operations: &[Operation]) -> Result<(), Error> {
        let staging = self.staging()?;
        for operation in operations.iter().rev() {
            self.backward(&staging, operation)?;
        }
        journal.write(&[Line::Done])?;
        self.clear(journal)
    }

    fn backward(&self, staging: &OwnedFd, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::Add {
                path,
                number,
                staged,
            }
            | Operation::Replace {
                path,
                number,
                staged,
                ..
            } => {
                let Ok(spot) = self.spot(path) else {
                    return Ok(());
                };
                let number = number.to_string();
                if spot.inode()? != Some(*staged) {
                    return Ok(());
                }
                if let Operation::Replace { .. } = operation {
                    return rename(staging, &number, &spot, RenameFlags::EXCHANGE);
                }
                Ok(
                    rustix::fs::renameat(&spot.parent, spot.name, staging, number)
                        .on("take back", spot.path)?,
                )
            }
            Operation::Delete { path, number, .. } => {
                let aside = format!("{number}.old");
                if disk::look(staging, aside.as_bytes())
                    .on("look at", aside.as_bytes())?
                    .is_none()
                {
                    return Ok(());
                }
                let kept = || Error::Undo {
                    path: shown(&path.0),
                    kept: format!("{}/{aside}", self.staging),
                };
                let spot = self.spot(path).map_err(|_| kept())?;
                rename(staging, &aside, &spot, RenameFlags::NOREPLACE).map_err(
                    |error| match error {
                        Error::Conflict { .. } => kept(),
                        other => other,
                    },
                )
            }
            // The directory may have gone meanwhile: then there is nothing to set back.
            Operation::Mode { path, before, .. } => match self.mode(path, *before) {
                Err(Error::Conflict { .. }) => Ok(()),
                other => other,
            },
        }
    }

    /// Removes the staging directory, with what was replaced, then the journal.
    fn clear(&self, journal: Journal) -> Result<(), Error> {
        remove::remove_at(self.target, self.staging.as_bytes())?;
        journal.remove()
    }
}

/// Moves a staged name to its place.
fn rename(
    staging: impl AsFd,
    staged: &str,
    spot: &Spot<'_>,
    flags: RenameFlags,
) -> Result<(), Error> {
    match rustix::fs::renameat_with(staging, staged, &spot.parent, spot.name, flags) {
        Err(Errno::EXIST) => Err(spot.conflict()),
        Err(Errno::INVAL) => Err(Error::NoExchange {
            path: shown(spot.path),
        }),
        other => Ok(other.on("move into place", spot.path)?),
    }
}
