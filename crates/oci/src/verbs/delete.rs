use spec::Status;

use super::{PLAIN, id};
use crate::args::{Args, Flag};
use crate::cli::{Context, Verb};
use crate::container;
use crate::error::Error;
use crate::store;

pub const DELETE: Verb = Verb {
    name: "delete",
    about: "take away what a stopped container holds",
    flags: &[Flag::switch(
        "force",
        "kill it first; one that does not exist is no failure",
    )
    .short('f')],
    run: delete,
    ..PLAIN
};

fn delete(context: &Context, args: &Args) -> Result<u8, Error> {
    let (id, force) = (id(args), args.has("force"));
    let locked = match context.store()?.lock_any(&id) {
        Err(store::Error::Missing(_)) if force => return Ok(0),
        other => other?,
    };
    match locked.status() {
        // What a creator left that was killed before it wrote a record: nothing that anybody was told of.
        None => {
            locked.remove()?;
            if force {
                Ok(0)
            } else {
                Err(store::Error::Missing(id).into())
            }
        }
        Some(status @ (Status::Running | Status::Paused)) if !force => {
            Err(Error::DeleteIn { id, status })
        }
        Some(Status::Stopped) => container::destroy(locked, &context.log).map(|()| 0),
        Some(_) => container::undo(locked, &context.log).map(|()| 0),
    }
}
