//! The way of a container's changes back into a host directory: planned, refused where it would do harm, journaled.
//!
//! Nothing is written outside the directory and nothing through a link. New content is staged in a directory of our own
//! inside it, then moved into place by renames, each of which can be told done or not by inode numbers; what it
//! replaces is kept until the end. So after a cut the journal says whether to finish or to undo, and either can itself
//! be cut and taken up again. Phases: staging → committed → done, or committed → undoing → undone.

mod class;
mod journal;
mod perform;
mod plan;
mod stage;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::changes::Overlay;
use crate::disk;

pub use class::Class;
pub use perform::{Outcome, recover};
pub use plan::{Action, Plan, Step};

/// What to apply, and what the caller allows.
#[derive(Debug)]
pub struct Options {
    /// The upper directory and, as the only lower one, the directory itself.
    pub overlay: Overlay,
    pub directory: PathBuf,
    /// Nanoseconds since 1970: what the host changed later is not overwritten.
    pub since: i128,
    pub outward_links: bool,
}

impl Options {
    pub(crate) fn target(&self) -> &OwnedFd {
        &self.overlay.lowers[0]
    }
}

/// How to run a plan.
#[derive(Debug, Default)]
pub struct Run {
    pub journal: PathBuf,
    pub plan: Option<String>,
    pub include: Vec<Class>,
    pub skip_refused: bool,
    /// User and group of what is written.
    pub owner: Option<(u32, u32)>,
}

#[derive(Debug, Default, serde::Serialize)]
pub struct Applied {
    pub applied: u64,
    pub left_out: u64,
    pub refused: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{count} changes are refused, the first is {path:?}: {reason}")]
    Refused {
        count: u64,
        path: String,
        reason: String,
    },
    #[error("the plan is {found} now, not {expected}")]
    OtherPlan { found: String, expected: String },
    #[error("{path:?} was changed on the host meanwhile; nothing was applied")]
    Conflict { path: String },
    #[error("the file system cannot exchange {path:?} for its new content; nothing was applied")]
    NoExchange { path: String },
    #[error("more than {0} changes")]
    TooMany(usize),
    #[error("the journal {path:?}")]
    Journal {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the journal {path:?} is in use: its run goes on")]
    Busy { path: PathBuf },
    #[error("the journal {path:?} is none: {reason}")]
    Malformed { path: PathBuf, reason: &'static str },
    #[error("copy {path:?}")]
    Copy {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "undoing stopped at {path:?}, which something else took; what stood there is kept in {kept:?}"
    )]
    Undo { path: String, kept: String },
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

impl Error {
    /// Whether this is a refusal, not a failure: nothing was changed, and the caller may decide anew.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Error::Refused { .. } | Error::OtherPlan { .. } | Error::Conflict { .. }
        )
    }
}

/// Plans what applying would do; nothing is touched.
pub fn plan(options: &Options) -> Result<Plan, Error> {
    plan::make(options)
}

/// Applies, or changes nothing.
pub fn run(options: &Options, run: &Run) -> Result<Applied, Error> {
    let plan = plan::make(options)?;
    if let Some(expected) = &run.plan
        && *expected != plan.name
    {
        return Err(Error::OtherPlan {
            found: plan.name,
            expected: expected.clone(),
        });
    }
    if let Some(first) = plan
        .steps
        .iter()
        .find(|step| step.refused.is_some() && !run.skip_refused)
    {
        let count = plan
            .steps
            .iter()
            .filter(|step| step.refused.is_some())
            .count() as u64;
        let reason = first.refused.clone().unwrap_or_default();
        return Err(Error::Refused {
            count,
            path: disk::show(&first.path).into_owned(),
            reason,
        });
    }
    let mut counts = Applied::default();
    let mut taken = Vec::new();
    for step in &plan.steps {
        if step.refused.is_some() {
            counts.refused += 1;
        } else if step.class != Class::Normal && !run.include.contains(&step.class) {
            counts.left_out += 1;
        } else {
            counts.applied += 1;
            taken.push(step);
        }
    }
    perform::run(options, run, &taken)?;
    Ok(counts)
}

/// A path relative to the directory, for messages.
fn shown(path: &[u8]) -> String {
    disk::show(path).into_owned()
}

fn journal_error(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Journal {
        path: path.clone(),
        source,
    }
}
