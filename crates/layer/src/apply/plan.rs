//! Deciding, change by change, what applying would do and what is refused.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, Statx};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::class::{self, Class};
use super::{Error, Options};
use crate::changes::{self, Change, Descend, Kind};
use crate::disk::{self, Context};
use crate::ids;

const MOST: usize = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Add,
    Replace,
    Delete,
    /// Of a directory alone.
    Mode,
}

/// One change of the directory.
#[derive(Debug)]
pub struct Step {
    /// Relative to the directory.
    pub path: Vec<u8>,
    pub action: Action,
    pub class: Class,
    pub refused: Option<String>,
    pub now: Option<Statx>,
    pub before: Option<Statx>,
}

impl Step {
    pub fn shown(&self) -> &Statx {
        self.now
            .as_ref()
            .or(self.before.as_ref())
            .expect("a step has one of both sides")
    }
}

/// All steps in the order in which they are done: a directory before what lies in it.
#[derive(Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// A digest of all that the plan rests on.
    pub name: String,
}

pub(super) fn make(options: &Options) -> Result<Plan, Error> {
    let here = disk::look_at(options.target()).on("look at", b".")?;
    let judge = Judge {
        options,
        mount: here.stx_mnt_id,
    };
    let mut steps: Vec<Step> = Vec::new();
    let mut classed: HashMap<Vec<u8>, Class> = HashMap::new();
    changes::walk::<Error>(&options.overlay, &mut |change| {
        // The upper's own directory was made by the caller.
        if change.path.is_empty() {
            return Ok(Descend::Yes);
        }
        let mut step = judge.step(change)?;
        // A directory takes what lies in it along, whatever that is called.
        if let (Class::Normal, Some(class)) = (step.class, classed.get(disk::split(&step.path).0)) {
            step.class = *class;
        }
        if step.class != Class::Normal {
            classed.insert(step.path.clone(), step.class);
        }
        // What lies in a directory that is refused cannot go anywhere.
        let descend = if step.refused.is_some() {
            Descend::No
        } else {
            Descend::Yes
        };
        steps.push(step);
        if steps.len() > MOST {
            Err(Error::TooMany(MOST))
        } else {
            Ok(descend)
        }
    })?;
    let name = name(&steps);
    Ok(Plan { steps, name })
}

fn name(steps: &[Step]) -> String {
    let mut sum = Sha256::new();
    for step in steps {
        let identity = |found: &Option<Statx>| {
            found.as_ref().map(|found| {
                (
                    found.stx_ino,
                    found.stx_mode,
                    found.stx_size,
                    disk::changed(found),
                )
            })
        };
        let (now, before) = (identity(&step.now), identity(&step.before));
        let line = format!(
            "{:?} {:?} {:?} {:?} {now:?} {before:?}\n",
            step.path, step.action, step.class, step.refused
        );
        sum.update(line);
    }
    sum.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

struct Judge<'a> {
    options: &'a Options,
    mount: u64,
}

