//! Layers of images and changes of containers: unpack, diff, the view of `stockade do`, changes, apply, remove.
//!
//! Everything read here is hostile: archives, uppers written by containers, directories that someone changes meanwhile.
//! Every path is walked by descriptors that never follow a symbolic link and never leave their root ([`disk`]). Nothing
//! here decides what is wanted; that is the caller's, who gives it as arguments.
//!
//! The program is [`main`]; the modules that read archives are public for the fuzz targets, `unpack` and what it is
//! asked with also for `stockade-fetch`, which unpacks while it downloads.

mod apply;
pub mod body;
mod changes;
mod cli;
mod container;
mod diff;
pub mod disk;
mod encode;
pub mod ids;
pub mod intake;
mod keep;
pub mod overlay;
mod patient;
mod receive;
mod remove;
mod send;
mod shifted;
pub mod stream;
pub mod tar;
pub mod unpack;
mod usage;
mod view;
pub mod zstd;

pub use cli::main;
