use std::os::fd::AsFd;

use super::start::{after_start, poststart};
use super::{CONTAINER, PLAIN, making};
use crate::args::{Args, Flag};
use crate::cli::{Context, Verb};
use crate::container;
use crate::error::Error;
use crate::foreground::Foreground;
use crate::launch::{Made, Request};
use crate::notify::Notify;
use crate::store::{self, Record};

pub const RUN: Verb = Verb {
    name: "run",
    operands: CONTAINER,
    about: "make a container, start it, wait for its end and delete it",
    teach: "Standard input, output and error are the container's, or its terminal if config.json says so; signals are passed on.\n\
            The exit code is the container's (128+n when signal n ended it); 127 when its command is not there, 126 when it cannot be executed.",
    flags: &[
        making::BUNDLE,
        making::CONFIG,
        making::CONSOLE_SOCKET,
        Flag::switch("detach", "return when the container runs").short('d'),
        Flag::switch(
            "keep",
            "keep the container's state after its end, until delete",
        ),
        making::PID_FILE,
        Flag::switch("no-subreaper", "do not adopt the container's orphans"),
        making::NO_PIVOT,
        making::NO_NEW_KEYRING,
        making::PRESERVE_FDS,
    ],
    enters: true,
    run,
    ..PLAIN
};

fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let detach = args.has("detach");
    let request = Request::new(args, !detach)?;
    let foreground = if detach {
        None
    } else {
        Some(Foreground::prepare()?)
    };
    if let Some(foreground) = &foreground
        && !args.has("no-subreaper")
    {
        foreground.adopt_orphans()?;
    }
    let Made {
        locked,
        mut init,
        spec,
    } = request.make(context, |_| jail::Gate::Held)?;
    let mut notify = None;
    let record = locked
        .record
        .clone()
        .expect("a container that was made has a record");
    let started = Notify::bind(&locked.notify(), detach.then_some(init.pid))
        .and_then(|bound| {
            notify = bound;
            Ok(init.start()?)
        })
        .and_then(|()| after_start(&record, &poststart(&spec)));
    if let Err(error) = started {
        if let Err(left) = container::undo(locked, &context.log) {
            context.log.warning(&causes::in_gos_words(&left));
        }
        return Err(error);
    }
    // Others may kill, pause and delete it while we wait.
    drop(locked);
    let Some(foreground) = foreground else {
        if let Some(notify) = notify {
            notify.until_ready(init.pidfd.as_fd())?;
        }
        return Ok(0);
    };
    let code = foreground
        .passing(notify)
        .wait(init.pid, &init.pidfd, init.console.take())?;
    if !args.has("keep") {
        finish(context, &record)?;
    }
    Ok(code)
}

/// Deletes our container, unless somebody did so already.
fn finish(context: &Context, record: &Record) -> Result<(), Error> {
    match context.store()?.lock(&record.id) {
        Ok(locked)
            if locked
                .record
                .as_ref()
                .is_some_and(|found| found.init == record.init) =>
        {
            container::destroy(locked, &context.log)
        }
        Ok(_) | Err(store::Error::Missing(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
