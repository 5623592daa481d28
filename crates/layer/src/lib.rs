//! Layers of images and changes of containers: unpack, diff, the view of `stockade do`, changes, apply, remove.
//!
//! Everything read here is hostile: archives, uppers written by containers, directories that someone changes meanwhile.
//! Every path is walked by descriptors that never follow a symbolic link and never leave their root ([`disk`]). Nothing
//! here decides what is wanted; that is the caller's, who gives it as arguments.

mod apply;
mod changes;
mod cli;
mod diff;
mod disk;
mod encode;
mod ids;
mod overlay;
mod remove;
mod stream;
mod tar;
mod unpack;
mod view;
mod zstd;

pub use cli::main;
