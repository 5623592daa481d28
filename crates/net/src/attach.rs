//! A container's end of a network: a veth from the bridge into its network namespace.

use std::net::IpAddr;

use rustix::io::Errno;

use crate::address::{self, Family};
use crate::error::{Error, Result};
use crate::link::{self, Pair};
use crate::message::Batch;
use crate::namespace::Namespace;
use crate::netlink::Socket;
use crate::request::{Attach, Gateway, Sweep};
use crate::setting;
use crate::undo::{Before, Undo};
use crate::value::{LinkName, Mac};

/// Makes the pair, or finds it as an earlier call left it; then sets up what is inside.
pub fn attach(socket: &mut Socket, wanted: &Attach, undo: &mut Vec<Undo>) -> Result<()> {
    let gateways = gateways(wanted.gateway4, wanted.gateway6)?;
    let master = link::index(socket, &wanted.master)?;
    let namespace = Namespace::open(&wanted.netns)?;
    namespace.within(|| {
        let mut inside = Socket::route().map_err(Error::Socket)?;
        make(socket, &mut inside, &namespace, wanted, master, undo)?;
        if wanted.isolated {
            isolate(socket, &wanted.host)?;
        }
        settings(wanted)?;
        for one in &wanted.sysctls {
            setting::device(&wanted.name, one)?;
        }
        let index = link::index(&inside, &wanted.name)?;
        let mut batch = Batch::new();
        for &address in &wanted.addresses {
            address::put(&mut batch, inside.next(), index, address);
        }
        link::put_up(&mut batch, inside.next(), link::LOOPBACK);
        link::put_up(&mut batch, inside.next(), index);
        for gateway in gateways.into_iter().flatten() {
            address::put_default(&mut batch, inside.next(), index, gateway);
        }
        inside.settle(&batch).map_err(|source| Error::SetUpInside {
            name: wanted.name.clone(),
            namespace: wanted.netns.clone(),
            source,
        })
    })
}

/// # Errors
/// `Exists`: the name inside is another device's.
fn make(
    socket: &mut Socket,
    inside: &mut Socket,
    namespace: &Namespace,
    wanted: &Attach,
    master: u32,
    undo: &mut Vec<Undo>,
) -> Result<()> {
    let mac = wanted.mac.map_or_else(Mac::random, Ok);
    let pair = Pair {
        host: &wanted.host,
        master,
        peer: &wanted.name,
        peer_mac: mac.map_err(Error::Random)?,
        namespace: namespace.number(),
        mtu: wanted.mtu,
    };
    let failed = |source| Error::Make {
        name: wanted.host.clone(),
        source,
    };
    match link::make_pair(socket, &pair) {
        Err(Errno::EXIST) if is_made(socket, inside, wanted)? => {
            let index = link::index(socket, &wanted.host)?;
            return link::set(socket, index, None, wanted.mtu, Some(master)).map_err(failed);
        }
        Err(Errno::EXIST) if link::find(inside, &wanted.name)?.is_some() => {
            return Err(Error::Exists {
                name: wanted.name.clone(),
                namespace: wanted.netns.clone(),
            });
        }
        // The end of a pair into a network namespace of before, which is on its way out.
        Err(Errno::EXIST) => {
            detach(socket, &wanted.host)?;
            link::make_pair(socket, &pair).map_err(failed)?;
        }
        done => done.map_err(failed)?,
    }
    undo.push(Undo::Link(wanted.host.clone()));
    Ok(())
}

/// Before the other end is up, so that nobody is reached in between.
fn isolate(socket: &mut Socket, host: &LinkName) -> Result<()> {
    let index = link::index(socket, host)?;
    link::isolate(socket, index, true).map_err(|source| Error::SetUp {
        name: host.clone(),
        source,
    })
}

/// Whether the two names are the two ends of one pair.
fn is_made(socket: &mut Socket, inside: &mut Socket, wanted: &Attach) -> Result<bool> {
    let (host, peer) = (
        link::find(socket, &wanted.host)?,
        link::find(inside, &wanted.name)?,
    );
    let (Some(host), Some(peer)) = (host, peer) else {
        return Ok(false);
    };
    let both = host.kind == "veth" && peer.kind == "veth";
    Ok(both && host.peer == Some(peer.index) && peer.peer == Some(host.index))
}

/// While the device is down: it tells its neighbours of its addresses when it comes up (another container may have had them
/// a moment ago), and believes nobody who calls himself a router. Its address of the link is used at once: without it nobody
/// else is found on behalf of an address of another device's.
fn settings(wanted: &Attach) -> Result<()> {
    let has = |family| {
        let mut all = wanted.addresses.iter();
        all.any(|one| Family::of(one.address) == family)
    };
    let name = &wanted.name;
    if has(Family::Four) {
        setting::device4(name, "arp_notify", "1")?;
    }
    if has(Family::Six) {
        setting::device6(name, "disable_ipv6", "0", true)?;
        setting::device6(name, "accept_ra", "0", true)?;
        setting::device6(name, "accept_dad", "0", true)?;
        setting::device6(name, "ndisc_notify", "1", true)
    } else {
        setting::device6(name, "disable_ipv6", "1", false)
    }
}

