//! From a bundle to a container that waits at its gate: what `create` and `run` share.
//!
//! Each step is recorded before it is done, so that whoever finds the state directory after a kill -9 can undo it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use causes::in_gos_words;
use spec::{LoadError, Spec};

use crate::args::Args;
use crate::cli::{CgroupManager, Context};
use crate::clock;
use crate::container;
use crate::error::Error;
use crate::notify;
use crate::process::Identity;
use crate::store::{Locked, Record};

/// What the command line asks for.
pub struct Request {
    pub id: String,
    pub bundle: PathBuf,
    config: PathBuf,
    pid_file: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    options: jail::Options,
    /// The caller stays until the container ends.
    foreground: bool,
}

/// A container before its start.
pub struct Made {
    pub locked: Locked,
    pub init: jail::Container,
    pub spec: Spec,
}

impl Request {
    pub fn new(args: &Args, foreground: bool) -> Result<Request, Error> {
        let bundle = args.path("bundle").unwrap_or_else(|| PathBuf::from("."));
        let bundle = fs::canonicalize(&bundle).map_err(Error::io("chdir", &bundle))?;
        let config = match args.path("config") {
            Some(path) => path,
            None => bundle.join("config.json"),
        };
        Ok(Request {
            id: args
                .operands
                .first()
                .map(|id| crate::args::operand(id))
                .unwrap_or_default(),
            bundle,
            config,
            pid_file: args.path("pid-file"),
            console_socket: args.path("console-socket"),
            options: jail::Options {
                no_pivot: args.has("no-pivot"),
                no_new_keyring: args.has("no-new-keyring"),
                preserve_fds: args.number("preserve-fds")?.unwrap_or(0),
                die_with_parent: false,
            },
            foreground,
        })
    }

    /// Makes the container up to its gate.
    pub fn make(
        mut self,
        context: &Context,
        gate: impl FnOnce(&Locked) -> jail::Gate,
    ) -> Result<Made, Error> {
        let (text, mut spec) = load(&self.config)?;
        self.pass_sockets(&mut spec);
        let stdio = self.stdio(&spec)?;
        let mut locked = self.claim(context)?;
        let record = self.record(context, &spec)?;
        locked.write(record)?;
        notify::show(&mut spec, &locked.notify())?;
        let gate = gate(&locked);
        match self.build(context, &mut locked, &spec, &text, (stdio, gate)) {
            Ok(init) => Ok(Made { locked, init, spec }),
            Err(error) => {
                if let Err(undo) = container::undo(locked, &context.log) {
                    context.log.warning(&format!(
                        "container {} could not be taken away: {}",
                        self.id,
                        in_gos_words(&undo)
                    ));
                }
                Err(error)
            }
        }
    }

    fn claim(&self, context: &Context) -> Result<Locked, Error> {
        loop {
            let locked = context.store()?.claim(&self.id)?;
            if locked.record.is_none() {
                return Ok(locked);
            }
            context
                .log
                .debug(|| format!("undo what a killed creator left of container {}", self.id));
            container::undo(locked, &context.log)?;
        }
    }

    fn record(&self, context: &Context, spec: &Spec) -> Result<Record, Error> {
        let linux = spec.linux.as_ref();
        let cgroup = match context.cgroup_manager {
            CgroupManager::Cgroupfs => {
                cgroup::Cgroup::plan(linux.map_or("", |linux| &linux.cgroups_path), &self.id)?
            }
            CgroupManager::Disabled => cgroup::Cgroup::disabled(),
        };
        Ok(Record {
            oci_version: spec::OCI_VERSION.into(),
            id: self.id.clone(),
            bundle: self.bundle.clone(),
            rootfs: spec
                .root
                .as_ref()
                .map(|root| self.bundle.join(&root.path))
                .unwrap_or_default(),
            created: clock::now_nanos(),
            owner: rustix::process::geteuid().as_raw(),
            creator: Identity::own()
                .map_err(|source| Error::System("read /proc/self/stat", source))?,
            init: None,
            cgroup,
            own_pids: container::own_pids(spec),
            annotations: spec.annotations.clone(),
            poststop: spec
                .hooks
                .as_ref()
                .map(|hooks| hooks.poststop.clone())
                .unwrap_or_default(),
        })
    }

