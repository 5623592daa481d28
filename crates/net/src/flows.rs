//! Flows of datagrams that the kernel remembers (conntrack). A client that goes on sending from one port keeps its flow alive,
//! and with it where that led when it began: to an address that another container has by now, or to nobody. So a port of UDP
//! that is published, or not any more, has the flows forgotten that lead elsewhere; connections end by themselves.

use std::collections::HashSet;
use std::net::IpAddr;

use rustix::io::Errno;

use crate::address::{self, Family};
use crate::error::{Error, Result};
use crate::message::{Attributes, Message, flag};
use crate::netlink::Socket;
use crate::request::{Protocol, Publication};
use crate::value::from_octets;

const GET: u16 = 1;
const DELETE: u16 = 2;
/// Where attributes begin (`struct nfgenmsg`).
const HEADER: usize = 4;
const NESTED: u16 = 0x8000;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4_SRC: u16 = 1;
const IP_V4_DST: u16 = 2;
const IP_V6_SRC: u16 = 3;
const IP_V6_DST: u16 = 4;
const PROTO_NUM: u16 = 1;
const PROTO_SRC_PORT: u16 = 2;
const PROTO_DST_PORT: u16 = 3;

/// What became of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Published,
    Unpublished,
}

/// A flow as it was asked for and as it is answered.
#[derive(Debug, PartialEq, Eq)]
struct Flow {
    protocol: u8,
    /// Whom the client sends to.
    asked: (IpAddr, u16),
    /// Who gets it.
    answers: (IpAddr, u16),
}

impl Flow {
    fn of(message: Message<'_>) -> Option<Flow> {
        let attributes = message.attributes(HEADER);
        let (asked, reply) = (
            attributes.nested(TUPLE_ORIG),
            attributes.nested(TUPLE_REPLY),
        );
        let end = |tuple: Attributes<'_>, ips: [u16; 2], port: u16| {
            let ip = tuple.nested(TUPLE_IP);
            let address = ip.find(ips[0]).or_else(|| ip.find(ips[1]))?;
            let port = tuple.nested(TUPLE_PROTO).find(port)?;
            Some((
                from_octets(address)?,
                u16::from_be_bytes(port.try_into().ok()?),
            ))
        };
        Some(Flow {
            protocol: *asked.nested(TUPLE_PROTO).find(PROTO_NUM)?.first()?,
            asked: end(asked, [IP_V4_DST, IP_V6_DST], PROTO_DST_PORT)?,
            answers: end(reply, [IP_V4_SRC, IP_V6_SRC], PROTO_SRC_PORT)?,
        })
    }

    /// Whether it is to be forgotten. One that only passes through on its way to another machine is nobody's here.
    fn is_stale(&self, port: &Publication, change: Change, own: &HashSet<IpAddr>) -> bool {
        let is_of = self.protocol == port.protocol.number()
            && self.asked.1 == port.host_port
            && port
                .host_ip
                .is_none_or(|ip| ip.is_unspecified() || ip == self.asked.0);
        let leads = self.answers == (port.to, port.port);
        is_of
            && match change {
                Change::Published => !leads && own.contains(&self.asked.0),
                Change::Unpublished => leads,
            }
    }
}

/// Has the kernel forget the flows that a change of ports leaves behind.
pub fn follow(socket: &mut Socket, ports: &[Publication], change: Change) -> Result<()> {
    for family in Family::BOTH {
        let of =
            |port: &&Publication| port.protocol == Protocol::Udp && Family::of(port.to) == family;
        let ports: Vec<&Publication> = ports.iter().filter(of).collect();
        if !ports.is_empty() {
            forget(socket, family, &ports, change)?;
        }
    }
    Ok(())
}