fn gateways(four: Option<IpAddr>, six: Option<IpAddr>) -> Result<[Option<IpAddr>; 2]> {
    let check = |gateway: Option<IpAddr>, wanted, family| match gateway {
        Some(gateway) if Family::of(gateway) != wanted => Err(Error::Family { gateway, family }),
        other => Ok(other),
    };
    Ok([check(four, Family::Four, 4)?, check(six, Family::Six, 6)?])
}

/// Makes the default routes go by a device, or not by it.
pub fn set_gateway(wanted: &Gateway, undo: &mut Vec<Undo>) -> Result<()> {
    let gateways = gateways(wanted.gateway4, wanted.gateway6)?;
    let namespace = Namespace::open(&wanted.netns)?;
    let failed = |source| Error::Gateway {
        name: wanted.name.clone(),
        namespace: wanted.netns.clone(),
        source,
    };
    let mut inside = namespace.within(|| Socket::route().map_err(Error::Socket))?;
    let index = link::index(&inside, &wanted.name)?;
    let mut before = Vec::new();
    for (family, gateway) in Family::BOTH.into_iter().zip(gateways) {
        let was = default_route(&mut inside, family).map_err(failed)?;
        if was == gateway.map(|gateway| (index, gateway)) {
            continue;
        }
        match gateway {
            Some(gateway) => {
                let mut batch = Batch::new();
                address::put_default(&mut batch, inside.next(), index, gateway);
                inside.settle(&batch).map_err(failed)?;
            }
            None if was.is_some_and(|(by, _)| by == index) => {
                address::remove_default(&mut inside, index, family).map_err(failed)?;
            }
            None => continue,
        }
        before.push(Before {
            family,
            was,
            now: index,
        });
    }
    undo.push(Undo::Gateways(inside, before));
    Ok(())
}

/// The default route of the main table: by which device, to which gateway.
fn default_route(socket: &mut Socket, family: Family) -> rustix::io::Result<Option<(u32, IpAddr)>> {
    let all = address::routes(socket, family)?;
    let mut defaults = all.iter().filter(|route| route.main && route.to.is_none());
    Ok(defaults.find_map(|route| Some((route.index, route.gateway?))))
}

/// Removes a pair by its end on the host; one that is gone is removed.
pub fn detach(socket: &mut Socket, host: &LinkName) -> Result<()> {
    match veth(socket, host)? {
        Some(index) => remove(socket, host, index),
        None => Ok(()),
    }
}

/// Nothing comes out of the pair or goes into it any more; whoever holds its network namespace takes it away. One that is gone is
/// cut, and one that cannot be cut is removed.
pub fn cut(socket: &mut Socket, host: &LinkName) -> Result<()> {
    let Some(index) = veth(socket, host)? else {
        return Ok(());
    };
    match link::cut(socket, index) {
        // A device that is down hears nothing.
        Ok(()) | Err(Errno::NODEV | Errno::NETDOWN) => Ok(()),
        // Of no bridge any more, or of one whose ports' states are a protocol's.
        Err(_) => remove(socket, host, index),
    }
}

/// Removes the pairs of our names that hang on these bridges, but those that are to stay.
pub fn sweep(socket: &mut Socket, wanted: &Sweep) -> Result<()> {
    let mut masters = Vec::new();
    for bridge in &wanted.bridges {
        if let Some(found) = link::find(socket, bridge)? {
            masters.push(found.index);
        }
    }
    let found = link::hanging(socket, &masters).map_err(|source| Error::Dump {
        what: "devices",
        source,
    })?;
    for (name, index) in found {
        if is_ours(name.as_str()) && !wanted.keep.contains(&name) {
            remove(socket, &name, index)?;
        }
    }
    Ok(())
}

/// `veth` and ten hexadecimal digits.
fn is_ours(name: &str) -> bool {
    const DIGITS: usize = 10;
    let digits = name.strip_prefix("veth").unwrap_or_default();
    digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The number of a veth, if there is one.
fn veth(socket: &mut Socket, host: &LinkName) -> Result<Option<u32>> {
    match link::find(socket, host)? {
        Some(link) if link.kind != "veth" => Err(Error::Foreign {
            name: host.clone(),
            found: link.kind,
            wanted: "veth",
        }),
        other => Ok(other.map(|link| link.index)),
    }
}

fn remove(socket: &mut Socket, host: &LinkName, index: u32) -> Result<()> {
    match link::remove(socket, index) {
        Ok(()) | Err(Errno::NODEV) => Ok(()),
        Err(source) => Err(Error::Remove {
            name: host.clone(),
            source,
        }),
    }
}
