//! `spec` and `features`: documents about nothing that runs.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::PLAIN;
use crate::args::{Args, Flag};
use crate::cli::{Context, Verb, print};
use crate::error::Error;

pub const SPEC: Verb = Verb {
    name: "spec",
    operands: "",
    about: "write a config.json to begin with",
    teach: "It runs `sh` in rootfs/ on a terminal, as root of the container, with the usual mounts and few capabilities:\n\n    \
            {name} spec && sed -i 's/\"sh\"/\"id\"/' config.json && {name} run mycontainer",
    flags: &[
        Flag::value("bundle", "DIR", "where to write it (the current directory)").short('b'),
        Flag::switch(
            "rootless",
            "for a caller who is not root: with a user namespace of his own id",
        ),
    ],
    count: (0, 0),
    run: spec,
    ..PLAIN
};

pub const FEATURES: Verb = Verb {
    name: "features",
    operands: "",
    about: "print what this runtime serves as JSON",
    count: (0, 0),
    run: features,
    ..PLAIN
};

fn spec(_: &Context, args: &Args) -> Result<u8, Error> {
    let dir = args.path("bundle").unwrap_or_else(|| PathBuf::from("."));
    if !dir.is_dir() {
        return Err(Error::io("chdir", &dir)(std::io::Error::from_raw_os_error(
            rustix::io::Errno::NOENT.raw_os_error(),
        )));
    }
    let path = dir.join("config.json");
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(Error::SpecExists),
        other => other.map_err(Error::io("open", &path))?,
    };
    let text = pretty(&jail::default_spec(args.has("rootless")), b"\t")?;
    file.write_all(text.as_bytes())
        .map_err(Error::io("write", &path))?;
    Ok(0)
}

fn features(_: &Context, _: &Args) -> Result<u8, Error> {
    print(&pretty(&jail::features(), b"    ")?)
}

fn pretty(value: &impl Serialize, indent: &[u8]) -> Result<String, Error> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    let printed = value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut text, formatter,
    ));
    printed.map_err(|source| Error::System("print the document", source.into()))?;
    text.push(b'\n');
    Ok(String::from_utf8_lossy(&text).into_owned())
}
