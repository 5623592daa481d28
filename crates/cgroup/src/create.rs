//! Directories are made, then limits written, before any process is inside.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use spec::Resources;

use crate::devices::{self, Rule};
use crate::file::Sink;
use crate::setting::Setting;
use crate::{Cgroup, Dir, Error, Layout, Warning, ebpf, file, v1, v2};

/// The kernel's bound for programs on one cgroup is 64; more than a few of ours are a sign of something else.
const OWN_PROGRAMS: usize = 1;

/// A cgroup that was made and has no process in it yet.
#[derive(Debug)]
pub struct Created {
    /// Held until one is inside: meanwhile nobody else takes the place, which looks free.
    pub claim: Claim,
    pub warnings: Vec<Warning>,
}

/// A lock on the first of the directories; nothing where there is none.
#[derive(Debug)]
#[must_use]
pub struct Claim {
    _locked: Option<fs::File>,
}

impl Cgroup {
    /// Makes the directories and writes the limits. Of several at once one gets the place, the others [`Error::Busy`]: what
    /// stands there is then not theirs to remove.
    ///
    /// A limit that cannot be held is an error that names it; what was made until then is the caller's to
    /// [`remove`](Cgroup::remove). Where this process may not write (an ordinary user without delegation) and no limit was
    /// asked, the container runs in its caller's cgroup, and a warning says so.
    pub fn create(&self, resources: &Resources) -> Result<Created, Error> {
        let mut warnings = Vec::new();
        let mut claim = Claim { _locked: None };
        let rules = devices::rules(&resources.devices)?;
        let settings = self.settings(resources, true, &mut warnings)?;
        if self.layout == Layout::Absent {
            return match settings.first() {
                Some(setting) => Err(Error::NoHierarchy(setting.what.clone())),
                None => Ok(Created { claim, warnings }),
            };
        }
        for dir in self.all() {
            let needed = settings
                .iter()
                .find(|setting| self.holder(setting.controller) == Some(dir));
            if needed.is_some() || !dir.on_demand {
                make(dir, needed, &mut warnings)?;
                if claim._locked.is_none() {
                    claim = Claim::of(dir)?;
                }
            }
        }
        self.enable_controllers(&settings)?;
        for setting in &settings {
            self.apply(setting)?;
        }
        self.write_devices(&rules, &mut warnings)?;
        Ok(Created { claim, warnings })
    }

    /// Everything to be written for `resources`, in order; `fresh`: nothing is in force yet.
    pub(crate) fn settings(
        &self,
        resources: &Resources,
        fresh: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<Setting>, Error> {
        if self.layout == Layout::V2 {
            let held = || match self.file("cpu", "", "cpu.max") {
                Some(path) if !fresh => Ok(file::optional(&path)?.unwrap_or_default()),
                _ => Ok(String::new()),
            };
            return v2::settings(resources, held, warnings);
        }
        let mut list = v1::settings(resources, warnings)?;
        if let Some(memory) = &resources.memory {
            let held = || match self.file("memory", "memory.memsw.limit_in_bytes", "") {
                Some(path) if !fresh => file::number(&path),
                _ => Ok(u64::MAX),
            };
            list.extend(v1::memory_pair(memory, held)?);
        }
        Ok(list)
    }

    pub(crate) fn apply(&self, setting: &Setting) -> Result<(), Error> {
        let dir = self
            .holder(setting.controller)
            .ok_or_else(|| not_mounted(setting))?;
        if dir.controllers.is_empty()
            && !controllers(&dir.dir())?
                .iter()
                .any(|name| name == setting.controller)
        {
            return Err(not_mounted(setting));
        }
        setting.apply(&dir.dir())
    }

    /// v2: every directory from the mount down to the parent hands on what the container's directory needs.
    fn enable_controllers(&self, settings: &[Setting]) -> Result<(), Error> {
        let Some(dir) = self.v2.as_ref().filter(|dir| dir.exists()) else {
            return Ok(());
        };
        let mut level = dir.mount.clone();
        for component in dir.path.components() {
            let available = controllers(&level)?;
            let enabled = file::read(&level.join("cgroup.subtree_control"))?;
            for controller in &available {
                if !enabled.split_whitespace().any(|name| name == controller) {
                    let enabled = file::write(
                        &level.join("cgroup.subtree_control"),
                        &format!("+{controller}"),
                    );
                    // Accounting alone is worth a try; a limit is worth an error.
                    if settings
                        .iter()
                        .any(|setting| setting.controller == controller)
                    {
                        enabled?;
                    }
                }
            }
            level.push(component);
        }
        Ok(())
    }

    /// Replaces the device rules in force.
    pub(crate) fn write_devices(
        &self,
        rules: &[Rule],
        warnings: &mut Vec<Warning>,
    ) -> Result<(), Error> {
        let v1 = self
            .v1
            .iter()
            .find(|dir| dir.controllers.iter().any(|name| name == "devices"));
        if let Some(dir) = v1 {
            let path = dir.dir();
            return if path.exists() {
                write_lines(&path, rules, warnings)
            } else {
                Ok(())
            };
        }
        let Some(dir) = self
            .v2
            .as_ref()
            .filter(|dir| self.layout == Layout::V2 && dir.exists())
        else {
            return Ok(());
        };
        match attach(&dir.dir(), rules) {
            Err(Error::Devices { path, source })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                warnings.push(Warning::DevicesSkipped {
                    path,
                    reason: source.to_string(),
                });
                Ok(())
            }
            done => done,
        }
    }
}

