//! The small values of a request, each checked when it is read.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Deserialize;

/// The name of a network device: what the kernel's dev_valid_name() takes, in printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LinkName(String);

impl LinkName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl TryFrom<String> for LinkName {
    type Error = String;

    fn try_from(name: String) -> Result<LinkName, String> {
        const LONGEST: usize = 15;
        let fits = (1..=LONGEST).contains(&name.len()) && name != "." && name != "..";
        let printable = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%');
        if fits && name.bytes().all(printable) {
            Ok(LinkName(name))
        } else {
            Err(format!("{name:?} is no name of a network device"))
        }
    }
}

/// A part of the name of one of the kernel's settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SettingName(String);

impl fmt::Display for SettingName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl TryFrom<String> for SettingName {
    type Error = String;

    fn try_from(name: String) -> Result<SettingName, String> {
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if (1..=64).contains(&name.len()) && name.bytes().all(is_part) {
            Ok(SettingName(name))
        } else {
            Err(format!("{name:?} is no part of a setting's name"))
        }
    }
}

/// An Ethernet address of one station.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A random, locally administered one.
    pub fn random() -> rustix::io::Result<Mac> {
        let mut bytes = [0; 6];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        bytes[0] = (bytes[0] & 0xfc) | 0x02;
        Ok(Mac(bytes))
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Mac, String> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        let whole = bytes.iter_mut().all(|byte| {
            parts
                .next()
                .filter(|part| part.len() == 2 && !part.starts_with('+'))
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .map(|value| *byte = value)
                .is_some()
        });
        if whole && parts.next().is_none() && bytes[0] & 1 == 0 && bytes != [0; 6] {
            Ok(Mac(bytes))
        } else {
            Err(format!("{text:?} is no Ethernet address of a station"))
        }
    }
}

/// An address and the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cidr {
    pub address: IpAddr,
    pub prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Cidr, String> {
        let found = text.split_once('/').and_then(|(address, prefix)| {
            let address = IpAddr::from_str(address).ok()?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.parse().ok().filter(|&prefix| prefix <= longest)?;
            Some(Cidr { address, prefix })
        });
        found.ok_or_else(|| format!("{text:?} is no address with a prefix, as 172.18.0.1/16"))
    }
}

/// The bytes of an address, in the order of the wire.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

/// An address out of its bytes.
pub fn from_octets(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(four)));
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|six| IpAddr::V6(Ipv6Addr::from(six)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices() {
        for name in ["eth0", "br-0123456789ab", "veth0123456789", "a.b", "x"] {
            assert!(LinkName::try_from(name.to_owned()).is_ok(), "{name}");
        }
        let long = "sixteen-letters!";
        for name in ["", ".", "..", "a/b", "a b", "a\n", "a:1", "%d", "é", long] {
            assert!(LinkName::try_from(name.to_owned()).is_err(), "{name}");
        }
    }

    #[test]
    fn ethernet_addresses() {
        let good = Mac::try_from("02:42:Ac:12:00:02".to_owned());
        assert_eq!(good, Ok(Mac([2, 0x42, 0xac, 0x12, 0, 2])));
        let group = "01:00:5e:00:00:01";
        for text in [
            "",
            "02:42",
            "02:42:ac:12:00:02:03",
            "2:42:ac:12:00:02",
            "+2:42:ac:12:00:02",
            "00:00:00:00:00:00",
            group,
        ] {
            assert!(Mac::try_from(text.to_owned()).is_err(), "{text}");
        }
        let random = Mac::random().unwrap();
        assert_eq!(random.0[0] & 3, 2);
    }

    #[test]
    fn addresses_with_a_prefix() {
        for text in ["172.18.0.1/16", "0.0.0.0/0", "fd00::1/64", "::/128"] {
            assert_eq!(Cidr::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        for text in [
            "",
            "1.2.3.4",
            "1.2.3.4/33",
            "::1/129",
            "1.2.3/24",
            "1.2.3.4/-1",
            "a/8",
        ] {
            assert!(Cidr::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_of_addresses() {
        for text in ["1.2.3.4", "fd00::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(from_octets(&octets(address)), Some(address));
        }
        assert_eq!(from_octets(&[1, 2, 3]), None);
    }
}
