//! Raw system calls that no safe crate offers. `unsafe` lives here and nowhere else; every block says why it is sound.
//! This crate decides nothing and knows none of the others.
#![allow(unsafe_code)]

mod arena;
mod arrive;
mod bpf;
mod inherit;
mod kill;
mod landlock;
mod loopback;
mod mapping;
mod mount;
mod process;
mod reap;
mod schedule;
mod seccomp;
mod signals;
mod text;
mod unblocked;
mod unread;
mod words;

pub use arena::*;
pub use arrive::*;
pub use bpf::*;
pub use inherit::*;
pub use kill::*;
pub use landlock::*;
pub use loopback::*;
pub use mapping::*;
pub use mount::*;
pub use process::*;
pub use reap::*;
pub use schedule::*;
pub use seccomp::*;
pub use signals::*;
pub use text::*;
pub use unblocked::*;
pub use unread::*;
pub use words::*;
