//! The operations of a request, one after the other; all of them or none.

use std::io::{Read, Write};

use serde_json::json;

use crate::elements::Late;
use crate::error::{Error, Result};
use crate::flows::{self, Change};
use crate::netlink::Socket;
use crate::request::{Operation, Request};
use crate::undo::{self, Undo};
use crate::{attach, bridge, elements};

/// More than ten thousand operations take.
const LONGEST: u64 = 8 << 20;

/// Reads a request, does it and says so. What was done of one that fails is undone.
pub fn apply(from: impl Read, mut to: impl Write) -> Result<()> {
    let mut text = Vec::new();
    from.take(LONGEST + 1)
        .read_to_end(&mut text)
        .map_err(Error::Read)?;
    if text.len() as u64 > LONGEST {
        return Err(Error::Usage(format!(
            "a request has at most {LONGEST} bytes"
        )));
    }
    let request: Request = serde_json::from_slice(&text).map_err(Error::Request)?;
    let mut socket = Socket::route().map_err(Error::Socket)?;
    let (mut elements, mut done) = (Late::default(), Vec::new());
    for (index, operation) in request.operations.iter().enumerate() {
        if let Err(error) = perform(operation, &mut socket, &mut elements, &mut done) {
            let undone = undo::all(done, &mut socket, &mut elements);
            let answer = json!({"done": 0, "failed": {
                "operation": index,
                "errno": error.number(),
                "undone": undone.is_ok(),
            }});
            say(&mut to, &answer)?;
            return Err(match undone {
                Ok(()) => error,
                Err(second) => Error::NotUndone {
                    first: causes::told(&error),
                    second: Box::new(second),
                },
            });
        }
    }
    say(&mut to, &json!({"done": request.operations.len()}))
}

fn say(to: &mut impl Write, answer: &serde_json::Value) -> Result<()> {
    to.write_all(format!("{answer}\n").as_bytes())
        .map_err(Error::Write)
}

fn perform(
    operation: &Operation,
    socket: &mut Socket,
    late: &mut Late,
    done: &mut Vec<Undo>,
) -> Result<()> {
    match operation {
        Operation::Bridge(bridge) => bridge::make(socket, bridge, done),
        Operation::RemoveBridge(bridge) => bridge::remove(socket, &bridge.name),
        Operation::Attach(attach) => attach::attach(socket, attach, done),
        Operation::Gateway(gateway) => attach::set_gateway(gateway, done),
        Operation::Detach(detach) => attach::detach(socket, &detach.host),
        Operation::Cut(cut) => attach::cut(socket, &cut.host),
        Operation::Sweep(sweep) => attach::sweep(socket, sweep),
        Operation::Publish(ports) => {
            done.push(Undo::Published(elements::publish(late, ports)?));
            flows::follow(socket, ports, Change::Published)
        }
        Operation::Unpublish(ports) => {
            done.push(Undo::Unpublished(elements::unpublish(late, ports)?));
            flows::follow(socket, ports, Change::Unpublished)
        }
    }
}
