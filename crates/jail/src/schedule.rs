//! How the kernel schedules the process and what it limits: scheduler, I/O priority, CPU affinity, rlimits, OOM score, personality.

use rustix::fs::{Mode, OFlags, openat};
use rustix::thread::{CpuSet, sched_setaffinity};
use spec::Process;
use sys::SchedAttr;

use crate::fault::{At, Outcome};
use crate::{Error, Stage};

const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

const IO_CLASSES: [(&str, u32); 3] = [
    ("IOPRIO_CLASS_RT", 1),
    ("IOPRIO_CLASS_BE", 2),
    ("IOPRIO_CLASS_IDLE", 3),
];

/// getrlimit(2)'s numbers.
const LIMITS: [(&str, u32); 16] = [
    ("RLIMIT_CPU", 0),
    ("RLIMIT_FSIZE", 1),
    ("RLIMIT_DATA", 2),
    ("RLIMIT_STACK", 3),
    ("RLIMIT_CORE", 4),
    ("RLIMIT_RSS", 5),
    ("RLIMIT_NPROC", 6),
    ("RLIMIT_NOFILE", 7),
    ("RLIMIT_MEMLOCK", 8),
    ("RLIMIT_AS", 9),
    ("RLIMIT_LOCKS", 10),
    ("RLIMIT_SIGPENDING", 11),
    ("RLIMIT_MSGQUEUE", 12),
    ("RLIMIT_NICE", 13),
    ("RLIMIT_RTPRIO", 14),
    ("RLIMIT_RTTIME", 15),
];

#[derive(Debug)]
struct Limit {
    name: String,
    number: u32,
    soft: u64,
    hard: u64,
}

#[derive(Debug)]
pub(crate) struct Plan {
    limits: Vec<Limit>,
    scheduler: Option<SchedAttr>,
    io_priority: Option<(u32, u32)>,
    oom_score: Option<i32>,
    personality: Option<u32>,
}

fn look_up<T: Copy>(table: &[(&str, T)], property: &str, name: &str) -> Result<T, Error> {
    let known = table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value);
    known.ok_or_else(|| Error::Invalid {
        property: property.into(),
        reason: format!("{name:?} is not known"),
    })
}

impl Plan {
    pub fn new(process: &Process, personality: Option<&spec::Personality>) -> Result<Plan, Error> {
        let io_priority = process.io_priority.as_ref().map(|priority| {
            let class = look_up(&IO_CLASSES, "process.ioPriority.class", &priority.class)?;
            match u32::try_from(priority.priority) {
                Ok(level @ 0..=7) => Ok((class, level)),
                _ => Err(Error::Invalid {
                    property: "process.ioPriority.priority".into(),
                    reason: format!("{} is not 0 to 7", priority.priority),
                }),
            }
        });
        Ok(Plan {
            limits: limits(&process.rlimits)?,
            scheduler: process.scheduler.as_ref().map(scheduler).transpose()?,
            io_priority: io_priority.transpose()?,
            oom_score: process.oom_score_adj,
            personality: personality.map(persona).transpose()?,
        })
    }

    /// Before process `pid`, or the calling one, leaves the caller's user: what the host's privileges decide. The answers are
    /// warnings.
    pub fn permit(&self, pid: Option<i32>) -> Outcome<Vec<String>> {
        let mut warnings = Vec::new();
        if let Some(score) = self.oom_score {
            warnings.extend(set_oom_score(pid, score)?);
        }
        for limit in &self.limits {
            warnings.extend(limit.raise(pid.unwrap_or(0))?);
        }
        Ok(warnings)
    }

    /// Scheduler and I/O priority of process `pid`, by the caller, which may have privileges that the process has not.
    pub fn schedule(&self, pid: i32) -> Outcome<()> {
        if let Some(scheduler) = self.scheduler {
            sys::set_scheduler(pid, scheduler).at(
                Stage::SetSchedule,
                format_args!("policy {}", scheduler.policy),
            )?;
        }
        if let Some((class, level)) = self.io_priority {
            sys::set_io_priority(pid, class, level).at(
                Stage::SetSchedule,
                format_args!("I/O class {class}, priority {level}"),
            )?;
        }
        Ok(())
    }

    /// In the process, when nothing of its own is left to do that could hit a limit.
    pub fn limit(&self) -> Outcome<()> {
        self.limits.iter().try_for_each(Limit::lower)
    }

    /// What only the process can do to itself.
    pub fn apply_personality(&self) -> Outcome<()> {
        let Some(persona) = self.personality else {
            return Ok(());
        };
        sys::set_personality(persona)
            .at(Stage::SetSecurity, format_args!("personality {persona:#x}"))
    }
}

fn limits(limits: &[spec::Rlimit]) -> Result<Vec<Limit>, Error> {
    let mut known: Vec<Limit> = Vec::with_capacity(limits.len());
    for limit in limits {
        let number = look_up(&LIMITS, "process.rlimits", &limit.kind)?;
        if known.iter().any(|before| before.number == number) {
            return Err(Error::Invalid {
                property: "process.rlimits".into(),
                reason: format!("{} is named twice", limit.kind),
            });
        }
        known.push(Limit {
            name: limit.kind.clone(),
            number,
            soft: limit.soft,
            hard: limit.hard,
        });
    }
    Ok(known)
}

