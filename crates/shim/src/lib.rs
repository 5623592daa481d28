//! `containerd-shim-stockade-v2`: runs the containers of one pod behind the native wall, or another (`foreign`), and speaks
//! containerd's shim protocol.
//!
//! The law: deciding is pure, acting is at the edge. Frames ([`ttrpc`]), phases ([`phase`]), log entries (`log`), stdio
//! targets and options are values and tables without descriptors; [`shim`] holds what is known and is the only loop. One
//! thread, so that fork is sound and a thousand idle shims cost little. Nothing here waits for a peer: not for a caller, not
//! for a reader of output, not for the engine that takes events. What must survive a killed shim is on disk before it is
//! done. The wall (`jail`) and the cgroups (`cgroup`) know nothing of this crate.

mod api;
mod args;
mod attach;
mod base64;
mod create;
mod delete;
mod document;
mod duration;
mod ended;
mod events;
mod exits;
mod failure;
mod foreign;
mod journal;
mod kept;
mod log;
mod neighbours;
mod options;
mod phase;
mod poll;
mod process;
mod publisher;
mod record;
mod serve;
mod service;
mod shim;
mod socket;
mod start;
mod stats;
mod stdio;
mod taken;
mod tasks;
mod ttrpc;
mod wall;
mod wire;

use std::io::Write;
use std::process::ExitCode;

use args::Command;

/// The program.
pub fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => return fail(&error),
    };
    let result: Result<(), Box<dyn std::error::Error>> = match command {
        Command::Start(args) => start::start(&args).map_err(Into::into),
        Command::Delete(args) => delete::delete(&args).map_err(Into::into),
        Command::Serve(args) => serve::serve(&args).map_err(Into::into),
        Command::Info => serve::info().map_err(Into::into),
        Command::Version => print(&format!(
            "containerd-shim-stockade-v2 {}\n",
            env!("CARGO_PKG_VERSION")
        )),
        Command::Help => print(args::USAGE),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

fn print(text: &str) -> Result<(), Box<dyn std::error::Error>> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Into::into)
}

fn fail(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!(
        "containerd-shim-stockade-v2: {}",
        causes::in_gos_words(error)
    );
    ExitCode::FAILURE
}
