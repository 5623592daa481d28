//! Layers of images and changes of containers: unpack, diff, the view of `stockade do`, changes, apply, remove.
//!
//! Everything read here is hostile: archives, uppers written by containers, directories that someone changes meanwhile.
//! Every path is walked by descriptors that never follow a symbolic link and never leave their root.

use std::io::Write;
use std::process::ExitCode;

const HELP: &str = include_str!("help.txt");

/// The program `stockade-layer`.
pub fn main() -> ExitCode {
    let _ = std::io::stdout().write_all(HELP.as_bytes());
    ExitCode::from(2)
}
