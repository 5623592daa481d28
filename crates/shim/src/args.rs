//! The command line: what containerd passes (Go's flag syntax: one or two dashes, `-flag value` or `-flag=value`) as a value.

use std::ffi::OsString;
use std::path::PathBuf;

/// The descriptors that `start` hands to the server: the listener of ttrpc and the one of attach.
pub const TTRPC_LISTENER: i32 = 3;
pub const ATTACH_LISTENER: i32 = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make the sockets, start the server, print its address.
    Start(Shim),
    /// Clean up after a shim that is gone.
    Delete(Shim),
    /// The server itself; only `start` calls it.
    Serve(Shim),
    /// What this runtime can do (containerd 2).
    Info,
    Version,
    Help,
}

/// What all forms carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shim {
    pub namespace: String,
    pub id: String,
    /// Of the engine's gRPC socket; part of what makes a shim's name.
    pub address: String,
    pub bundle: Option<PathBuf>,
    pub debug: bool,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("option {0} is not known")]
    Unknown(String),
    #[error("option {0} needs a value")]
    NoValue(String),
    #[error("command {0:?} is not known\n\nhint: start, delete, -info, -v")]
    Command(String),
    #[error("a command is missing\n\nhint: start, delete, -info, -v")]
    NoCommand,
    #[error("{0} is needed")]
    Missing(&'static str),
    #[error("argument {0:?} is not UTF-8")]
    Encoding(OsString),
}

pub const USAGE: &str = "\
containerd-shim-stockade-v2: runs the containers of one pod behind Stockade's native wall (containerd's shim v2 protocol)

  containerd-shim-stockade-v2 -namespace NS -id ID [-address SOCKET] start     in the bundle's directory; prints the address
  containerd-shim-stockade-v2 -namespace NS -id ID [-bundle DIR] delete        cleans up after a dead shim
  containerd-shim-stockade-v2 -info                                            what it can do (protobuf)
  containerd-shim-stockade-v2 -v                                               its version

options: -debug, -publish-binary PATH (accepted, not needed: events go to TTRPC_ADDRESS)
";

/// Reads the arguments after the program's name.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, Error> {
    let mut shim = Shim::default();
    let mut verb = None;
    let mut args = args.map(|arg| arg.into_string().map_err(Error::Encoding));
    while let Some(arg) = args.next().transpose()? {
        let Some(option) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            verb = Some(arg);
            continue;
        };
        let (name, inline) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        match name {
            "debug" => shim.debug = inline.as_deref() != Some("false"),
            "info" => return Ok(Command::Info),
            "v" | "version" => return Ok(Command::Version),
            "h" | "help" => return Ok(Command::Help),
            "namespace" | "id" | "address" | "bundle" | "publish-binary" | "socket" => {
                let value = match inline {
                    Some(value) => value,
                    None => args
                        .next()
                        .transpose()?
                        .ok_or_else(|| Error::NoValue(arg.clone()))?,
                };
                take(&mut shim, name, value);
            }
            _ => return Err(Error::Unknown(arg)),
        }
    }
    command(verb, shim)
}

fn take(shim: &mut Shim, name: &str, value: String) {
    match name {
        "namespace" => shim.namespace = value,
        "id" => shim.id = value,
        "address" => shim.address = value,
        "bundle" if !value.is_empty() => shim.bundle = Some(PathBuf::from(value)),
        _ => {}
    }
}

fn command(verb: Option<String>, shim: Shim) -> Result<Command, Error> {
    let verb = verb.ok_or(Error::NoCommand)?;
    if !matches!(verb.as_str(), "start" | "delete" | "serve") {
        return Err(Error::Command(verb));
    }
    if shim.namespace.is_empty() {
        return Err(Error::Missing("-namespace"));
    }
    if shim.id.is_empty() {
        return Err(Error::Missing("-id"));
    }
    Ok(match verb.as_str() {
        "start" => Command::Start(shim),
        "delete" => Command::Delete(shim),
        _ => Command::Serve(shim),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, Error> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn shim(id: &str) -> Shim {
        Shim {
            namespace: "n".into(),
            id: id.into(),
            ..Shim::default()
        }
    }

    #[test]
    fn every_form_that_callers_use() {
        let with_address = Shim {
            address: "/run/c.sock".into(),
            ..shim("c")
        };
        let cases = [
            (
                "-namespace n -address /run/c.sock -publish-binary /usr/bin/containerd -id c start",
                Ok(Command::Start(with_address)),
            ),
            (
                "-namespace n -id c -debug start",
                Ok(Command::Start(Shim {
                    debug: true,
                    ..shim("c")
                })),
            ),
            ("--namespace=n --id=c start", Ok(Command::Start(shim("c")))),
            (
                "-namespace n -id c -bundle /b delete",
                Ok(Command::Delete(Shim {
                    bundle: Some("/b".into()),
                    ..shim("c")
                })),
            ),
            ("-namespace n -id c -bundle  delete", Err(Error::NoCommand)),
            ("-info", Ok(Command::Info)),
            ("-v", Ok(Command::Version)),
            ("", Err(Error::NoCommand)),
            ("-namespace n start", Err(Error::Missing("-id"))),
            ("-id c start", Err(Error::Missing("-namespace"))),
            ("-namespace n -id", Err(Error::NoValue("-id".into()))),
            (
                "-namespace n -id c -frob start",
                Err(Error::Unknown("-frob".into())),
            ),
            (
                "-namespace n -id c launch",
                Err(Error::Command("launch".into())),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line), expected, "{line}");
        }
    }
}
