//! Why something was not done; each condition names its object.

use std::net::IpAddr;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::request::Publication;
use crate::value::{Cidr, LinkName};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}\n\nhint: stockade-net --help")]
    Usage(String),
    #[error(transparent)]
    Arguments(#[from] lexopt::Error),
    #[error("read the request")]
    Read(#[source] std::io::Error),
    #[error("the request is not one")]
    Request(#[source] serde_json::Error),
    #[error("write the answer")]
    Write(#[source] std::io::Error),
    #[error("open a netlink socket")]
    Socket(#[source] Errno),
    #[error("read the host's {what}")]
    Dump {
        what: &'static str,
        #[source]
        source: Errno,
    },
    #[error("look up the device {name}")]
    Find {
        name: LinkName,
        #[source]
        source: Errno,
    },
    #[error("there is no device {name}")]
    Missing { name: LinkName },
    #[error("the device {name} is of the kind {found:?}, not a {wanted}")]
    Foreign {
        name: LinkName,
        found: String,
        wanted: &'static str,
    },
    #[error("a device {name} exists in {namespace:?} already")]
    Exists { name: LinkName, namespace: PathBuf },
    #[error("make the device {name}")]
    Make {
        name: LinkName,
        #[source]
        source: Errno,
    },
    #[error("set up the device {name}")]
    SetUp {
        name: LinkName,
        #[source]
        source: Errno,
    },
    #[error("set up the device {name} in {namespace:?} with its addresses and routes")]
    SetUpInside {
        name: LinkName,
        namespace: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("remove the device {name}")]
    Remove {
        name: LinkName,
        #[source]
        source: Errno,
    },
    #[error("give {name} the address {address}")]
    Address {
        name: LinkName,
        address: Cidr,
        #[source]
        source: Errno,
    },
    #[error("{gateway} is no IPv{family} address: it cannot be gateway{family}")]
    Family { gateway: IpAddr, family: u8 },
    #[error("set the default routes by {name} in {namespace:?}")]
    Gateway {
        name: LinkName,
        namespace: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("open the network namespace {path:?}")]
    Namespace {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("{path:?} is the host's own network namespace")]
    OwnNamespace { path: PathBuf },
    #[error("enter the network namespace {path:?}")]
    Enter {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("make a random Ethernet address")]
    Random(#[source] Errno),
    #[error("set {path:?}")]
    Setting {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("publish {port}")]
    Publish {
        port: Publication,
        #[source]
        source: Errno,
    },
    #[error("publish {port}: the table inet stockade has no map for it")]
    NoMap { port: Publication },
    #[error("{port} is published to another container")]
    Taken { port: Publication },
    #[error("unpublish {port}")]
    Unpublish {
        port: Publication,
        #[source]
        source: Errno,
    },
    #[error("change the published ports")]
    Elements(#[source] Errno),
    #[error("forget a flow of datagrams")]
    Flow(#[source] Errno),
    #[error("read {path:?}")]
    Record {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path:?} is no record")]
    Unsound {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("open {path:?}")]
    Door {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("wait for events")]
    Poll(#[source] std::io::Error),
    #[error("give privileges away")]
    Privileges(#[source] std::io::Error),
    #[error("{first}\nnot all that was done before is undone")]
    NotUndone {
        first: String,
        #[source]
        second: Box<Error>,
    },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The number that the kernel gave as the reason; what stands in the way already is EEXIST, what is missing ENOENT.
    pub fn number(&self) -> Option<i32> {
        match self {
            Error::Exists { .. } | Error::Taken { .. } => return Some(Errno::EXIST.raw_os_error()),
            Error::Missing { .. } | Error::NoMap { .. } => {
                return Some(Errno::NOENT.raw_os_error());
            }
            _ => {}
        }
        let source = std::error::Error::source(self)?;
        if let Some(errno) = source.downcast_ref::<Errno>() {
            return Some(errno.raw_os_error());
        }
        source.downcast_ref::<std::io::Error>()?.raw_os_error()
    }
}