impl Judge<'_> {
    fn step(&self, change: &Change<'_>) -> Result<Step, Error> {
        let directory = |found: &Statx| disk::kind(found) == FileType::Directory;
        let action = match (change.kind, &change.now, &change.before) {
            (Kind::Deleted, ..) => Action::Delete,
            (_, Some(now), Some(before)) if directory(now) && directory(before) => Action::Mode,
            (_, _, Some(_)) => Action::Replace,
            _ => Action::Add,
        };
        let mut step = Step {
            path: change.path.to_vec(),
            action,
            class: self.class(change.path),
            refused: None,
            now: change.now,
            before: change.before,
        };
        step.refused = match self.refusal_of_upper(&step)? {
            Some(reason) => Some(reason),
            None => self.refusal_of_host(&mut step)?,
        };
        Ok(step)
    }

    fn class(&self, path: &[u8]) -> Class {
        let class = class::of(path);
        let (parent, name) = disk::split(path);
        let has = |name: &[u8]| {
            [&self.options.overlay.upper, self.options.target()].iter().any(|root| {
                disk::directory(root, parent).is_ok_and(|dir| {
                    matches!(disk::look(dir, name), Ok(Some(found)) if disk::kind(&found) == FileType::Directory)
                })
            })
        };
        if class == Class::Normal && class::is_bare_repository(has, name) {
            Class::Git
        } else {
            class
        }
    }

    /// Why what the container made is not wanted.
    fn refusal_of_upper(&self, step: &Step) -> Result<Option<String>, Error> {
        let Some(now) = &step.now else {
            return Ok(None);
        };
        let kept = step.before.as_ref().map_or(0, disk::mode);
        let kind = disk::kind(now);
        let refused = match kind {
            FileType::RegularFile if disk::mode(now) & 0o6000 != 0 => {
                Some("it has a setuid or setgid bit")
            }
            FileType::Directory
                if disk::mode(now) & !kept & 0o6000 != 0 && !self.inherits(step)? =>
            {
                Some("it has a setuid or setgid bit")
            }
            FileType::RegularFile | FileType::Directory => None,
            FileType::Symlink => return self.refusal_of_link(step),
            FileType::Fifo => Some("it is a FIFO"),
            FileType::Socket => Some("it is a socket"),
            FileType::CharacterDevice | FileType::BlockDevice => Some("it is a device"),
            FileType::Unknown => Some("its type is unknown"),
        };
        if refused.is_some() {
            return Ok(refused.map(str::to_owned));
        }
        let file = self
            .open(&self.options.overlay.upper, &step.path)
            .on("open", &step.path)?;
        let (action, marks) = ("read attributes of", self.options.overlay.marks);
        if disk::attribute(&file, &disk::show(ids::CAPABILITY))
            .on(action, &step.path)?
            .is_some()
        {
            return Ok(Some("it has file capabilities".to_owned()));
        }
        if let Some(mark) = marks.foreign(&file).on(action, &step.path)? {
            return Ok(Some(format!("its content lies elsewhere ({mark})")));
        }
        let copied = step.before.is_none() && marks.is_copied_up(&file).on(action, &step.path)?;
        Ok(copied.then(|| "it vanished on the host meanwhile".to_owned()))
    }

    /// A new directory has the setgid bit of the one that it lies in.
    fn inherits(&self, step: &Step) -> Result<bool, Error> {
        let now = step.now.as_ref().map_or(0, disk::mode);
        let mut parent = disk::split(&step.path).0;
        loop {
            match disk::directory(self.options.target(), parent) {
                Ok(open) => {
                    let found = disk::look_at(open).on("look at", parent)?;
                    return Ok(now & 0o4000 == 0 && disk::mode(&found) & 0o2000 != 0);
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !parent.is_empty() => {
                    parent = disk::split(parent).0
                }
                Err(errno) => return Err(errno).on("open", parent)?,
            }
        }
    }

    fn refusal_of_link(&self, step: &Step) -> Result<Option<String>, Error> {
        if self.options.outward_links {
            return Ok(None);
        }
        let (parent, name) = disk::split(&step.path);
        let upper = disk::directory(&self.options.overlay.upper, parent).on("open", parent)?;
        let target = rustix::fs::readlinkat(upper, name, Vec::new()).on("read link", &step.path)?;
        let depth = if parent.is_empty() {
            0
        } else {
            parent.split(|byte| *byte == b'/').count()
        };
        Ok(leads_outwards(target.to_bytes(), depth).then(|| {
            format!(
                "it is a symbolic link that leads outside, to {:?}",
                disk::show(target.to_bytes())
            )
        }))
    }

    fn open(&self, root: &OwnedFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        disk::beneath(
            root,
            path,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY,
        )
    }

    /// Why what stands on the host is not to be touched; a deletion takes the class of what lies in it.
    fn refusal_of_host(&self, step: &mut Step) -> Result<Option<String>, Error> {
        let parent = disk::split(&step.path).0;
        // A file or link on the way is one that an earlier step replaces.
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if matches!(
            disk::beneath_same_mount(self.options.target(), parent, flags),
            Err(Errno::XDEV)
        ) {
            return Ok(Some("it lies in another mount".to_owned()));
        }
        let Some(before) = step.before else {
            return Ok(None);
        };
        if before.stx_mnt_id != self.mount {
            return Ok(Some("it is a mount point".to_owned()));
        }
        if disk::changed(&before) > self.options.since {
            return Ok(Some("it was changed on the host meanwhile".to_owned()));
        }
        if disk::kind(&before) == FileType::Directory && step.action != Action::Mode {
            return self.whole(&step.path.clone(), &mut step.class);
        }
        Ok(None)
    }

    /// Looks at all that goes with a directory.
    fn whole(&self, path: &[u8], class: &mut Class) -> Result<Option<String>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let open = match disk::beneath_same_mount(self.options.target(), path, flags) {
            Ok(open) => open,
            Err(Errno::XDEV) => {
                return Ok(Some(format!(
                    "a mount lies in it at {:?}",
                    disk::show(path)
                )));
            }
            Err(errno) => return Err(errno).on("open", path)?,
        };
        for name in disk::names(&open).on("list", path)? {
            let whole = disk::join(path, &name.bytes);
            if *class == Class::Normal {
                *class = class::of(&whole);
            }
            let Some(found) = disk::look(&open, &name.bytes).on("look at", &whole)? else {
                continue;
            };
            if disk::changed(&found) > self.options.since || found.stx_mnt_id != self.mount {
                return Ok(Some(format!(
                    "{:?} in it was changed on the host meanwhile",
                    disk::show(&whole)
                )));
            }
            if disk::kind(&found) == FileType::Directory
                && let Some(reason) = self.whole(&whole, class)?
            {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }
}

/// Whether a link in a directory that many levels deep leaves the top, or might: `a/..` depends on what `a` is.
fn leads_outwards(target: &[u8], depth: usize) -> bool {
    let mut ups = 0;
    let mut down = false;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if down => return true,
            b".." => ups += 1,
            _ => down = true,
        }
    }
    target.starts_with(b"/") || ups > depth
}

/// The mode that applying gives: permission bits, and the sticky or setgid bit of directories.
pub(super) fn mode_to_give(now: &Statx) -> Mode {
    let kept = if disk::kind(now) == FileType::Directory {
        0o3777
    } else {
        0o777
    };
    Mode::from_raw_mode(disk::mode(now) & kept)
}

#[cfg(test)]
mod tests {
    use super::leads_outwards;

    #[test]
    fn links_stay_inside_or_are_called_outward() {
        for (target, depth, outward) in [
            (&b"file"[..], 0, false),
            (b"../file", 1, false),
            (b"../file", 0, true),
            (b"./../../x", 2, false),
            (b"a/../b", 5, true),
            (b"/etc/passwd", 9, true),
        ] {
            assert_eq!(
                leads_outwards(target, depth),
                outward,
                "{}",
                String::from_utf8_lossy(target)
            );
        }
    }
}