/// v1: a rule that allows more than the cgroup above is refused by the kernel and stays refused, which is the safe side;
/// one that denies can only be missing where this process is nobody in particular.
fn write_lines(path: &Path, rules: &[Rule], warnings: &mut Vec<Warning>) -> Result<(), Error> {
    let mut sinks = [None, None];
    for (allow, line) in devices::v1_lines(rules)? {
        match tell(&mut sinks[usize::from(allow)], path, (allow, &line)) {
            Err(Error::Write { source, .. }) if allow && may_not(&source) => {
                warnings.push(Warning::DeviceNotAllowed { rule: line });
            }
            Err(Error::Write { source, .. } | Error::Open { source, .. })
                if may_not(&source) && !rustix::process::geteuid().is_root() =>
            {
                warnings.push(Warning::DevicesSkipped {
                    path: path.to_owned(),
                    reason: source.to_string(),
                });
                return Ok(());
            }
            done => done?,
        }
    }
    Ok(())
}

/// Each of the two files is opened once, when it is first needed.
fn tell(sink: &mut Option<Sink>, path: &Path, (allow, line): (bool, &str)) -> Result<(), Error> {
    let name = if allow {
        "devices.allow"
    } else {
        "devices.deny"
    };
    let sink = match sink {
        Some(sink) => sink,
        None => sink.insert(Sink::open(path.join(name))?),
    };
    sink.write(line)
}

/// Attaches the program of `rules` in the place of the one that this function attached before.
fn attach(path: &Path, rules: &[Rule]) -> Result<(), Error> {
    let fail = |source| Error::Devices {
        path: path.to_owned(),
        source,
    };
    let dir = fs::File::open(path).map_err(fail)?;
    let program = sys::load_device_program(&ebpf::program(rules)).map_err(fail)?;
    let mut before = sys::device_programs(dir.as_fd()).map_err(fail)?;
    let replaced = if before.len() == OWN_PROGRAMS {
        before.pop()
    } else {
        None
    };
    sys::attach_device_program(
        dir.as_fd(),
        program.as_fd(),
        replaced.as_ref().map(AsFd::as_fd),
    )
    .map_err(fail)?;
    for other in before {
        sys::detach_device_program(dir.as_fd(), other.as_fd()).map_err(fail)?;
    }
    Ok(())
}

fn not_mounted(setting: &Setting) -> Error {
    let state = "absent or not handed on to this place";
    Error::NoController {
        what: setting.what.clone(),
        controller: setting.controller,
        state,
    }
}

fn controllers(dir: &Path) -> Result<Vec<String>, Error> {
    Ok(file::read(&dir.join("cgroup.controllers"))?
        .split_whitespace()
        .map(str::to_owned)
        .collect())
}

impl Claim {
    /// Of a directory that stands; one that could not be made is nobody's.
    fn of(dir: &Dir) -> Result<Claim, Error> {
        let path = dir.dir();
        let file = match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Claim { _locked: None });
            }
            opened => opened,
        };
        let file = file.map_err(|source| Error::Open {
            path: path.clone(),
            source,
        })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(Error::Busy(path)),
            locked => locked.map_err(|errno| Error::Open {
                path: path.clone(),
                source: errno.into(),
            })?,
        }
        // Whoever had it before may have gone in since we looked.
        refuse_held(path)?;
        Ok(Claim {
            _locked: Some(file),
        })
    }
}

fn refuse_held(path: PathBuf) -> Result<(), Error> {
    match file::optional(&path.join("cgroup.procs"))? {
        Some(text) if !text.is_empty() => Err(Error::Busy(path)),
        _ => Ok(()),
    }
}

/// Makes a directory and its missing parents. It must be ours alone: an existing one may not hold processes.
pub(crate) fn make(
    dir: &Dir,
    needed: Option<&Setting>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    let path = dir.dir();
    let builder = |recursive| {
        DirBuilder::new()
            .mode(0o755)
            .recursive(recursive)
            .create(&path)
    };
    let made = builder(false).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => builder(true),
        _ => Err(error),
    });
    match made {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            refuse_held(path)?;
        }
        Err(source) if may_not(&source) => {
            if let Some(setting) = needed {
                let what = setting.what.clone();
                return Err(Error::NotOurs { what, path, source });
            }
            if warnings.is_empty() {
                let reason = source.to_string();
                warnings.push(Warning::NoCgroup { path, reason });
            }
            return Ok(());
        }
        Err(source) => return Err(Error::Make { path, source }),
    }
    if dir.controllers.iter().any(|name| name == "cpuset") {
        fill_cpuset(dir)?;
    }
    Ok(())
}

fn may_not(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// v1: a cpuset without processors or memory nodes takes no process, so empty ones on the way get their parent's.
fn fill_cpuset(dir: &Dir) -> Result<(), Error> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let mut level = dir.mount.clone();
        let mut above = None;
        for component in dir.path.components() {
            let parent = level.join(name);
            level.push(component);
            let path = level.join(name);
            if file::read(&path)?.trim().is_empty() {
                let value = above.take().map_or_else(|| file::read(&parent), Ok)?;
                file::write(&path, value.trim())?;
                above = Some(value);
            }
        }
    }
    Ok(())
}
