use spec::Status;

use super::{PLAIN, id};
use crate::args::Args;
use crate::cli::{Context, Verb};
use crate::error::Error;

pub const PAUSE: Verb = Verb {
    name: "pause",
    about: "stop every process of a container where it is",
    run: pause,
    ..PLAIN
};
pub const RESUME: Verb = Verb {
    name: "resume",
    about: "let a paused container go on",
    run: resume,
    ..PLAIN
};

fn pause(context: &Context, args: &Args) -> Result<u8, Error> {
    let locked = context.store()?.lock(&id(args))?;
    let container = context.store()?.find(&id(args))?;
    match container.status() {
        Status::Running | Status::Created => container.record.cgroup.freeze()?,
        _ => return Err(Error::NotRunning),
    }
    drop(locked);
    Ok(0)
}

fn resume(context: &Context, args: &Args) -> Result<u8, Error> {
    let locked = context.store()?.lock(&id(args))?;
    let container = context.store()?.find(&id(args))?;
    match container.status() {
        Status::Paused => container.record.cgroup.thaw()?,
        _ => return Err(Error::NotPaused),
    }
    drop(locked);
    Ok(0)
}
