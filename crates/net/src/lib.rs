//! The networks of a node. `apply`: bridges, the ends of containers on them, published ports, by netlink, in one process a
//! change. `serve`: the one process that stays, for names and for ports that are held.
//!
//! Law: it decides nothing; names, addresses and ports come with the request. A request is done whole or undone. No program
//! is called, no table of nftables is made here. What a container may have put into its own network namespace is not trusted.
//!
//! ```text
//! request    what is asked, checked; its values
//! apply      one operation after the other, undo what takes them back
//! bridge     a network's bridge · attach  a container's end of it · elements  published ports · flows  what they leave
//! link, address, setting, namespace        the kernel's objects
//! netlink    a socket to the kernel · message  what goes through it, as bytes
//! routes     where the host's networks are
//! serve      the process that stays: names, ports, what the kernel cannot lead
//! ```

mod address;
mod apply;
mod args;
mod attach;
mod bridge;
mod elements;
mod error;
mod flows;
mod link;
mod message;
mod namespace;
mod netlink;
mod request;
mod routes;
mod serve;
mod setting;
mod undo;
mod value;

pub use serve::packet;

use std::io::{self, Write};
use std::process::ExitCode;

use error::{Error, Result};

/// The program `stockade-net`.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "stockade-net: {}", causes::told(&error));
            ExitCode::from(match error {
                Error::Usage(_) | Error::Arguments(_) | Error::Request(_) => 2,
                _ => 1,
            })
        }
    }
}

fn run() -> Result<()> {
    match args::parse(lexopt::Parser::from_env())? {
        args::Wish::Say(text) => io::stdout()
            .write_all(text.as_bytes())
            .map_err(Error::Write),
        args::Wish::Apply => apply::apply(io::stdin().lock(), io::stdout().lock()),
        args::Wish::Routes => routes::routes(io::stdout().lock()),
        args::Wish::Serve(directory) => serve::serve(&directory),
    }
}
