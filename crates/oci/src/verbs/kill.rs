use spec::Status;

use super::{PLAIN, id};
use crate::args::{Args, Flag};
use crate::cli::{Context, Verb};
use crate::error::Error;
use crate::process;
use crate::signal;

pub const KILL: Verb = Verb {
    name: "kill",
    operands: "<container-id> [signal]",
    about: "send a signal to a container's init (TERM)",
    teach: "A signal is a name, with or without SIG, or a number:\n\n    {name} kill mycontainer KILL",
    flags: &[Flag::switch("all", "to every process of the container").short('a')],
    count: (1, 2),
    run: kill,
    ..PLAIN
};

/// Takes no lock: a container that is being made or started can be killed, also by its own hooks.
fn kill(context: &Context, args: &Args) -> Result<u8, Error> {
    let container = context.store()?.find(&id(args))?;
    let number = match args.operands.get(1) {
        Some(word) => signal::parse(&crate::args::operand(word))?,
        None => signal::TERM,
    };
    let (record, status) = (&container.record, container.status());
    if args.has("all") {
        // Of a container without a pid namespace of its own, processes may outlive init.
        record.cgroup.kill(number)?;
        return Ok(0);
    }
    let init = record
        .init
        .filter(|_| status != Status::Stopped)
        .ok_or(Error::NotRunning)?;
    if !process::signal(init, number).map_err(Error::SignalInit)? {
        return Err(Error::NotRunning);
    }
    if number == signal::KILL && !record.own_pids {
        record.cgroup.kill(number)?;
    }
    if number == signal::KILL && status == Status::Paused {
        // A frozen process of cgroup v1 dies only when it is thawed.
        record.cgroup.thaw()?;
    }
    Ok(0)
}
