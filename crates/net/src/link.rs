//! Network devices by rtnetlink(7): found, made, set up, removed.

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;

use crate::error::{Error, Result};
use crate::message::{Batch, flag, number};
use crate::netlink::Socket;
use crate::value::{LinkName, Mac};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;
const HEADER: usize = 16;
/// The loopback device has this number in every network namespace.
pub const LOOPBACK: u32 = 1;

/// What is looked at of a device.
#[derive(Debug)]
pub struct Link {
    pub index: u32,
    /// `bridge`, `veth`; empty for hardware.
    pub kind: String,
    /// Of a veth: the number of the other end, in its own namespace.
    pub peer: Option<u32>,
}

/// The fixed part of a message about devices (`struct ifinfomsg`).
fn header(index: u32, up: bool) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        bytes[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        bytes[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    }
    bytes
}

/// The device of a name, if there is one.
pub fn find(socket: &mut Socket, name: &LinkName) -> Result<Option<Link>> {
    let mut found = None;
    let asked = socket.ask(
        RTM_GETLINK,
        0,
        &header(0, false),
        |message| {
            message.text(IFLA_IFNAME, name.as_str());
        },
        |message| {
            let attributes = message.attributes(HEADER);
            let kind = attributes.nested(IFLA_LINKINFO).text(IFLA_INFO_KIND);
            found = number(message.body, 4).map(|index| Link {
                index,
                kind: kind.unwrap_or_default().to_owned(),
                peer: attributes.number(IFLA_LINK),
            });
        },
    );
    match asked {
        Ok(()) => Ok(found),
        Err(Errno::NODEV) => Ok(None),
        Err(source) => Err(Error::Find {
            name: name.clone(),
            source,
        }),
    }
}

/// Every veth that hangs on one of these devices.
pub fn hanging(socket: &mut Socket, masters: &[u32]) -> rustix::io::Result<Vec<(LinkName, u32)>> {
    let mut found = Vec::new();
    socket.ask(
        RTM_GETLINK,
        flag::DUMP,
        &header(0, false),
        |_| {},
        |message| {
            let attributes = message.attributes(HEADER);
            let kind = attributes.nested(IFLA_LINKINFO).text(IFLA_INFO_KIND);
            let hangs = attributes
                .number(IFLA_MASTER)
                .is_some_and(|master| masters.contains(&master));
            let name = attributes.text(IFLA_IFNAME).unwrap_or_default();
            if message.kind == RTM_NEWLINK
                && kind == Some("veth")
                && hangs
                && let Ok(name) = LinkName::try_from(name.to_owned())
                && let Some(index) = number(message.body, 4)
            {
                found.push((name, index));
            }
        },
    )?;
    Ok(found)
}

/// The number of a device that must be there.
pub fn index(socket: &Socket, name: &LinkName) -> Result<u32> {
    match name_to_index(socket.descriptor(), name.as_str()) {
        Ok(index) => Ok(index),
        Err(Errno::NODEV) => Err(Error::Missing { name: name.clone() }),
        Err(source) => Err(Error::Find {
            name: name.clone(),
            source,
        }),
    }
}

/// Makes a bridge that is up.
pub fn make_bridge(
    socket: &mut Socket,
    name: &LinkName,
    mac: Mac,
    mtu: Option<u32>,
) -> rustix::io::Result<()> {
    let flags = flag::CREATE | flag::EXCL;
    socket.change(RTM_NEWLINK, flags, &header(0, true), |message| {
        message.text(IFLA_IFNAME, name.as_str());
        // An address of its own: a bridge without one takes that of a port, and changes it when the port goes.
        message.attribute(IFLA_ADDRESS, &mac.0);
        put_mtu(message, mtu);
        message.nested(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "bridge");
        });
    })
}

/// Brings a device up, with what is given of the rest.
pub fn set(
    socket: &mut Socket,
    index: u32,
    mac: Option<Mac>,
    mtu: Option<u32>,
    master: Option<u32>,
) -> rustix::io::Result<()> {
    socket.change(RTM_NEWLINK, 0, &header(index, true), |message| {
        if let Some(mac) = mac {
            message.attribute(IFLA_ADDRESS, &mac.0);
        }
        put_mtu(message, mtu);
        if let Some(master) = master {
            message.attribute(IFLA_MASTER, &master.to_ne_bytes());
        }
    })
}

