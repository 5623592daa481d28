//! `apply plan`, `apply run` and `apply recover`.

use std::path::PathBuf;

use lexopt::prelude::*;

use super::{Error, Lines, Result, Shown, needed, number, one, type_name};
use crate::apply::{self, Action, Class, Options, Outcome, Plan, Run, Step};
use crate::changes::Overlay;
use crate::disk;
use crate::overlay::Marks;

#[derive(serde::Serialize)]
struct Line {
    #[serde(flatten)]
    path: Shown,
    action: Action,
    #[serde(rename = "type")]
    file_type: &'static str,
    size: u64,
    class: Class,
    refused: Option<String>,
}

#[derive(Default, serde::Serialize)]
struct Summary {
    plan: String,
    add: u64,
    replace: u64,
    delete: u64,
    mode: u64,
    bytes: u64,
    refused: u64,
    git: u64,
    startup: u64,
    printed: u64,
    truncated: bool,
}

#[derive(serde::Serialize)]
struct Recovered {
    outcome: Outcome,
}

#[derive(Default)]
struct Arguments {
    upper: Option<PathBuf>,
    directory: Option<PathBuf>,
    since: Option<i128>,
    marks: Marks,
    outward_links: bool,
    max: Option<u64>,
    journal: Option<PathBuf>,
    uid: Option<u32>,
    gid: Option<u32>,
    run: Run,
}

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let verb = match arguments.next()? {
        Some(Value(verb)) => verb,
        _ => return Err(Error::Usage("apply takes plan, run or recover".to_owned())),
    };
    let mut lines = Lines::new();
    match verb.to_str() {
        Some("plan") => {
            let parsed = parse(arguments, true)?;
            let max = parsed.max.unwrap_or(10_000);
            print_plan(&mut lines, &apply::plan(&options(&parsed)?)?, max)?;
        }
        Some("run") => {
            let mut parsed = parse(arguments, false)?;
            let options = options(&parsed)?;
            parsed.run.journal = needed(parsed.journal.take(), "--journal")?;
            parsed.run.owner = match (parsed.uid, parsed.gid) {
                (Some(uid), Some(gid)) => Some((uid, gid)),
                (None, None) => None,
                _ => return Err(Error::Usage("--uid and --gid go together".to_owned())),
            };
            lines.put(&apply::run(&options, &parsed.run)?)?;
        }
        Some("recover") => lines.put(&Recovered {
            outcome: apply::recover(&one(arguments, "the journal")?)?,
        })?,
        _ => {
            return Err(Error::Usage(format!(
                "apply takes plan, run or recover, not {verb:?}"
            )));
        }
    }
    lines.end()
}

fn parse(mut arguments: lexopt::Parser, plan: bool) -> Result<Arguments> {
    let mut parsed = Arguments::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("upper") => parsed.upper = Some(arguments.value()?.into()),
            Long("dir") => parsed.directory = Some(arguments.value()?.into()),
            Long("since") => parsed.since = Some(instant(&arguments.value()?.string()?)?),
            Long("userxattr") => parsed.marks = Marks::User,
            Long("allow") => match arguments.value()?.string()?.as_str() {
                "outward-links" => parsed.outward_links = true,
                other => {
                    return Err(Error::Usage(format!(
                        "--allow takes outward-links, not {other:?}"
                    )));
                }
            },
            Long("max") if plan => parsed.max = Some(number(arguments.value()?, "--max")?),
            Long("journal") if !plan => parsed.journal = Some(arguments.value()?.into()),
            Long("plan") if !plan => parsed.run.plan = Some(arguments.value()?.string()?),
            Long("include") if !plan => parsed
                .run
                .include
                .extend(classes(&arguments.value()?.string()?)?),
            Long("skip-refused") if !plan => parsed.run.skip_refused = true,
            Long("uid") if !plan => parsed.uid = Some(number(arguments.value()?, "--uid")?),
            Long("gid") if !plan => parsed.gid = Some(number(arguments.value()?, "--gid")?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(parsed)
}

fn options(parsed: &Arguments) -> Result<Options> {
    let directory = needed(parsed.directory.clone(), "--dir")?;
    let upper = disk::root(&needed(parsed.upper.clone(), "--upper")?)?;
    let since = needed(parsed.since, "--since")?;
    let overlay = Overlay {
        upper,
        lowers: vec![disk::root(&directory)?],
        marks: parsed.marks,
    };
    Ok(Options {
        overlay,
        directory,
        since,
        outward_links: parsed.outward_links,
    })
}

fn classes(text: &str) -> Result<Vec<Class>> {
    let class = |word: &str| match word {
        "git" => Ok(Class::Git),
        "startup" => Ok(Class::Startup),
        other => Err(Error::Usage(format!(
            "--include takes git and startup, not {other:?}"
        ))),
    };
    text.split(',').map(class).collect()
}

/// `SECONDS[.FRACTION]` as nanoseconds.
fn instant(text: &str) -> Result<i128> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let bad = || Error::Usage(format!("--since takes SECONDS.NANOSECONDS, not {text:?}"));
    if seconds.is_empty() || !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return Err(bad());
    }
    let seconds: i64 = seconds.parse().map_err(|_| bad())?;
    let nanoseconds: i128 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
    Ok(i128::from(seconds) * 1_000_000_000 + nanoseconds)
}

fn print_plan(lines: &mut Lines, plan: &Plan, max: u64) -> Result<()> {
    let mut summary = Summary {
        plan: plan.name.clone(),
        ..Summary::default()
    };
    let refused = plan.steps.iter().filter(|step| step.refused.is_some());
    for step in refused.chain(plan.steps.iter().filter(|step| step.refused.is_none())) {
        count(&mut summary, step);
        if summary.printed == max {
            summary.truncated = true;
            continue;
        }
        summary.printed += 1;
        let directory = disk::kind(step.shown()) == rustix::fs::FileType::Directory;
        lines.put(&Line {
            path: Shown::new(&step.path),
            action: step.action,
            file_type: type_name(step.shown()),
            size: if directory { 0 } else { step.shown().stx_size },
            class: step.class,
            refused: step.refused.clone(),
        })?;
    }
    lines.put(&summary)
}

fn count(summary: &mut Summary, step: &Step) {
    if step.refused.is_some() {
        summary.refused += 1;
        return;
    }
    match step.action {
        Action::Add => summary.add += 1,
        Action::Replace => summary.replace += 1,
        Action::Delete => summary.delete += 1,
        Action::Mode => summary.mode += 1,
    }
    match step.class {
        Class::Normal => {}
        Class::Git => summary.git += 1,
        Class::Startup => summary.startup += 1,
    }
    if let Some(now) = &step.now
        && disk::kind(now) == rustix::fs::FileType::RegularFile
    {
        summary.bytes += now.stx_size;
    }
}
