//! `changes`.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use lexopt::prelude::*;
use rustix::fs::FileType;

use super::{Error, Lines, Result, Shown, number, type_name};
use crate::changes::{self, Change, Descend, Kind, Overlay};
use crate::disk;
use crate::overlay::Marks;

#[derive(serde::Serialize)]
struct Line {
    #[serde(flatten)]
    path: Shown,
    kind: Kind,
    #[serde(rename = "type")]
    file_type: &'static str,
    size: u64,
    mode: u32,
}

#[derive(Default, serde::Serialize)]
struct Summary {
    added: u64,
    modified: u64,
    deleted: u64,
    /// Of the files that were added or modified.
    bytes: u64,
    printed: u64,
    truncated: bool,
}

#[derive(serde::Serialize)]
struct Last {
    summary: Summary,
}

/// One group of arguments.
#[derive(Default)]
struct Group {
    upper: Vec<u8>,
    lowers: Vec<Vec<u8>>,
    at: Option<Vec<u8>>,
}

impl Group {
    fn open(&self, marks: Marks) -> Result<(Overlay, &[u8])> {
        let open = |path: &Vec<u8>| disk::root(Path::new(std::ffi::OsStr::from_bytes(path)));
        let at = self
            .at
            .as_deref()
            .ok_or_else(|| Error::Usage("--at is missing after --upper".to_owned()))?;
        let lowers = self.lowers.iter().map(open).collect::<disk::Result<_>>()?;
        Ok((
            Overlay {
                upper: open(&self.upper)?,
                lowers,
                marks,
            },
            at,
        ))
    }
}

#[derive(Default)]
struct Options {
    groups: Vec<Group>,
    marks: Marks,
    hidden: Vec<Vec<u8>>,
    max: Option<u64>,
    summary: bool,
}

fn options(mut arguments: lexopt::Parser) -> Result<Options> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("upper") => options.groups.push(Group {
                upper: arguments.value()?.into_vec(),
                ..Group::default()
            }),
            Long("lower") => group(&mut options)?
                .lowers
                .push(arguments.value()?.into_vec()),
            Long("at") => group(&mut options)?.at = Some(arguments.value()?.into_vec()),
            Long("hide") => options.hidden.push(arguments.value()?.into_vec()),
            Long("max") => options.max = Some(number(arguments.value()?, "--max")?),
            Long("userxattr") => options.marks = Marks::User,
            Long("summary") => options.summary = true,
            other => return Err(other.unexpected().into()),
        }
    }
    if options.groups.is_empty() {
        return Err(Error::Usage("--upper is missing".to_owned()));
    }
    Ok(options)
}

fn group(options: &mut Options) -> Result<&mut Group> {
    options
        .groups
        .last_mut()
        .ok_or_else(|| Error::Usage("--upper comes first".to_owned()))
}

pub(super) fn run(arguments: lexopt::Parser) -> Result<()> {
    let options = options(arguments)?;
    let max = if options.summary {
        0
    } else {
        options.max.unwrap_or(10_000)
    };
    let mut report = Report {
        lines: Lines::new(),
        summary: Summary::default(),
        max,
    };
    for group in &options.groups {
        let (overlay, at) = group.open(options.marks)?;
        changes::walk::<Error>(&overlay, &mut |change| {
            let mut whole = at.strip_suffix(b"/").unwrap_or(at).to_vec();
            if !change.path.is_empty() || whole.is_empty() {
                whole.push(b'/');
                whole.extend_from_slice(change.path);
            }
            if !options.hidden.contains(&whole) {
                report.change(&whole, change)?;
            }
            Ok(Descend::Yes)
        })?;
    }
    report.summary.truncated = !options.summary && report.summary.truncated;
    report.lines.put(&Last {
        summary: report.summary,
    })?;
    report.lines.end()
}

struct Report {
    lines: Lines,
    summary: Summary,
    max: u64,
}

impl Report {
    fn change(&mut self, path: &[u8], change: &Change<'_>) -> Result<()> {
        let found = change.shown();
        let summary = &mut self.summary;
        match change.kind {
            Kind::Added => summary.added += 1,
            Kind::Modified => summary.modified += 1,
            Kind::Deleted => summary.deleted += 1,
        }
        if change.kind != Kind::Deleted && disk::kind(found) == FileType::RegularFile {
            summary.bytes += found.stx_size;
        }
        if summary.printed == self.max {
            summary.truncated = true;
            return Ok(());
        }
        summary.printed += 1;
        self.lines.put(&Line {
            path: Shown::new(path),
            kind: change.kind,
            file_type: type_name(found),
            size: if disk::kind(found) == FileType::Directory {
                0
            } else {
                found.stx_size
            },
            mode: disk::mode(found),
        })
    }
}