impl Limit {
    fn subject(&self) -> String {
        let named = |number: u64| {
            if number == u64::MAX {
                "unlimited".into()
            } else {
                number.to_string()
            }
        };
        format!("{} to {}:{}", self.name, named(self.soft), named(self.hard))
    }

    /// A hard limit above the present one needs CAP_SYS_RESOURCE on the host; without it the present one stays, and that is said.
    fn raise(&self, pid: i32) -> Outcome<Option<String>> {
        let (soft, hard) =
            sys::resource_limit(pid, self.number).at(Stage::SetLimits, self.subject())?;
        if self.hard <= hard {
            return Ok(None);
        }
        match sys::set_resource_limit(pid, self.number, soft, self.hard) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(Some(format!(
                "{} was clamped to {hard}: the caller may not raise it",
                self.subject()
            ))),
            answer => answer.at(Stage::SetLimits, self.subject()).map(|()| None),
        }
    }

    /// Anyone may lower his limits.
    fn lower(&self) -> Outcome<()> {
        let (_, highest) =
            sys::resource_limit(0, self.number).at(Stage::SetLimits, self.subject())?;
        let (soft, hard) = (self.soft.min(highest), self.hard.min(highest));
        sys::set_resource_limit(0, self.number, soft, hard).at(Stage::SetLimits, self.subject())
    }
}

/// A score below the caller's own needs CAP_SYS_RESOURCE on the host; without it the caller's stays, and that is said.
fn set_oom_score(pid: Option<i32>, score: i32) -> Outcome<Option<String>> {
    let process = pid.map_or("self".to_owned(), |pid| pid.to_string());
    let path = format!("/proc/{process}/oom_score_adj");
    let subject = || format!("oom_score_adj {score}");
    let file = openat(
        rustix::fs::CWD,
        path,
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Stage::SetLimits, subject())?;
    match rustix::io::write(&file, score.to_string().as_bytes()) {
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
            let mut text = [0; 16];
            let length = rustix::io::pread(&file, &mut text, 0).at(Stage::SetLimits, subject())?;
            let present = String::from_utf8_lossy(&text[..length]).trim().to_owned();
            Ok(Some(format!(
                "{} was clamped to {present}: the caller may not lower it",
                subject()
            )))
        }
        answer => answer.at(Stage::SetLimits, subject()).map(|_| None),
    }
}

fn scheduler(spec: &spec::Scheduler) -> Result<SchedAttr, Error> {
    let number = |name: &str, value: i64| {
        u64::try_from(value).map_err(|_| Error::Invalid {
            property: format!("process.scheduler.{name}"),
            reason: format!("{value} is negative"),
        })
    };
    let flags = spec.flags.iter().try_fold(0, |flags, name| {
        Ok::<_, Error>(flags | look_up(&FLAGS, "process.scheduler.flags", name)?)
    })?;
    let out_of_range = |name: &str| Error::Invalid {
        property: format!("process.scheduler.{name}"),
        reason: "out of range".into(),
    };
    Ok(SchedAttr {
        policy: look_up(&POLICIES, "process.scheduler.policy", &spec.policy)?,
        flags,
        nice: i32::try_from(spec.nice).map_err(|_| out_of_range("nice"))?,
        priority: u32::try_from(spec.priority).map_err(|_| out_of_range("priority"))?,
        runtime: number("runtime", spec.runtime)?,
        deadline: number("deadline", spec.deadline)?,
        period: number("period", spec.period)?,
        ..SchedAttr::default()
    })
}

fn persona(spec: &spec::Personality) -> Result<u32, Error> {
    if let Some(flag) = spec.flags.first() {
        return Err(Error::Unserved {
            property: "linux.personality.flags".into(),
            reason: format!("{flag:?}: the specification defines none"),
        });
    }
    look_up(
        &[("LINUX", 0), ("LINUX32", 8)],
        "linux.personality.domain",
        &spec.domain,
    )
}

/// Puts the caller on the CPUs of a list such as `0-3,7`.
pub(crate) fn set_affinity(list: &str) -> Outcome<()> {
    let subject = || format!("CPUs {list}");
    let Some(cpus) = parse_cpus(list) else {
        return crate::fault::Fault::refuse(Stage::SetSchedule, subject(), "no list of CPUs");
    };
    let mut set = CpuSet::new();
    cpus.into_iter().for_each(|cpu| set.set(cpu));
    sched_setaffinity(None, &set).at(Stage::SetSchedule, subject())
}

fn parse_cpus(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse::<usize>().ok()?);
        if first > last || last >= CpuSet::MAX_CPU {
            return None;
        }
        cpus.extend(first..=last);
    }
    (!cpus.is_empty()).then_some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpus("0-2, 5"), Some(vec![0, 1, 2, 5]));
        for bad in ["", "a", "2-1", "0-99999", "-1"] {
            assert_eq!(parse_cpus(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_that_are_not_known_are_refused() {
        let twice = vec![
            spec::Rlimit {
                kind: "RLIMIT_CPU".into(),
                ..spec::Rlimit::default()
            };
            2
        ];
        assert!(limits(&twice).is_err());
        assert!(
            limits(&[spec::Rlimit {
                kind: "CPU".into(),
                ..spec::Rlimit::default()
            }])
            .is_err()
        );
        assert!(
            persona(&spec::Personality {
                domain: "BSD".into(),
                ..spec::Personality::default()
            })
            .is_err()
        );
    }
}
