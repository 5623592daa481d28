//! The command line as a whole: global flags, the table of verbs, help, and what an error becomes.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::{Args, Flag, Order};
use crate::error::Error;
use crate::log::Log;
use crate::store::Store;
use crate::verbs;

/// What every verb knows.
pub struct Context {
    root: Option<PathBuf>,
    pub cgroup_manager: CgroupManager,
    pub log: Log,
}

impl Context {
    /// The state directory; asked only by those who need one.
    pub fn store(&self) -> Result<Store, Error> {
        match &self.root {
            Some(root) => Ok(Store::new(
                std::path::absolute(root).map_err(Error::io("find", root))?,
            )),
            None => Ok(Store::new(default_root()?)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupManager {
    Cgroupfs,
    Disabled,
}

/// One command.
pub struct Verb {
    pub name: &'static str,
    pub operands: &'static str,
    pub about: &'static str,
    /// What a newcomer needs beyond the flags; empty if nothing.
    pub teach: &'static str,
    pub flags: &'static [Flag],
    /// How many operands: at least, at most.
    pub count: (usize, usize),
    pub order: Order,
    /// Its process enters containers, so the program is executed from a sealed mount.
    pub enters: bool,
    pub run: fn(&Context, &Args) -> Result<u8, Error>,
}

const FLAGS: &[Flag] = &[
    Flag::value(
        "root",
        "DIR",
        "where the state of containers is kept (/run/stockade/oci; for users $XDG_RUNTIME_DIR/stockade/oci)",
    ),
    Flag::value(
        "log",
        "FILE",
        "write errors and warnings to FILE too, one a line",
    ),
    Flag::value("log-format", "text|json", "how a line of the log looks"),
    Flag::switch("debug", "log each step"),
    Flag::value(
        "cgroup-manager",
        "cgroupfs|disabled",
        "who makes cgroups; disabled: the caller did, no limit is set",
    ),
    Flag::switch(
        "systemd-cgroup",
        "refused: cgroups are made by cgroupfs only",
    ),
    Flag::value(
        "rootless",
        "auto|true|false",
        "accepted for callers' sake: what the caller may do is found out by trying",
    ),
    Flag::value(
        "criu",
        "PATH",
        "accepted for callers' sake: there is no checkpoint",
    ),
    Flag::switch("version", "print the version").short('v'),
    Flag::switch("help", "print this help, or a command's").short('h'),
];

const HELP: Flag = Flag::switch("help", "print this help").short('h');

pub fn main() -> ExitCode {
    let mut argv = std::env::args_os();
    let name = argv.next().map(PathBuf::from);
    let name = name
        .as_deref()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .unwrap_or("stockade-oci");
    let mut log = Log::stderr();
    match dispatch(name, argv, &mut log) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log.error(&causes::in_gos_words(&error));
            if error.is_usage() {
                let _ = writeln!(std::io::stderr(), "hint: {name} --help");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// `log` becomes the one that the flags name as soon as they are understood.
fn dispatch(name: &str, argv: impl Iterator<Item = OsString>, log: &mut Log) -> Result<u8, Error> {
    let global = Args::parse(FLAGS, argv, Order::BeforeOperands)?;
    let format = global.text("log-format")?.unwrap_or("text");
    *log = Log::new(global.path("log").as_deref(), format, global.has("debug"))?;
    if global.has("version") {
        return print(&version(name));
    }
    let mut rest = global.operands.iter().cloned();
    let verb = match rest.next() {
        None => return print(&help(name)),
        Some(_) if global.has("help") => return print(&help(name)),
        Some(word) if word == "help" => return print(&help_on(name, rest.next())?),
        Some(word) => find(&word.to_string_lossy())?,
    };
    let table = verb.flags;
    let args = parse_verb(table, rest, verb.order)?;
    let Some(args) = args else {
        return print(&verb_help(name, verb));
    };
    let (least, most) = verb.count;
    if !(least..=most).contains(&args.operands.len()) {
        return Err(Error::Operands {
            verb: verb.name,
            want: want(verb.count),
            got: args.operands.len(),
        });
    }
    let context = context(&global, std::mem::replace(log, Log::stderr()))?;
    if verb.enters {
        jail::seal()?;
    }
    let result = (verb.run)(&context, &args);
    *log = context.log;
    result
}

/// `None` when help is asked for.
fn parse_verb(
    table: &[Flag],
    argv: impl Iterator<Item = OsString>,
    order: Order,
) -> Result<Option<Args>, Error> {
    let argv: Vec<OsString> = argv.collect();
    // The command of `exec` may have a flag of this name: only the first word counts.
    let asked = argv
        .first()
        .is_some_and(|word| word == "--help" || word == "-h" || word == "-help");
    if asked {
        Ok(None)
    } else {
        Ok(Some(Args::parse(table, argv, order)?))
    }
}

fn context(global: &Args, log: Log) -> Result<Context, Error> {
    if global.has("systemd-cgroup") {
        return Err(Error::Unsupported(
            "--systemd-cgroup",
            "cgroups are made by cgroupfs; on systemd hosts give cgroupsPath a delegated slice",
        ));
    }
    let cgroup_manager = match global.text("cgroup-manager")?.unwrap_or("cgroupfs") {
        "cgroupfs" => CgroupManager::Cgroupfs,
        "disabled" => CgroupManager::Disabled,
        "systemd" => {
            return Err(Error::Unsupported(
                "--cgroup-manager systemd",
                "cgroups are made by cgroupfs; on systemd hosts give cgroupsPath a delegated slice",
            ));
        }
        other => {
            return Err(Error::Flag {
                flag: "cgroup-manager",
                value: other.into(),
                reason: "neither cgroupfs nor disabled",
            });
        }
    };
    match global.text("rootless")?.unwrap_or("auto") {
        "auto" | "true" | "false" => {}
        other => {
            return Err(Error::Flag {
                flag: "rootless",
                value: other.into(),
                reason: "neither auto nor true nor false",
            });
        }
    }
    Ok(Context {
        root: global.path("root"),
        cgroup_manager,
        log,
    })
}

fn default_root() -> Result<PathBuf, Error> {
    if rustix::process::geteuid().is_root() {
        return Ok("/run/stockade/oci".into());
    }
    let dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let dir = dir.ok_or(Error::Refused("there is no place for the state of containers: XDG_RUNTIME_DIR is not set and --root is not given"))?;
    Ok(PathBuf::from(dir).join("stockade/oci"))
}

fn find(word: &str) -> Result<&'static Verb, Error> {
    verbs::ALL
        .iter()
        .find(|verb| verb.name == word)
        .ok_or_else(|| Error::UnknownVerb(word.into()))
}

fn want(count: (usize, usize)) -> &'static str {
    match count {
        (0, _) => "no",
        (1, 1) => "exactly 1",
        (2, 2) => "exactly 2",
        _ => "a minimum of 1",
    }
}

/// To standard output; a reader that left early is no failure.
pub fn print(text: &str) -> Result<u8, Error> {
    match std::io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| std::io::stdout().flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::System("write to standard output", error))
        }
        _ => Ok(0),
    }
}

/// The first line's first word is the name by which the program was called: some callers want `runc version`.
fn version(name: &str) -> String {
    let commit = option_env!("STOCKADE_COMMIT").unwrap_or("unknown");
    format!(
        "{name} version {}\ncommit: {commit}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        spec::OCI_VERSION
    )
}

fn help(name: &str) -> String {
    let mut text = format!(
        "{name} - run containers from OCI bundles behind the native wall\n\n\
         A bundle is a directory with a root file system and config.json. To make and run one:\n\n    \
         mkdir -p bundle/rootfs && tar -C bundle/rootfs -xf image.tar\n    \
         cd bundle && {name} spec && {name} run mycontainer\n\n\
         usage: {name} [flags] command [flags of the command] [operands]\n\ncommands:\n"
    );
    for verb in verbs::ALL {
        text.push_str(&format!("  {:<11} {}\n", verb.name, verb.about));
    }
    text.push_str("\nflags:\n");
    FLAGS.iter().for_each(|flag| describe(&mut text, flag));
    text.push_str(&format!("\n{name} COMMAND --help says more of one.\n"));
    text
}

fn help_on(name: &str, word: Option<OsString>) -> Result<String, Error> {
    match word {
        None => Ok(help(name)),
        Some(word) => Ok(verb_help(name, find(&word.to_string_lossy())?)),
    }
}

fn verb_help(name: &str, verb: &Verb) -> String {
    let mut text = format!(
        "{name} {} - {}\n\nusage: {name} {} [flags] {}\n",
        verb.name, verb.about, verb.name, verb.operands
    );
    if !verb.teach.is_empty() {
        text.push_str(&format!("\n{}\n", verb.teach.replace("{name}", name)));
    }
    text.push_str("\nflags:\n");
    verb.flags.iter().for_each(|flag| describe(&mut text, flag));
    describe(&mut text, &HELP);
    text
}

fn describe(text: &mut String, flag: &Flag) {
    let short = flag
        .short
        .map_or("    ".into(), |short| format!("-{short}, "));
    let long = match flag.value {
        Some(value) => format!("--{} {value}", flag.name),
        None => format!("--{}", flag.name),
    };
    text.push_str(&format!("  {short}{long:<32} {}\n", flag.about));
}
