use std::os::fd::AsFd;

use spec::{Hook, Spec, Status};

use super::{PLAIN, id};
use crate::args::Args;
use crate::cli::{Context, Verb};
use crate::container;
use crate::error::Error;
use crate::notify::Notify;
use crate::store::{self, Locked, Record};

pub const START: Verb = Verb {
    name: "start",
    about: "let a created container's process go",
    run: start,
    ..PLAIN
};

fn start(context: &Context, args: &Args) -> Result<u8, Error> {
    let locked = context.store()?.lock(&id(args))?;
    let found = context.store()?.find(&id(args))?;
    match found.status() {
        Status::Created => {}
        Status::Stopped => return Err(Error::StartStopped),
        Status::Running => return Err(Error::AlreadyRunning),
        status => return Err(Error::StartIn(status)),
    }
    let init = found.record.init.ok_or(Error::StartStopped)?;
    let hooks = poststart(&found.config()?);
    let notify = Notify::bind(&locked.notify(), Some(init.pid))?;
    let opened = jail::open_gate(&locked.gate(), init.pid, init.start_time);
    // From here on the container runs; a gate that is left would only be found shut.
    close(&locked)?;
    match opened {
        Ok(()) => after_start(&found.record, &hooks),
        Err(jail::Error::AlreadyStarted) => Err(Error::AlreadyRunning),
        Err(jail::Error::NotRunning) => Err(Error::StartStopped),
        Err(error) => Err(error.into()),
    }?;
    // Others may kill and delete it while it gets ready.
    drop(locked);
    if let (Some(notify), Some(pidfd)) = (notify, init.open()) {
        notify.until_ready(pidfd.as_fd())?;
    }
    Ok(0)
}

fn close(locked: &Locked) -> Result<(), Error> {
    match std::fs::remove_file(locked.gate()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(store::Error::Io {
            act: "remove",
            path: locked.gate(),
            source: error,
        }
        .into()),
        _ => Ok(()),
    }
}

pub fn poststart(spec: &Spec) -> Vec<Hook> {
    spec.hooks
        .as_ref()
        .map(|hooks| hooks.poststart.clone())
        .unwrap_or_default()
}

/// The `poststart` hooks; when one fails the container is stopped (runtime.md, "Lifecycle" 10).
pub fn after_start(record: &Record, hooks: &[Hook]) -> Result<(), Error> {
    if hooks.is_empty() {
        return Ok(());
    }
    let failed = match jail::run_hooks(
        jail::HookStage::Poststart,
        hooks,
        &container::state(record, Status::Running),
    ) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    container::kill(record)?;
    Err(failed.into())
}
