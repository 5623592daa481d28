use std::path::PathBuf;

use spec::{Process, Spec, Status, User};

use super::{id, making};
use crate::args::{self, Args, Flag, Order, operand};
use crate::cli::{Context, Verb};
use crate::error::Error;
use crate::foreground::Foreground;
use crate::launch::{stdio, write_pid};
use crate::store::Container;

pub const EXEC: Verb = Verb {
    name: "exec",
    operands: "<container-id> <command> [arguments] | --process FILE <container-id>",
    about: "run another process in a container",
    teach: "The exit code is the command's (128+n when signal n ended it); 127 when it is not there, 126 when it cannot be executed,\n\
            255 when the container cannot be entered:\n\n    {name} exec --tty mycontainer sh",
    flags: &[
        Flag::value("process", "FILE", "read the whole process from a JSON file").short('p'),
        Flag::value("cwd", "DIR", "its working directory"),
        Flag::value("env", "NAME=VALUE", "one more variable; may be repeated").short('e'),
        Flag::switch("tty", "give it a terminal").short('t'),
        Flag::value("user", "UID[:GID]", "whom it runs as").short('u'),
        Flag::value("additional-gids", "GID", "one more group; may be repeated").short('g'),
        making::CONSOLE_SOCKET,
        Flag::switch("detach", "return when it runs").short('d'),
        Flag::value("pid-file", "FILE", "where to write its pid"),
        Flag::switch("no-new-privs", "it can gain no privileges by exec"),
        Flag::value("cap", "CAP_NAME", "one more capability; may be repeated").short('c'),
        Flag::value("apparmor", "PROFILE", "its AppArmor profile"),
        Flag::value("process-label", "LABEL", "its SELinux label"),
        making::PRESERVE_FDS,
        Flag::value(
            "cgroup",
            "[CONTROLLER,…:]PATH",
            "a cgroup below the container's; may be repeated, by controllers of v1",
        ),
        Flag::switch(
            "ignore-paused",
            "wait in a paused container instead of refusing",
        ),
        Flag::switch("no-subreaper", "accepted: exec adopts nobody's orphans"),
    ],
    count: (1, usize::MAX),
    order: Order::BeforeOperands,
    enters: true,
    run,
};

fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    exec(context, args).map_err(|error| Error::Exec(Box::new(error)))
}

fn exec(context: &Context, args: &Args) -> Result<u8, Error> {
    let container = context.store()?.find(&id(args))?;
    match container.status() {
        Status::Running | Status::Created => {}
        Status::Paused if args.has("ignore-paused") => {}
        Status::Paused => return Err(Error::ExecPaused),
        status => return Err(Error::ExecIn(status)),
    }
    let words = args.texts("cgroup")?;
    let cgroup = match words.as_slice() {
        [] => None,
        words => Some(container.record.cgroup.below(words)?),
    };
    let config = container.config()?;
    let process = process(args, &config)?;
    let foreground = if args.has("detach") {
        None
    } else {
        Some(Foreground::prepare()?)
    };
    let stdio = stdio(
        process.terminal,
        foreground.is_some(),
        args.path("console-socket"),
    )?;
    let mut execed = launch(
        (&container, &config),
        cgroup.as_ref().unwrap_or(&container.record.cgroup),
        &process,
        stdio,
        args.number("preserve-fds")?.unwrap_or(0),
    )?;
    for warning in &execed.warnings {
        context.log.warning(warning);
    }
    if let Some(path) = args.path("pid-file") {
        write_pid(&path, execed.pid)?;
    }
    match foreground {
        Some(foreground) => foreground.wait(execed.pid, &execed.pidfd, execed.console.take()),
        None => Ok(0),
    }
}

fn launch(
    (container, config): (&Container, &Spec),
    cgroup: &cgroup::Cgroup,
    process: &Process,
    stdio: jail::Stdio,
    preserve_fds: u32,
) -> Result<jail::Execed, Error> {
    let record = &container.record;
    let init = record.init.ok_or(Error::NotRunning)?;
    let target = jail::Target {
        id: &record.id,
        bundle: &record.bundle,
        pid: init.pid,
        start_time: init.start_time,
        spec: config,
        cgroup,
    };
    Ok(jail::exec(
        &target,
        process,
        stdio,
        jail::ExecOptions {
            preserve_fds,
            die_with_parent: false,
        },
    )?)
}

/// The process that the flags or the file describe; what they leave out is as in the container's own process.
fn process(args: &Args, config: &Spec) -> Result<Process, Error> {
    let own = config.process.clone().unwrap_or_default();
    let process = match args.path("process") {
        Some(path) => from_file(path, &own)?,
        None => from_flags(args, own)?,
    };
    if process.args.is_empty() {
        return Err(Error::Refused("process args cannot be empty"));
    }
    if !process.cwd.is_absolute() {
        return Err(Error::Refused("Cwd must be an absolute path"));
    }
    Ok(process)
}

fn from_file(path: PathBuf, own: &Process) -> Result<Process, Error> {
    let text = std::fs::read(&path).map_err(Error::io("open", &path))?;
    let mut process: Process =
        serde_json::from_slice(&text).map_err(|source| Error::Malformed(path, source))?;
    if process.capabilities.is_none() {
        process.capabilities = own.capabilities.clone();
    }
    if process.rlimits.is_empty() {
        process.rlimits = own.rlimits.clone();
    }
    process.apparmor_profile = process
        .apparmor_profile
        .filter(|profile| !profile.is_empty())
        .or_else(|| own.apparmor_profile.clone());
    process.selinux_label = process
        .selinux_label
        .filter(|label| !label.is_empty())
        .or_else(|| own.selinux_label.clone());
    Ok(process)
}

fn from_flags(args: &Args, mut process: Process) -> Result<Process, Error> {
    process.args = args.operands[1..]
        .iter()
        .map(|word| operand(word))
        .collect();
    process.terminal = args.has("tty");
    process.env.extend(args.texts("env")?);
    if let Some(cwd) = args.path("cwd") {
        process.cwd = cwd;
    }
    if let Some(user) = args.text("user")? {
        process.user = user_of(user, process.user)?;
    }
    for group in args.texts("additional-gids")? {
        process
            .user
            .additional_gids
            .push(args::number("additional-gids", &group)?);
    }
    if args.given("no-new-privs") {
        process.no_new_privileges = args.has("no-new-privs");
    }
    if let Some(profile) = args.text("apparmor")? {
        process.apparmor_profile = Some(profile.into());
    }
    if let Some(label) = args.text("process-label")? {
        process.selinux_label = Some(label.into());
    }
    let more = args.texts("cap")?;
    if !more.is_empty() {
        let sets = process.capabilities.get_or_insert_default();
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(more.iter().cloned());
        }
    }
    Ok(process)
}

/// `UID[:GID]`: numbers only, for names are the image's and the image is not trusted.
fn user_of(text: &str, user: User) -> Result<User, Error> {
    let (uid, gid) = text
        .split_once(':')
        .map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    let gid = gid.map(|gid| args::number("user", gid)).transpose()?;
    Ok(User {
        uid: args::number("user", uid)?,
        gid: gid.unwrap_or(user.gid),
        ..user
    })
}
