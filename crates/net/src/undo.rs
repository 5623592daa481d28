//! How to take back what a call did, when a later operation of it fails.

use std::net::IpAddr;

use crate::address::{self, Family};
use crate::elements::{self, Late};
use crate::error::{Error, Result};
use crate::link;
use crate::message::Batch;
use crate::netlink::Socket;
use crate::request::Publication;
use crate::value::{Cidr, LinkName};

/// Something that was done.
pub enum Undo {
    /// A device was made.
    Link(LinkName),
    /// A device, by its number, was given an address.
    Address(u32, Cidr),
    /// Default routes of a network namespace were changed, by a socket there.
    Gateways(Socket, Vec<Before>),
    /// Ports were published that were not before.
    Published(Vec<Publication>),
    /// Ports are not published that were before.
    Unpublished(Vec<Publication>),
}

/// A default route as it was.
pub struct Before {
    pub family: Family,
    /// By which device, to which gateway; absent: there was none.
    pub was: Option<(u32, IpAddr)>,
    /// The device by which it goes now, or does not go any more.
    pub now: u32,
}

/// Takes back, last first. All of it is tried; the first failure is the answer.
pub fn all(done: Vec<Undo>, socket: &mut Socket, elements: &mut Late) -> Result<()> {
    let mut answer = Ok(());
    for undo in done.into_iter().rev() {
        let taken = one(undo, socket, elements);
        if answer.is_ok() {
            answer = taken;
        }
    }
    answer
}

fn one(undo: Undo, socket: &mut Socket, elements: &mut Late) -> Result<()> {
    match undo {
        Undo::Link(name) => {
            let Some(found) = link::find(socket, &name)? else {
                return Ok(());
            };
            link::remove(socket, found.index).map_err(|source| Error::Remove { name, source })
        }
        // It went with its device, if that is gone.
        Undo::Address(index, address) => {
            let _ = address::remove(socket, index, address);
            Ok(())
        }
        Undo::Gateways(mut inside, before) => {
            for Before { family, was, now } in before {
                // A namespace that ended takes its routes with it.
                let _ = match was {
                    Some((index, gateway)) => {
                        let mut batch = Batch::new();
                        address::put_default(&mut batch, inside.next(), index, gateway);
                        inside.settle(&batch)
                    }
                    None => address::remove_default(&mut inside, now, family),
                };
            }
            Ok(())
        }
        Undo::Published(ports) => elements::unpublish(elements, &ports).map(drop),
        Undo::Unpublished(ports) => elements::publish(elements, &ports).map(drop),
    }
}
