//! A network's bridge on the host.

use rustix::io::Errno;

use crate::address;
use crate::error::{Error, Result};
use crate::link::{self, Link};
use crate::netlink::Socket;
use crate::request::Bridge;
use crate::setting;
use crate::undo::Undo;
use crate::value::{LinkName, Mac};

/// Makes a bridge, or brings the one of that name to what is asked. Addresses that it has beyond that stay: a bridge that
/// somebody else made has his own.
pub fn make(socket: &mut Socket, wanted: &Bridge, undo: &mut Vec<Undo>) -> Result<()> {
    let name = &wanted.name;
    let link = match find(socket, name)? {
        Some(link) => {
            link::set(socket, link.index, wanted.mac, wanted.mtu, None).map_err(|source| {
                Error::SetUp {
                    name: name.clone(),
                    source,
                }
            })?;
            link
        }
        None => {
            let mac = wanted.mac.map_or_else(Mac::random, Ok);
            link::make_bridge(socket, name, mac.map_err(Error::Random)?, wanted.mtu).map_err(
                |source| Error::Make {
                    name: name.clone(),
                    source,
                },
            )?;
            undo.push(Undo::Link(name.clone()));
            find(socket, name)?.ok_or_else(|| Error::Missing { name: name.clone() })?
        }
    };
    settings(wanted)?;
    for &address in &wanted.addresses {
        let added = address::add(socket, link.index, address);
        let added = added.map_err(|source| Error::Address {
            name: name.clone(),
            address,
            source,
        })?;
        if added {
            undo.push(Undo::Address(link.index, address));
        }
    }
    Ok(())
}

/// The bridge of a name, if there is one.
///
/// # Errors
/// `Foreign`: a device that is no bridge has the name.
fn find(socket: &mut Socket, name: &LinkName) -> Result<Option<Link>> {
    let found = link::find(socket, name)?;
    match found {
        Some(link) if link.kind != "bridge" => Err(Error::Foreign {
            name: name.clone(),
            found: link.kind,
            wanted: "bridge",
        }),
        other => Ok(other),
    }
}

fn settings(wanted: &Bridge) -> Result<()> {
    let six = wanted.addresses.iter().any(|one| one.address.is_ipv6());
    setting::device6(&wanted.name, "accept_ra", "0", six)?;
    if six {
        setting::device6(&wanted.name, "disable_ipv6", "0", true)?;
        // Nobody is asked for on behalf of others before its own address of the link has passed its test.
        setting::device6(&wanted.name, "accept_dad", "0", true)?;
    }
    if wanted.forward4 {
        setting::forward4()?;
        // What a program of the host sends to a port of 127.0.0.1 may go to a container.
        setting::device4(&wanted.name, "route_localnet", "1")?;
    }
    if wanted.forward6 {
        setting::forward6()?;
    }
    Ok(())
}

/// Removes a bridge; one that is gone is removed.
pub fn remove(socket: &mut Socket, name: &LinkName) -> Result<()> {
    let Some(link) = find(socket, name)? else {
        return Ok(());
    };
    match link::remove(socket, link.index) {
        Ok(()) | Err(Errno::NODEV) => Ok(()),
        Err(source) => Err(Error::Remove {
            name: name.clone(),
            source,
        }),
    }
}