/// Keeps a port of a bridge from the other isolated ones, or not.
pub fn isolate(socket: &mut Socket, index: u32, isolated: bool) -> rustix::io::Result<()> {
    const IFLA_INFO_SLAVE_KIND: u16 = 4;
    const IFLA_INFO_SLAVE_DATA: u16 = 5;
    const IFLA_BRPORT_ISOLATED: u16 = 33;
    socket.change(RTM_NEWLINK, 0, &header(index, true), |message| {
        message.nested(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_SLAVE_KIND, "bridge");
            info.nested(IFLA_INFO_SLAVE_DATA, |data| {
                data.attribute(IFLA_BRPORT_ISOLATED, &[u8::from(isolated)]);
            });
        });
    })
}

/// Makes a port of a bridge deaf and mute, at once, and has the bridge forget whom it heard there. (Taking it from the bridge
/// waits for the kernel's readers.) Said to the bridge's own family: after a message of the other one the kernel looks at the
/// device's carrier and switches its port on again, as it may for a pair that came up a moment ago; such a port is told and learns
/// nothing all the same.
pub fn cut(socket: &mut Socket, index: u32) -> rustix::io::Result<()> {
    const AF_BRIDGE: u8 = 7;
    const IFLA_PROTINFO: u16 = 12;
    const IFLA_BRPORT_STATE: u16 = 1;
    const IFLA_BRPORT_FLUSH: u16 = 24;
    const BR_STATE_DISABLED: u8 = 0;
    // IFLA_BRPORT_ LEARNING, UNICAST_FLOOD, MCAST_FLOOD, BCAST_FLOOD.
    const OFF: [u16; 4] = [8, 9, 27, 30];
    let mut header = header(index, false);
    header[0] = AF_BRIDGE;
    socket.change(RTM_SETLINK, 0, &header, |message| {
        message.nested(IFLA_PROTINFO, |port| {
            port.attribute(IFLA_BRPORT_STATE, &[BR_STATE_DISABLED]);
            for kind in OFF {
                port.attribute(kind, &[0]);
            }
            port.attribute(IFLA_BRPORT_FLUSH, &[]);
        });
    })
}

/// Adds to a batch: a device comes up.
pub fn put_up(batch: &mut Batch, sequence: u32, index: u32) {
    batch.message(RTM_NEWLINK, flag::ACK, sequence, &header(index, true));
}

pub fn remove(socket: &mut Socket, index: u32) -> rustix::io::Result<()> {
    socket.change(RTM_DELLINK, 0, &header(index, false), |_| {})
}

/// The two ends of a veth that is to be made.
pub struct Pair<'a> {
    pub host: &'a LinkName,
    pub master: u32,
    pub peer: &'a LinkName,
    pub peer_mac: Mac,
    /// The descriptor of the peer's network namespace.
    pub namespace: i32,
    pub mtu: Option<u32>,
}

/// Makes a veth without ever waiting for all readers of the kernel's lists (RCU), which takes milliseconds: its peer is born
/// in its network namespace, for moving it there waits; and both ends are born with the one queue that they use, for giving
/// back one for each further processor waits too.
pub fn make_pair(socket: &mut Socket, pair: &Pair<'_>) -> rustix::io::Result<()> {
    let flags = flag::CREATE | flag::EXCL;
    socket.change(RTM_NEWLINK, flags, &header(0, true), |message| {
        message.text(IFLA_IFNAME, pair.host.as_str());
        message.attribute(IFLA_MASTER, &pair.master.to_ne_bytes());
        put_queues(message, pair.mtu);
        message.nested(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth");
            info.nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| put_peer(peer, pair));
            });
        });
    })
}

fn put_peer(peer: &mut Batch, pair: &Pair<'_>) {
    peer.raw(&header(0, false));
    peer.text(IFLA_IFNAME, pair.peer.as_str());
    peer.attribute(IFLA_ADDRESS, &pair.peer_mac.0);
    put_queues(peer, pair.mtu);
    peer.attribute(IFLA_NET_NS_FD, &pair.namespace.to_ne_bytes());
}

/// One queue each way, without a length: what one end sends the other has.
fn put_queues(message: &mut Batch, mtu: Option<u32>) {
    put_mtu(message, mtu);
    message.attribute(IFLA_TXQLEN, &0u32.to_ne_bytes());
    message.attribute(IFLA_NUM_TX_QUEUES, &1u32.to_ne_bytes());
    message.attribute(IFLA_NUM_RX_QUEUES, &1u32.to_ne_bytes());
}

fn put_mtu(message: &mut Batch, mtu: Option<u32>) {
    if let Some(mtu) = mtu.filter(|&mtu| mtu != 0) {
        message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
    }
}