fn forget(
    socket: &mut Socket,
    family: Family,
    ports: &[&Publication],
    change: Change,
) -> Result<()> {
    let failed = |what| move |source| Error::Dump { what, source };
    let own = address::addresses(socket, family).map_err(failed("addresses"))?;
    let own: HashSet<IpAddr> = own.iter().map(|one| one.address).collect();
    let mut conntrack = Socket::netfilter().map_err(Error::Socket)?;
    let header = [family.number(), 0, 0, 0];
    let mut stale = Vec::new();
    let dumped = conntrack.ask(
        kind(GET),
        flag::DUMP,
        &header,
        |_| {},
        |message| {
            let found = Flow::of(message);
            if found.is_some_and(|flow| ports.iter().any(|port| flow.is_stale(port, change, &own)))
            {
                let attributes = message.attributes(HEADER);
                let named = |which| attributes.find(which).map(<[u8]>::to_vec);
                stale.push((named(TUPLE_ORIG), named(ID), named(ZONE)));
            }
        },
    );
    match dumped {
        // A kernel that shows its flows to nobody; there is no other way to have it forget one.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(()),
        other => other.map_err(failed("flows"))?,
    }
    for (tuple, id, zone) in stale {
        let done = conntrack.change(kind(DELETE), 0, &header, |request| {
            let parts = [(TUPLE_ORIG | NESTED, tuple), (ID, id), (ZONE, zone)];
            for (which, value) in parts {
                if let Some(value) = value {
                    request.attribute(which, &value);
                }
            }
        });
        match done {
            // It ended meanwhile.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(source) => return Err(Error::Flow(source)),
        }
    }
    Ok(())
}

const fn kind(message: u16) -> u16 {
    const NFNL_SUBSYS_CTNETLINK: u16 = 1;
    (NFNL_SUBSYS_CTNETLINK << 8) | message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Batch, Messages};

    fn port(host_ip: &str) -> Publication {
        Publication {
            host_ip: (!host_ip.is_empty()).then(|| host_ip.parse().unwrap()),
            host_port: 5353,
            protocol: Protocol::Udp,
            to: "172.18.0.3".parse().unwrap(),
            port: 53,
        }
    }

    fn flow(asked: &str, answers: &str) -> Flow {
        let end = |text: &str| {
            let end: std::net::SocketAddr = text.parse().unwrap();
            (end.ip(), end.port())
        };
        Flow {
            protocol: 17,
            asked: end(asked),
            answers: end(answers),
        }
    }

    #[test]
    fn a_flow_is_forgotten_that_leads_where_a_port_does_not() {
        let own = HashSet::from(["10.0.0.1".parse().unwrap(), "10.0.0.9".parse().unwrap()]);
        let cases = [
            // Nobody got it, another container, this one; then through to another machine, another port.
            ("10.0.0.1:5353", "10.0.0.1:5353", true, false),
            ("10.0.0.1:5353", "172.18.0.2:53", true, false),
            ("10.0.0.1:5353", "172.18.0.3:53", false, true),
            ("10.0.0.9:5353", "172.18.0.2:53", true, false),
            ("192.0.2.1:5353", "192.0.2.1:5353", false, false),
            ("10.0.0.1:53", "10.0.0.1:53", false, false),
        ];
        for (asked, answers, published, unpublished) in cases {
            let flow = flow(asked, answers);
            let stale = |change| flow.is_stale(&port(""), change, &own);
            assert_eq!(stale(Change::Published), published, "{asked} {answers}");
            assert_eq!(stale(Change::Unpublished), unpublished, "{asked} {answers}");
        }
        let elsewhere = flow("10.0.0.9:5353", "172.18.0.2:53");
        assert!(!elsewhere.is_stale(&port("10.0.0.1"), Change::Published, &own));
        let tcp = Flow {
            protocol: 6,
            ..elsewhere
        };
        assert!(!tcp.is_stale(&port(""), Change::Published, &own));
    }

    #[test]
    fn a_flow_is_read_and_a_torn_one_is_none() {
        let tuple = |batch: &mut Batch, which, ip, address: [u8; 4], name, port: u16| {
            batch.nested(which, |tuple| {
                tuple.nested(TUPLE_IP, |inside| {
                    inside.attribute(ip, &address);
                });
                tuple.nested(TUPLE_PROTO, |inside| {
                    inside.attribute(PROTO_NUM, &[17]);
                    inside.attribute(name, &port.to_be_bytes());
                });
            });
        };
        let mut batch = Batch::new();
        batch.message(kind(GET), 0, 1, &[2, 0, 0, 0]);
        tuple(
            &mut batch,
            TUPLE_ORIG,
            IP_V4_DST,
            [10, 0, 0, 1],
            PROTO_DST_PORT,
            5353,
        );
        tuple(
            &mut batch,
            TUPLE_REPLY,
            IP_V4_SRC,
            [172, 18, 0, 2],
            PROTO_SRC_PORT,
            53,
        );
        let message = Messages(batch.bytes()).next().unwrap();
        assert_eq!(
            Flow::of(message),
            Some(flow("10.0.0.1:5353", "172.18.0.2:53"))
        );
        for cut in 0..message.body.len() {
            let body = &message.body[..cut];
            assert_eq!(Flow::of(Message { body, ..message }), None, "{cut}");
        }
    }
}
