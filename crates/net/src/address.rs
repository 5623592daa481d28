//! Addresses of devices, and default routes (rtnetlink(7)).

use std::net::IpAddr;

use rustix::io::Errno;

use crate::message::{Batch, flag};
use crate::netlink::Socket;
use crate::value::{Cidr, from_octets, octets};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

/// Which of the two families of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Four,
    Six,
}

impl Family {
    pub const BOTH: [Family; 2] = [Family::Four, Family::Six];

    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() {
            Family::Four
        } else {
            Family::Six
        }
    }

    /// Its number for sockets.
    pub fn number(self) -> u8 {
        match self {
            Family::Four => 2,
            Family::Six => 10,
        }
    }
}

/// `struct ifaddrmsg`. Nobody else has the address: it is ours to give, so that it is not asked for (DAD) before it is used.
fn address_header(address: Cidr, index: u32) -> [u8; ADDRESS_HEADER] {
    const IFA_F_NODAD: u8 = 0x02;
    let mut bytes = [0; ADDRESS_HEADER];
    bytes[0] = Family::of(address.address).number();
    bytes[1] = address.prefix;
    if address.address.is_ipv6() {
        bytes[2] = IFA_F_NODAD;
    }
    bytes[4..].copy_from_slice(&index.to_ne_bytes());
    bytes
}

fn put_address(message: &mut Batch, address: Cidr) {
    let bytes = octets(address.address);
    message.attribute(IFA_LOCAL, &bytes);
    message.attribute(IFA_ADDRESS, &bytes);
    // A network of one or two addresses has no broadcast.
    if let IpAddr::V4(four) = address.address
        && address.prefix < 31
    {
        let broadcast = u32::from(four) | (u32::MAX >> address.prefix);
        message.attribute(IFA_BROADCAST, &broadcast.to_be_bytes());
    }
}

/// Adds an address; whether it was not there before.
pub fn add(socket: &mut Socket, index: u32, address: Cidr) -> rustix::io::Result<bool> {
    let flags = flag::CREATE | flag::EXCL;
    let header = address_header(address, index);
    match socket.change(RTM_NEWADDR, flags, &header, |message| {
        put_address(message, address);
    }) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

pub fn remove(socket: &mut Socket, index: u32, address: Cidr) -> rustix::io::Result<()> {
    let header = address_header(address, index);
    socket.change(RTM_DELADDR, 0, &header, |message| {
        put_address(message, address);
    })
}

/// Adds to a batch: a device has an address, new or not.
pub fn put(batch: &mut Batch, sequence: u32, index: u32, address: Cidr) {
    let flags = flag::CREATE | flag::REPLACE | flag::ACK;
    let header = address_header(address, index);
    put_address(
        batch.message(RTM_NEWADDR, flags, sequence, &header),
        address,
    );
}

/// `struct rtmsg` of the main table.
fn route_header(family: Family) -> [u8; ROUTE_HEADER] {
    const RT_TABLE_MAIN: u8 = 254;
    const RTPROT_BOOT: u8 = 3;
    const RTN_UNICAST: u8 = 1;
    let mut bytes = [0; ROUTE_HEADER];
    bytes[0] = family.number();
    bytes[4] = RT_TABLE_MAIN;
    bytes[5] = RTPROT_BOOT;
    bytes[7] = RTN_UNICAST;
    bytes
}

/// Adds to a batch: the default route of the gateway's family, in place of one that is there.
pub fn put_default(batch: &mut Batch, sequence: u32, index: u32, gateway: IpAddr) {
    let flags = flag::CREATE | flag::REPLACE | flag::ACK;
    let header = route_header(Family::of(gateway));
    batch
        .message(RTM_NEWROUTE, flags, sequence, &header)
        .attribute(RTA_GATEWAY, &octets(gateway))
        .attribute(RTA_OIF, &index.to_ne_bytes());
}

/// Takes the default route of a family by a device away, if there is one.
pub fn remove_default(socket: &mut Socket, index: u32, family: Family) -> rustix::io::Result<()> {
    match socket.change(RTM_DELROUTE, 0, &route_header(family), |message| {
        message.attribute(RTA_OIF, &index.to_ne_bytes());
    }) {
        // No IPv6 at all is no route of it either.
        Ok(()) | Err(Errno::SRCH | Errno::AFNOSUPPORT | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// A route: where to, as an address and the length of the prefix, by which device and gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Absent: everywhere.
    pub to: Option<Cidr>,
    pub index: u32,
    pub gateway: Option<IpAddr>,
    pub main: bool,
}

/// The routes to elsewhere of all tables.
pub fn routes(socket: &mut Socket, family: Family) -> rustix::io::Result<Vec<Route>> {
    const RT_TABLE_MAIN: u8 = 254;
    // From here on: local, broadcast, anycast, multicast are the host's own addresses; blackhole and the like (6 to 8) lead
    // nowhere, but say that the network is spoken for.
    const RTN_LOCAL: u8 = 2;
    const RTN_MULTICAST: u8 = 5;
    let mut header = [0; ROUTE_HEADER];
    header[0] = family.number();
    let mut found = Vec::new();
    socket.ask(
        RTM_GETROUTE,
        flag::DUMP,
        &header,
        |_| {},
        |message| {
            let [_, prefix, _, _, table, _, _, kind, ..] = *message.body else {
                return;
            };
            if message.kind != RTM_NEWROUTE || (RTN_LOCAL..=RTN_MULTICAST).contains(&kind) {
                return;
            }
            let attributes = message.attributes(ROUTE_HEADER);
            let to = attributes.find(RTA_DST).and_then(from_octets);
            found.push(Route {
                to: to.map(|address| Cidr { address, prefix }),
                index: attributes.number(RTA_OIF).unwrap_or(0),
                gateway: attributes.find(RTA_GATEWAY).and_then(from_octets),
                main: table == RT_TABLE_MAIN,
            });
        },
    )?;
    Ok(found)
}

/// All addresses of a family.
pub fn addresses(socket: &mut Socket, family: Family) -> rustix::io::Result<Vec<Cidr>> {
    let mut header = [0; ADDRESS_HEADER];
    header[0] = family.number();
    let mut found = Vec::new();
    socket.ask(
        RTM_GETADDR,
        flag::DUMP,
        &header,
        |_| {},
        |message| {
            let attributes = message.attributes(ADDRESS_HEADER);
            let own = attributes.find(IFA_LOCAL).or(attributes.find(IFA_ADDRESS));
            if message.kind == RTM_NEWADDR
                && let Some(address) = own.and_then(from_octets)
                && let Some(&prefix) = message.body.get(1)
            {
                found.push(Cidr { address, prefix });
            }
        },
    )?;
    Ok(found)
}
