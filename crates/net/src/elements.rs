//! Published ports: elements of the maps of the table `inet stockade`. A change is one batch, done whole or not at all; its
//! cost does not depend on how many ports there are.
//!
//! ```text
//! ports4   protocol . port           → IPv4 address . port      any address of the host
//! bound4   address . protocol . port → IPv4 address . port      this one
//! ports6, bound6                        the same for IPv6
//! ```

use std::net::IpAddr;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::message::{Attributes, Batch, Message, Reply, flag};
use crate::netlink::Socket;
use crate::request::Publication;
use crate::value::octets;

const TABLE: &str = "stockade";
const NEWSETELEM: u16 = 12;
const GETSETELEM: u16 = 13;
const DELSETELEM: u16 = 14;
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEM: u16 = 1;
const ELEM_KEY: u16 = 1;
const ELEM_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
/// Where attributes begin (`struct nfgenmsg`).
const HEADER: usize = 4;

/// The socket to nftables, opened when it is first needed and closed last: after elements were taken away, closing it waits
/// until the kernel has freed them.
#[derive(Default)]
pub struct Late(Option<Socket>);

impl Late {
    fn open(&mut self, messages: usize) -> Result<&mut Socket> {
        let socket = match self.0.take() {
            Some(socket) => socket,
            None => Socket::netfilter().map_err(Error::Socket)?,
        };
        socket.make_room(messages).map_err(Error::Socket)?;
        Ok(self.0.insert(socket))
    }
}

/// An element: its map, its key, what it leads to. Each field of a key or of data takes whole words of 32 bits.
#[derive(Debug, PartialEq, Eq)]
struct Element {
    map: &'static str,
    key: Vec<u8>,
    data: Vec<u8>,
}

impl Element {
    /// None: the families differ, so that no rule of the kernel's can lead there; `serve` carries such a port.
    fn of(port: &Publication) -> Option<Element> {
        let bound = port.host_ip.filter(|ip| !ip.is_unspecified());
        if port
            .host_ip
            .is_some_and(|ip| ip.is_ipv4() != port.to.is_ipv4())
        {
            return None;
        }
        let mut key = bound.map(octets).unwrap_or_default();
        key.extend_from_slice(&[port.protocol.number(), 0, 0, 0]);
        key.extend_from_slice(&word(port.host_port));
        let mut data = octets(port.to);
        data.extend_from_slice(&word(port.port));
        let map = match (port.to, bound) {
            (IpAddr::V4(_), None) => "ports4",
            (IpAddr::V4(_), Some(_)) => "bound4",
            (IpAddr::V6(_), None) => "ports6",
            (IpAddr::V6(_), Some(_)) => "bound6",
        };
        Some(Element { map, key, data })
    }

    fn put(&self, batch: &mut Batch, message: u16, flags: u16, sequence: u32) {
        const NFPROTO_INET: u8 = 1;
        batch.message(kind(message), flags, sequence, &[NFPROTO_INET, 0, 0, 0]);
        batch.text(LIST_TABLE, TABLE).text(LIST_SET, self.map);
        batch.nested(LIST_ELEMENTS, |list| {
            list.nested(LIST_ELEM, |element| {
                put_value(element, ELEM_KEY, &self.key);
                if message == NEWSETELEM {
                    put_value(element, ELEM_DATA, &self.data);
                }
            });
        });
    }
}

fn put_value(element: &mut Batch, which: u16, value: &[u8]) {
    element.nested(which, |inside| {
        inside.attribute(DATA_VALUE, value);
    });
}

