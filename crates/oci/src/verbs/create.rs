use super::{PLAIN, making};
use crate::args::Args;
use crate::cli::{Context, Verb};
use crate::error::Error;
use crate::launch::Request;

pub const CREATE: Verb = Verb {
    name: "create",
    about: "make a container that waits for start",
    teach: "The container's process is set up and held back; `{name} start` lets it go, `{name} delete` takes it away.",
    flags: &[
        making::BUNDLE,
        making::CONFIG,
        making::CONSOLE_SOCKET,
        making::PID_FILE,
        making::NO_PIVOT,
        making::NO_NEW_KEYRING,
        making::PRESERVE_FDS,
    ],
    enters: true,
    run: create,
    ..PLAIN
};

fn create(context: &Context, args: &Args) -> Result<u8, Error> {
    Request::new(args, false)?.make(context, |locked| jail::Gate::Socket(locked.gate()))?;
    Ok(0)
}