    fn build(
        &self,
        context: &Context,
        locked: &mut Locked,
        spec: &Spec,
        text: &[u8],
        (stdio, gate): (jail::Stdio, jail::Gate),
    ) -> Result<jail::Container, Error> {
        locked.keep_config(text)?;
        let mut record = locked.record.clone().expect("written just before");
        let none = spec::Resources::default();
        let resources = spec
            .linux
            .as_ref()
            .and_then(|linux| linux.resources.as_ref())
            .unwrap_or(&none);
        let created = match record.cgroup.create(resources) {
            Err(error @ cgroup::Error::Busy(_)) => {
                // Somebody else's: whoever undoes this container leaves it alone.
                record.cgroup = cgroup::Cgroup::disabled();
                locked.write(record)?;
                return Err(error.into());
            }
            created => created?,
        };
        for warning in &created.warnings {
            context.log.warning(&in_gos_words(warning));
        }
        let held = matches!(gate, jail::Gate::Held);
        let mut init = jail::create(jail::Launch {
            id: &self.id,
            bundle: &self.bundle,
            spec,
            rootfs: &[],
            stdio,
            gate,
            cgroup: &record.cgroup,
            options: self.options,
        })?;
        drop(created.claim);
        record.init = Some(Identity {
            pid: init.pid,
            start_time: init.start_time,
        });
        locked.write(record)?;
        for warning in &init.warnings {
            context.log.warning(warning);
        }
        if let Some(path) = &self.pid_file {
            write_pid(path, init.pid)?;
        }
        if !held {
            // Until now init would have died with us.
            init.settle()?;
        }
        Ok(init)
    }

    fn stdio(&mut self, spec: &Spec) -> Result<jail::Stdio, Error> {
        let Some(process) = &spec.process else {
            return Err(Error::Refused("process property must not be empty"));
        };
        stdio(
            process.terminal,
            self.foreground,
            self.console_socket.take(),
        )
    }

    /// Descriptors of systemd's socket activation follow the container's process (sd_listen_fds(3)).
    fn pass_sockets(&mut self, spec: &mut Spec) {
        let count = std::env::var("LISTEN_FDS")
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
            .unwrap_or(0);
        if let (1.., Some(process)) = (count, &mut spec.process) {
            self.options.preserve_fds += count;
            process
                .env
                .extend([format!("LISTEN_FDS={count}"), "LISTEN_PID=1".into()]);
        }
    }
}

/// Where a process' descriptors come from, and which combinations make no sense.
pub fn stdio(
    terminal: bool,
    foreground: bool,
    console_socket: Option<PathBuf>,
) -> Result<jail::Stdio, Error> {
    match (terminal, console_socket) {
        (true, Some(path)) => Ok(jail::Stdio::ConsoleSocket(path)),
        (true, None) if foreground => Ok(jail::Stdio::Console),
        (true, None) => Err(Error::Refused(
            "cannot allocate tty if the runtime will detach without setting console socket",
        )),
        (false, Some(_)) => Err(Error::Refused(
            "cannot use console socket if the runtime will not detach or allocate tty",
        )),
        (false, None) => Ok(jail::Stdio::Inherit),
    }
}

/// Reads a configuration and keeps its text.
fn load(path: &Path) -> Result<(Vec<u8>, Spec), Error> {
    let read = |source| LoadError::Read {
        path: path.into(),
        source,
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::NoConfig(path.into()));
        }
        other => other.map_err(read)?,
    };
    let mut text = Vec::new();
    file.take(spec::CONFIG_LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(read)?;
    if text.len() as u64 > spec::CONFIG_LIMIT {
        return Err(LoadError::TooLarge {
            path: path.into(),
            limit: spec::CONFIG_LIMIT,
        }
        .into());
    }
    let spec = serde_json::from_slice(&text).map_err(|source| LoadError::Parse {
        path: path.into(),
        source,
    })?;
    Ok((text, spec))
}

/// Digits without a newline, there as a whole or not at all.
pub fn write_pid(path: &Path, pid: i32) -> Result<(), Error> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let new = path.with_file_name(name);
    let mut file = File::create(&new).map_err(Error::io("open", &new))?;
    file.write_all(pid.to_string().as_bytes())
        .map_err(Error::io("write", &new))?;
    fs::rename(&new, path).map_err(Error::io("replace", path))
}