fn word(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

const fn kind(message: u16) -> u16 {
    const NFNL_SUBSYS_NFTABLES: u16 = 10;
    (NFNL_SUBSYS_NFTABLES << 8) | message
}

/// Ports with their elements.
fn elements(ports: &[Publication]) -> Vec<(&Publication, Element)> {
    let with = |port| Element::of(port).map(|element| (port, element));
    ports.iter().filter_map(with).collect()
}

/// Publishes ports, all or none; the answer are those that were not published before.
///
/// # Errors
/// `Taken`: a port leads elsewhere already. `NoMap`: the table is not there.
pub fn publish(socket: &mut Late, ports: &[Publication]) -> Result<Vec<Publication>> {
    let all = elements(ports);
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let socket = socket.open(all.len())?;
    let mut old = vec![false; all.len()];
    // Once as new ones; then those that are there already may be, if they lead to the same.
    for _ in 0..2 {
        let failed = transact(socket, all.len(), |place, batch, sequence| {
            let exclusive = if old[place] { 0 } else { flag::EXCL };
            let flags = flag::CREATE | exclusive;
            all[place].1.put(batch, NEWSETELEM, flags, sequence);
        })?;
        if failed.is_empty() {
            let new = all.iter().zip(&old).filter(|(_, old)| !**old);
            return Ok(new.map(|((port, _), _)| (*port).clone()).collect());
        }
        for (place, errno) in failed {
            let port = all[place].0.clone();
            match errno {
                Errno::EXIST if !old[place] => old[place] = true,
                Errno::EXIST | Errno::BUSY => return Err(Error::Taken { port }),
                Errno::NOENT => return Err(Error::NoMap { port }),
                source => return Err(Error::Publish { port, source }),
            }
        }
    }
    Err(Error::Elements(Errno::AGAIN))
}

/// Takes ports back, all or none. Those that lead elsewhere by now, or nowhere, stay as they are; the answer are the others.
pub fn unpublish(socket: &mut Late, ports: &[Publication]) -> Result<Vec<Publication>> {
    let all = elements(ports);
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let socket = socket.open(all.len())?;
    // An element may go between being looked at and being taken away: with its table, which is put back anew.
    for _ in 0..3 {
        let mut standing = Vec::new();
        for one in &all {
            if look(socket, &one.1)? {
                standing.push(one);
            }
        }
        let failed = transact(socket, standing.len(), |place, batch, sequence| {
            standing[place].1.put(batch, DELSETELEM, 0, sequence);
        })?;
        match failed.first() {
            None => return Ok(standing.iter().map(|(port, _)| (*port).clone()).collect()),
            Some((_, Errno::NOENT)) => {}
            Some((place, source)) => {
                return Err(Error::Unpublish {
                    port: standing[*place].0.clone(),
                    source: *source,
                });
            }
        }
    }
    Err(Error::Elements(Errno::AGAIN))
}

/// Whether an element stands as it is.
fn look(socket: &mut Socket, element: &Element) -> Result<bool> {
    let mut batch = Batch::new();
    element.put(&mut batch, GETSETELEM, flag::ACK, socket.next());
    let mut stands = false;
    let asked = socket.exchange(batch.bytes(), |message| {
        if let Reply::Data(message) = message.reply() {
            stands |= data(message) == Some(&element.data);
        }
    });
    asked.map_err(Error::Elements)?;
    Ok(stands)
}

/// What the element of an answer leads to.
fn data<'a>(message: Message<'a>) -> Option<&'a [u8]> {
    let elements: Attributes<'a> = message.attributes(HEADER).nested(LIST_ELEMENTS);
    elements
        .nested(LIST_ELEM)
        .nested(ELEM_DATA)
        .find(DATA_VALUE)
}

/// Sends `count` messages as one batch; what failed of it, by place. Without failures it is done.
fn transact(
    socket: &mut Socket,
    count: usize,
    mut put: impl FnMut(usize, &mut Batch, u32),
) -> Result<Vec<(usize, Errno)>> {
    const BATCH_BEGIN: u16 = 0x10;
    const BATCH_END: u16 = 0x11;
    // Of the family "none" and for nftables, in the order of the wire.
    const MARK: [u8; HEADER] = [0, 0, 0, 10];
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut batch = Batch::new();
    let begin = socket.next();
    batch.message(BATCH_BEGIN, 0, begin, &MARK);
    for place in 0..count {
        put(place, &mut batch, socket.next());
    }
    batch.message(BATCH_END, 0, socket.next(), &MARK);
    let (mut failed, mut whole) = (Vec::new(), None);
    let sent = socket.exchange(batch.bytes(), |message| {
        if let Reply::Failed(errno) = message.reply() {
            let errno = Errno::from_raw_os_error(errno);
            let place = message.sequence.wrapping_sub(begin) as usize;
            match place.checked_sub(1).filter(|&place| place < count) {
                Some(place) => failed.push((place, errno)),
                None => whole = Some(errno),
            }
        }
    });
    sent.map_err(Error::Elements)?;
    match whole {
        Some(errno) => Err(Error::Elements(errno)),
        None => Ok(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Protocol;

    fn port(host_ip: &str, to: &str) -> Publication {
        Publication {
            host_ip: (!host_ip.is_empty()).then(|| host_ip.parse().unwrap()),
            host_port: 0x1f90,
            protocol: Protocol::Tcp,
            to: to.parse().unwrap(),
            port: 80,
        }
    }

    #[test]
    fn a_port_goes_to_the_map_of_its_family_and_address() {
        let cases = [
            ("", "172.18.0.2", Some("ports4")),
            ("0.0.0.0", "172.18.0.2", Some("ports4")),
            ("127.0.0.1", "172.18.0.2", Some("bound4")),
            ("", "fd00::2", Some("ports6")),
            ("::", "fd00::2", Some("ports6")),
            ("::1", "fd00::2", Some("bound6")),
            ("::1", "172.18.0.2", None),
            ("::", "172.18.0.2", None),
            ("1.2.3.4", "fd00::2", None),
        ];
        for (host_ip, to, map) in cases {
            let element = Element::of(&port(host_ip, to));
            assert_eq!(element.map(|element| element.map), map, "{host_ip} {to}");
        }
    }

    #[test]
    fn fields_are_whole_words() {
        let element = Element::of(&port("127.0.0.1", "172.18.0.2")).unwrap();
        assert_eq!(element.key, [127, 0, 0, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        assert_eq!(element.data, [172, 18, 0, 2, 0, 80, 0, 0]);
    }
}
