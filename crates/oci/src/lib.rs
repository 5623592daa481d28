//! `stockade-oci`: the command line that runc's callers know, over the native wall.
//!
//! One call does one thing and exits; what lasts between calls lies in the state directory ([`store`]) and nowhere else. The
//! program has one thread, so that clone3(2) in [`jail`] is sound. Words, JSON and exit codes are runc's where callers
//! read them (docs/oci.md); where a flag is not served it is refused by name.

mod args;
mod cli;
mod clock;
mod container;
mod error;
mod foreground;
mod launch;
mod log;
mod notify;
mod process;
mod signal;
mod store;
mod verbs;

pub use cli::main;
