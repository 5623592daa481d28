//! Blobs of registries: downloaded, digested and unpacked in one pass; compressed and uploaded.
//!
//! Nothing here decides what is wanted, from whom, or as whom: that is the caller's, who gives it as one JSON object. A
//! server is hostile: its answers are bounded, its redirects carry no credentials, its bytes are nothing until their
//! digest is right. Threads wait for the network; nothing is asynchronous.

mod cli;
mod client;
mod download;
mod error;
mod get;
mod gzip;
mod location;
mod moment;
mod proxy;
mod put;
mod range;
mod report;
mod request;
mod spool;
mod tries;
mod trust;

pub use cli::main;
