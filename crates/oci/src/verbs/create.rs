use super::PLAIN;
use crate::args::{Args, Flag};
use crate::cli::{Context, Verb};
use crate::error::Error;
use crate::launch::Request;

pub const CREATE: Verb = Verb {
    name: "create",
    about: "make a container that waits for start",
    teach: "The container's process is set up and held back; `{name} start` lets it go, `{name} delete` takes it away.",
    flags: &[
        Flag::value("bundle", "DIR", "the bundle (the current directory)").short('b'),
        Flag::value(
            "config",
            "FILE",
            "the configuration (config.json in the bundle)",
        )
        .short('f'),
        Flag::value(
            "console-socket",
            "PATH",
            "unix socket that gets the terminal's master",
        ),
        Flag::value(
            "pid-file",
            "FILE",
            "where to write the pid of the container's init",
        ),
        Flag::switch(
            "no-pivot",
            "move the root instead of pivot_root(2), for hosts that run from an initramfs",
        ),
        Flag::switch("no-new-keyring", "keep the caller's session keyring"),
        Flag::value("preserve-fds", "N", "pass N descriptors beyond 0, 1 and 2"),
    ],
    enters: true,
    run: create,
    ..PLAIN
};

fn create(context: &Context, args: &Args) -> Result<u8, Error> {
    Request::new(args, false)?.make(context, |locked| jail::Gate::Socket(locked.gate()))?;
    Ok(0)
}
