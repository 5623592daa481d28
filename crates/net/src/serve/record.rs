//! What is written down for this process: networks, endpoints, upstreams, each a JSON file that is replaced at once.

use std::collections::HashMap;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::complain;
use crate::error::{Error, Result};
use crate::request::Publication;

/// The port of DNS.
pub const DNS: u16 = 53;
/// More than a container with thousands of ports takes.
const LONGEST: u64 = 8 << 20;

#[derive(Debug, Clone, Deserialize)]
pub struct Network {
    /// Its name, which may follow a container's: web.backend. Absent: it may not.
    #[serde(default)]
    pub name: String,
    /// The host's addresses on it that names are asked at.
    #[serde(default)]
    pub listen: Vec<IpAddr>,
    /// Whether its containers find each other by name.
    #[serde(default)]
    pub names: bool,
    /// Whether it leads nowhere else.
    #[serde(default)]
    pub internal: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Endpoint {
    /// Its own upstreams.
    #[serde(default, deserialize_with = "servers")]
    pub dns: Vec<Server>,
    #[serde(default)]
    pub ends: Vec<End>,
    /// Names that it alone knows, for names of others.
    #[serde(default)]
    pub links: HashMap<String, String>,
}

/// A container on a network.
#[derive(Debug, Clone, Deserialize)]
pub struct End {
    pub network: String,
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    #[serde(default)]
    pub names: Vec<String>,
    #[serde(default)]
    pub ports: Vec<Publication>,
}

#[derive(Debug, Default, Deserialize)]
pub struct Upstreams {
    #[serde(default, deserialize_with = "servers")]
    pub servers: Vec<Server>,
}

/// A server of names: an address, with a device (`fe80::1%eth0`) or a port (`127.0.0.1:5353`) where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server(pub SocketAddr);

/// The servers of a list. They come from files that people write, and devices go: one that is none is said and left out,
/// the others are asked.
fn servers<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<Server>, D::Error> {
    let all = Vec::<String>::deserialize(from)?;
    let sound = |text: String| Server::parse(&text).map_err(|why| complain(&why)).ok();
    Ok(all.into_iter().filter_map(sound).collect())
}

impl Server {
    fn parse(text: &str) -> std::result::Result<Server, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Server(address));
        }
        let (address, scope) = text.split_once('%').unwrap_or((text, ""));
        let mut server = match address.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, DNS),
            Err(_) => return Err(format!("{text:?} is no server of names")),
        };
        if let SocketAddr::V6(six) = &mut server
            && !scope.is_empty()
        {
            six.set_scope_id(device(scope).ok_or_else(|| format!("{text:?}: no such device"))?);
        }
        Ok(Server(server))
    }
}

fn device(scope: &str) -> Option<u32> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    if let Ok(number) = scope.parse() {
        return Some(number);
    }
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).ok()?;
    rustix::net::netdevice::name_to_index(socket.as_fd(), scope).ok()
}

/// Reads a record; None: there is none.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let failed = |source| Error::Record {
        path: path.to_owned(),
        source,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = Vec::new();
    let read = file.take(LONGEST + 1).read_to_end(&mut text);
    read.map_err(failed)?;
    if text.len() as u64 > LONGEST {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    let parsed = serde_json::from_slice(&text);
    parsed.map(Some).map_err(|source| Error::Unsound {
        path: path.to_owned(),
        source,
    })
}

/// Whether a name may be one of a file below our directory.
pub fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=128).contains(&id.len()) && id.bytes().all(plain) && !id.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_names() {
        for (text, address) in [
            ("1.1.1.1", "1.1.1.1:53"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("::1", "[::1]:53"),
            ("fe80::1%2", "[fe80::1%2]:53"),
            ("fe80::1%lo", "[fe80::1%1]:53"),
        ] {
            let server = Server::parse(text).unwrap();
            assert_eq!(server.0.to_string(), address);
        }
        for text in ["", "localhost", "1.1.1", "fe80::1%no-such-device"] {
            assert!(Server::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_server_that_is_none_leaves_the_others() {
        let text = r#"{"servers":["1.1.1.1","fe80::1%gone0","::1"]}"#;
        let found: Upstreams = serde_json::from_str(text).unwrap();
        assert_eq!(found.servers.len(), 2);
    }

    #[test]
    fn ids_are_no_paths() {
        assert!(is_id("0123456789abcdef") && is_id("my-net_1.x"));
        for id in ["", ".", "..", ".x", "a/b", "a\0b", "a b"] {
            assert!(!is_id(id), "{id:?}");
        }
    }
}
