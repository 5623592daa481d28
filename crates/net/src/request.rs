//! What `apply` is asked for: one JSON document, checked whole before anything is done.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::value::{Cidr, LinkName, Mac, SettingName};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(rename = "do")]
    pub operations: Vec<Operation>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Bridge(Bridge),
    RemoveBridge(RemoveBridge),
    Attach(Attach),
    Gateway(Gateway),
    Detach(Detach),
    Cut(Detach),
    Sweep(Sweep),
    Publish(Vec<Publication>),
    Unpublish(Vec<Publication>),
}

/// A bridge of the host, with the host's own addresses on it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    pub name: LinkName,
    #[serde(default)]
    pub addresses: Vec<Cidr>,
    /// Absent or 0: the kernel's own.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Absent: a random one for a new bridge, that of an old one stays.
    #[serde(default)]
    pub mac: Option<Mac>,
    #[serde(default)]
    pub forward4: bool,
    #[serde(default)]
    pub forward6: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveBridge {
    pub name: LinkName,
}

/// A pair of devices: `host` on the bridge `master`, `name` in the network namespace.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    pub netns: PathBuf,
    pub host: LinkName,
    pub name: LinkName,
    pub master: LinkName,
    /// Whether it reaches the host alone, and no other isolated end of the bridge.
    #[serde(default)]
    pub isolated: bool,
    #[serde(default)]
    pub mac: Option<Mac>,
    #[serde(default)]
    pub mtu: Option<u32>,
    #[serde(default)]
    pub addresses: Vec<Cidr>,
    #[serde(default)]
    pub gateway4: Option<IpAddr>,
    #[serde(default)]
    pub gateway6: Option<IpAddr>,
    /// Of the device inside, set before it comes up.
    #[serde(default)]
    pub sysctls: Vec<Sysctl>,
}

/// `/proc/sys/net/FAMILY/GROUP/DEVICE/NAME`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sysctl {
    pub family: SettingName,
    pub group: SettingName,
    pub name: SettingName,
    pub value: String,
}

/// The default routes by one device; the absent ones are taken away.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    pub netns: PathBuf,
    pub name: LinkName,
    #[serde(default)]
    pub gateway4: Option<IpAddr>,
    #[serde(default)]
    pub gateway6: Option<IpAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detach {
    pub host: LinkName,
}

/// The pairs on these bridges that nobody knows any more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    pub bridges: Vec<LinkName>,
    pub keep: Vec<LinkName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// Its number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// A port of the host that leads to one of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Written")]
pub struct Publication {
    /// Absent: all of the host's addresses of the family of `to`.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub protocol: Protocol,
    pub to: IpAddr,
    pub port: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    host_ip: String,
    host_port: u16,
    protocol: Protocol,
    to: IpAddr,
    port: u16,
}

impl TryFrom<Written> for Publication {
    type Error = String;

    fn try_from(written: Written) -> Result<Publication, String> {
        let host_ip = match written.host_ip.as_str() {
            "" => None,
            text => Some(
                text.parse::<IpAddr>()
                    .map_err(|_| format!("{text:?} is no address"))?,
            ),
        };
        if written.host_port == 0 || written.port == 0 {
            return Err("port 0 cannot be published".to_owned());
        }
        Ok(Publication {
            host_ip,
            host_port: written.host_port,
            protocol: written.protocol,
            to: written.to,
            port: written.port,
        })
    }
}

impl std::fmt::Display for Publication {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = self.protocol.word();
        match self.host_ip {
            None => write!(to, "port {}/{word}", self.host_port),
            Some(IpAddr::V4(ip)) => write!(to, "port {ip}:{}/{word}", self.host_port),
            Some(IpAddr::V6(ip)) => write!(to, "port [{ip}]:{}/{word}", self.host_port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_read() {
        let text = r#"{"do":[
            {"bridge":{"name":"br-1","addresses":["172.18.0.1/16","fd00::1/64"],"mtu":1500,"mac":null,"forward4":true,"forward6":false}},
            {"remove_bridge":{"name":"br-1"}},
            {"attach":{"netns":"/proc/1/ns/net","host":"veth0123456789","name":"eth0","master":"br-1","mac":"02:42:ac:12:00:02",
                       "mtu":1500,"addresses":["172.18.0.2/16"],"gateway4":"172.18.0.1","gateway6":null}},
            {"gateway":{"netns":"/proc/1/ns/net","name":"eth0","gateway4":"172.18.0.1","gateway6":null}},
            {"detach":{"host":"veth0123456789"}},
            {"cut":{"host":"veth0123456789"}},
            {"sweep":{"bridges":["br-1"],"keep":["veth0123456789"]}},
            {"publish":[{"host_ip":"","host_port":8080,"protocol":"tcp","to":"172.18.0.2","port":80}]},
            {"unpublish":[{"host_ip":"::1","host_port":8080,"protocol":"sctp","to":"172.18.0.2","port":80}]}]}"#;
        let request: Request = serde_json::from_str(text).unwrap();
        assert_eq!(request.operations.len(), 9);
        let Operation::Unpublish(ports) = &request.operations[8] else {
            panic!("{request:?}");
        };
        assert_eq!(ports[0].to_string(), "port [::1]:8080/sctp");
    }

    #[test]
    fn what_is_not_known_or_not_sound_is_refused() {
        for operation in [
            r#"{"frobnicate":{}}"#,
            r#"{"detach":{"host":"a/b"}}"#,
            r#"{"detach":{"host":"veth1","force":true}}"#,
            r#"{"bridge":{"name":"br","addresses":["1.2.3.4"]}}"#,
            r#"{"publish":[{"host_port":0,"protocol":"tcp","to":"1.2.3.4","port":80}]}"#,
            r#"{"publish":[{"host_port":65536,"protocol":"tcp","to":"1.2.3.4","port":80}]}"#,
            r#"{"publish":[{"host_port":1,"protocol":"icmp","to":"1.2.3.4","port":80}]}"#,
            r#"{"publish":[{"host_ip":"localhost","host_port":1,"protocol":"tcp","to":"1.2.3.4","port":80}]}"#,
        ] {
            let text = format!(r#"{{"do":[{operation}]}}"#);
            assert!(serde_json::from_str::<Request>(&text).is_err(), "{text}");
        }
    }
}
