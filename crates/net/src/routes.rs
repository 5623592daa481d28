//! Where the host's networks are, so that a new one is put elsewhere.

use std::io::Write;

use serde_json::json;

use crate::address::{self, Family};
use crate::error::{Error, Result};
use crate::netlink::Socket;

/// Writes the destinations of all routes but the default ones, and all addresses, as one line of JSON.
pub fn routes(mut to: impl Write) -> Result<()> {
    let mut socket = Socket::route().map_err(Error::Socket)?;
    let (mut routes, mut addresses) = (Vec::new(), Vec::new());
    for family in Family::BOTH {
        let failed = |what| move |source| Error::Dump { what, source };
        let found = address::routes(&mut socket, family).map_err(failed("routes"))?;
        let elsewhere = found.iter().filter_map(|route| route.to);
        routes.extend(
            elsewhere
                .filter(|to| to.prefix != 0)
                .map(|to| to.to_string()),
        );
        let found = address::addresses(&mut socket, family).map_err(failed("addresses"))?;
        addresses.extend(found.iter().map(ToString::to_string));
    }
    routes.sort_unstable();
    routes.dedup();
    let answer = json!({"routes": routes, "addresses": addresses});
    to.write_all(format!("{answer}\n").as_bytes())
        .map_err(Error::Write)
}
