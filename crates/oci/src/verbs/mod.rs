//! One file a group of commands; each says its flags and what it does.

mod create;
mod delete;
mod events;
mod exec;
mod kill;
mod making;
mod pause;
mod ps;
mod query;
mod run;
mod spec;
mod start;
mod update;

use crate::args::{Args, Flag, Order};
use crate::cli::{Context, Verb};
use crate::error::Error;

pub const ALL: &[Verb] = &[
    create::CREATE,
    start::START,
    run::RUN,
    query::STATE,
    kill::KILL,
    delete::DELETE,
    exec::EXEC,
    query::LIST,
    ps::PS,
    pause::PAUSE,
    pause::RESUME,
    update::UPDATE,
    events::EVENTS,
    spec::SPEC,
    spec::FEATURES,
    CHECKPOINT,
    RESTORE,
];

const CONTAINER: &str = "<container-id>";

/// What most commands are; the others say where they differ.
const PLAIN: Verb = Verb {
    name: "",
    operands: CONTAINER,
    about: "",
    teach: "",
    flags: &[],
    count: (1, 1),
    order: Order::Anywhere,
    enters: false,
    run: |_, _| Err(Error::Refused("no such command")),
};

const CHECKPOINT: Verb = Verb {
    name: "checkpoint",
    about: "refused: a container's processes cannot be saved",
    flags: IMAGE,
    run: refuse_checkpoint,
    ..PLAIN
};
const RESTORE: Verb = Verb {
    name: "restore",
    about: "refused: a container's processes cannot be brought back",
    flags: IMAGE,
    run: refuse_restore,
    ..PLAIN
};

/// Understood so that the refusal, not a flag, is what callers read.
const IMAGE: &[Flag] = &[
    Flag::value("image-path", "DIR", "where the image would lie"),
    Flag::value("work-path", "DIR", "where logs would lie"),
    Flag::value("parent-path", "DIR", "an earlier image"),
    Flag::value("bundle", "DIR", "the bundle").short('b'),
    Flag::value("pid-file", "FILE", "where the pid would be written"),
    Flag::value("console-socket", "PATH", "where the terminal would be sent"),
    Flag::value("page-server", "HOST:PORT", "where pages would be sent"),
    Flag::value("status-fd", "FD", "where progress would be told"),
    Flag::value("empty-ns", "NAMES", "namespaces left out"),
    Flag::value("manage-cgroups-mode", "MODE", "how cgroups would be kept"),
    Flag::value("lsm-profile", "PROFILE", "a security profile"),
    Flag::value("lsm-mount-context", "CONTEXT", "a mount context"),
    Flag::switch("leave-running", "go on running"),
    Flag::switch("tcp-established", "with open connections"),
    Flag::switch("ext-unix-sk", "with external sockets"),
    Flag::switch("shell-job", "with a shell job"),
    Flag::switch("lazy-pages", "fetch pages late"),
    Flag::switch("file-locks", "with file locks"),
    Flag::switch("pre-dump", "memory only"),
    Flag::switch("auto-dedup", "drop double pages"),
    Flag::switch("link-remap", "with unlinked files"),
    Flag::switch("detach", "return at once").short('d'),
    Flag::switch("no-subreaper", "adopt no orphans"),
    Flag::switch("no-pivot", "no pivot_root"),
];

fn refuse_checkpoint(context: &Context, args: &Args) -> Result<u8, Error> {
    context.store()?.find(&id(args))?;
    Err(Error::Unsupported(
        "checkpoint",
        "the native wall has no CRIU",
    ))
}

fn refuse_restore(_: &Context, _: &Args) -> Result<u8, Error> {
    Err(Error::Unsupported("restore", "the native wall has no CRIU"))
}

fn id(args: &Args) -> String {
    args.operands
        .first()
        .map(|id| crate::args::operand(id))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_unique_and_described() {
        for verb in ALL {
            assert!(!verb.name.is_empty() && !verb.about.is_empty());
            for (at, flag) in verb.flags.iter().enumerate() {
                assert!(!flag.about.is_empty(), "{} --{}", verb.name, flag.name);
                let twin = verb.flags[at + 1..].iter().find(|other| {
                    other.name == flag.name || (flag.short.is_some() && other.short == flag.short)
                });
                assert!(twin.is_none(), "{} --{}", verb.name, flag.name);
            }
        }
    }
}
