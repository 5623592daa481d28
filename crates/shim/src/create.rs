//! Create: from a request to a container that waits at its gate, in named stages; each undoes itself when a later one fails.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use causes::in_gos_words;
use cgroup::Cgroup;
use rustix::fs::{Gid, Uid};
use spec::Spec;

use crate::api::containerd::task::v3::CreateTaskRequest;
use crate::events::Event;
use crate::exits::kill_and_wait;
use crate::foreign::{self, Foreign, Order, Place, Trace};
use crate::journal;
use crate::kept::Kept;
use crate::options::{INIT, Options, Wishes};
use crate::poll::{ConnKey, Source, URGENT};
use crate::process::{Container, Process};
use crate::record::{Exit, Reason, Record};
use crate::shim::Shim;
use crate::stdio::{ChildEnds, Io, Names, Owner};
use crate::ttrpc::{Code, Refusal};
use crate::wall::Wall;

/// A request that was understood; nothing is made yet.
struct Wanted {
    id: String,
    bundle: PathBuf,
    spec: Box<Spec>,
    /// What the spec was read of.
    text: Vec<u8>,
    options: Options,
    wishes: Wishes,
    rootfs: Vec<jail::RootfsMount>,
    terminal: bool,
}

/// What Create made.
struct Made {
    wall: Wall,
    cgroup: Cgroup,
    io: Io,
}

/// A wall with its container, and what else came of making it.
struct Raised {
    wall: Wall,
    /// The master of init's terminal.
    console: Option<OwnedFd>,
    warnings: Vec<String>,
}

/// An identifier that is safe in paths and records.
pub fn check_id(id: &str) -> Result<(), Refusal> {
    let ok = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let fits = (1..=128).contains(&id.len()) && id.starts_with(|c: char| c.is_ascii_alphanumeric());
    if fits && id.chars().all(ok) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::InvalidArgument,
        format!("id {id:?} must be 1 to 128 letters, digits, _ . - after a letter or digit"),
    ))
}

impl Shim {
    pub fn create(&mut self, conn: ConnKey, request: CreateTaskRequest) -> Result<u32, Refusal> {
        let begun = Instant::now();
        if self.is_leaving() {
            let text = format!("container {}: this shim is leaving", request.id);
            return Err(Refusal::new(Code::Unavailable, text));
        }
        if self
            .containers
            .values()
            .any(|container| container.id == request.id)
        {
            return Err(Refusal::new(
                Code::AlreadyExists,
                format!("container {}: exists already", request.id),
            ));
        }
        let wanted = Wanted::read(&request)?;
        let names = Names {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let made = self.make(&wanted, names.clone())?;
        let pid = self.register(conn, wanted, made, begun)?;
        let event = Event::Create {
            id: request.id,
            bundle: request.bundle,
            rootfs: request.rootfs,
            names,
            pid: pid as i32,
        };
        self.publisher.publish(event, &mut self.poll);
        Ok(pid)
    }

    fn make(&self, wanted: &Wanted, names: Names) -> Result<Made, Refusal> {
        let owner = Owner {
            id: &wanted.id,
            namespace: &self.namespace,
        };
        let (mut io, mut ends) = Io::open(names, &owner)?;
        if wanted.wishes.open_stdin {
            io.keep_stdin();
        }
        let trace = self.trace(wanted);
        if let Some(trace) = &trace {
            // The cgroup is planned as the foreign program will see the hierarchies.
            foreign::enter_own_mounts()?;
            if ends.is_none() && trace.is_shim() {
                ends = Some(io.open_terminal_pipes()?);
            }
        }
        let linux = wanted.spec.linux.as_ref();
        let cgroup = Cgroup::plan(linux.map_or("", |linux| &linux.cgroups_path), &wanted.id)?;
        let mut record = Record {
            id: wanted.id.clone(),
            namespace: self.namespace.clone(),
            cgroup: cgroup.clone(),
            pid: 0,
            start_time: 0,
            foreign: trace,
        };
        // An earlier attempt's end is not this one's.
        let _ = std::fs::remove_file(wanted.bundle.join("exit.json"));
        recorded(record.write(&wanted.bundle), &wanted.bundle)?;
        let raised = match &record.foreign {
            None => raise(wanted, &cgroup, ends)?,
            Some(trace) => self.raise_foreign(wanted, trace, &cgroup, ends)?,
        };
        record.pid = raised.wall.pid();
        record.start_time = raised.wall.start_time();
        let mut made = Made {
            wall: raised.wall,
            cgroup,
            io,
        };
        let console = raised
            .console
            .map_or(Ok(()), |master| made.io.connect_console(master));
        let finished = recorded(record.complete(&wanted.bundle), &wanted.bundle);
        let finished = finished.and_then(|()| Ok(console?));
        if let Err(refusal) = finished {
            made.destroy(&wanted.bundle);
            return Err(refusal);
        }
        journal::warn(&wanted.bundle, &wanted.id, &raised.warnings);
        Ok(made)
    }

    /// Whose the container will be, when it is not ours.
    fn trace(&self, wanted: &Wanted) -> Option<Trace> {
        let program = wanted.options.program.as_deref()?;
        let place = Place {
            id: &wanted.id,
            namespace: &self.namespace,
            bundle: &wanted.bundle,
            run: self.run_directory(),
        };
        Some(Trace::new(program, &wanted.options, &place))
    }

    /// Has somebody else's program make the container, and its cgroup.
    fn raise_foreign(
        &self,
        wanted: &Wanted,
        trace: &Trace,
        cgroup: &Cgroup,
        ends: Option<ChildEnds>,
    ) -> Result<Raised, Refusal> {
        let mut options = wanted.options.clone();
        if let Some(process) = wanted
            .spec
            .process
            .as_ref()
            .filter(|_| options.io == (0, 0))
        {
            // The program may open /dev/stdout anew; these commands give it no pipe of other users.
            options.io = foreign::owner(&wanted.spec, &process.user);
        }
        if let Some(ends) = &ends {
            give_all(ends, options.io)?;
        }
        let order = Order {
            id: &wanted.id,
            namespace: &self.namespace,
            bundle: &wanted.bundle,
            spec: &wanted.spec,
            text: &wanted.text,
            rootfs: &wanted.rootfs,
            options: &options,
            terminal: wanted.terminal,
            events: &self.own_socket(),
        };
        match Foreign::create(&order, trace, ends) {
            Ok((wall, console)) => Ok(Raised {
                wall: Wall::Foreign(Box::new(wall)),
                console,
                warnings: Vec::new(),
            }),
            Err(refusal) => {
                undo(cgroup, &wanted.bundle);
                let status = foreign::status(&refusal);
                Err(failed(refusal, status, &wanted.bundle, &wanted.id))
            }
        }
    }

    /// Puts what was made among what the loop serves.
    fn register(
        &mut self,
        conn: ConnKey,
        wanted: Wanted,
        made: Made,
        begun: Instant,
    ) -> Result<u32, Refusal> {
        let (key, init) = (self.key(), self.key());
        let Made { wall, cgroup, io } = made;
        let pid = wall.pid();
        if let Err(error) = io.watch(init, &mut self.poll) {
            Made { wall, cgroup, io }.destroy(&wanted.bundle);
            return Err(Refusal::new(Code::Unknown, format!("watch stdio: {error}")));
        }
        // Without a watch a container runs as well; its end is still explained by the counter.
        let oom = cgroup
            .oom()
            .ok()
            .filter(|watch| self.poll.add(watch, URGENT, Source::Oom(key)).is_ok());
        let mut process = Process::new(key, "", io);
        process.pid = pid;
        process.steps.create_us = begun.elapsed().as_micros() as u64;
        let mut kept = Kept::new(wanted.text, &wanted.spec);
        if let Some(foreign) = wall.foreign() {
            kept = kept.without_hooks();
            if foreign.peer().is_some() {
                self.watch_end(init, &foreign.pidfd)?;
            }
        }
        self.mortal |= wanted.wishes.lifeline;
        let container = Container {
            id: wanted.id,
            bundle: wanted.bundle,
            spec: kept,
            cgroup,
            wall,
            init,
            execs: BTreeMap::new(),
            oom,
            oom_kills: 0,
            oom_explained: 0,
            time_limit: wanted.wishes.time_limit,
            timed_out: false,
            lifeline: wanted.wishes.lifeline.then_some(conn),
        };
        self.processes.insert(init, process);
        self.containers.insert(key, container);
        self.dropped_later = Some(wanted.spec);
        Ok(pid as u32)
    }
}

impl Wanted {
    fn read(request: &CreateTaskRequest) -> Result<Wanted, Refusal> {
        check_id(&request.id)?;
        if !request.checkpoint.is_empty() || !request.parent_checkpoint.is_empty() {
            return Err(Refusal::new(
                Code::Unimplemented,
                "Create from a checkpoint is not served",
            ));
        }
        let options = Options::read(request.options.as_ref())?;
        let bundle = PathBuf::from(&request.bundle);
        if !bundle.is_absolute() {
            return Err(Refusal::new(
                Code::InvalidArgument,
                format!("bundle {:?} must be an absolute path", request.bundle),
            ));
        }
        let (mut spec, text) = read_spec(&bundle.join("config.json"))?;
        if let Some(process) = &mut spec.process {
            process.terminal = request.terminal;
        }
        let wishes = Wishes::read(&spec.annotations)?;
        if options.program.is_some() && spec.annotations.contains_key(INIT) {
            let text = format!("annotation {INIT} is served by the native wall only");
            return Err(Refusal::new(Code::Unimplemented, text));
        }
        let mount = |mount: &crate::api::containerd::types::Mount| jail::RootfsMount {
            kind: mount.r#type.clone(),
            source: mount.source.clone(),
            target: mount.target.clone(),
            options: mount.options.clone(),
        };
        let rootfs = request.rootfs.iter().map(mount).collect();
        Ok(Wanted {
            id: request.id.clone(),
            bundle,
            spec: Box::new(spec),
            text,
            options,
            wishes,
            rootfs,
            terminal: request.terminal,
        })
    }
}

impl Made {
    fn destroy(self, bundle: &Path) {
        kill_and_wait(self.wall.pidfd(), self.wall.pid());
        if let Some(foreign) = self.wall.foreign() {
            // The cgroup's end takes along what it leaves.
            let _ = foreign.delete();
        }
        undo(&self.cgroup, bundle);
    }
}

fn read_spec(path: &Path) -> Result<(Spec, Vec<u8>), Refusal> {
    let text = std::fs::read(path).map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound {
            Code::NotFound
        } else {
            Code::Unknown
        };
        Refusal::new(code, format!("read {}: {error}", path.display()))
    })?;
    match serde_json::from_slice(&text) {
        Ok(spec) => Ok((spec, text)),
        Err(error) => Err(Refusal::new(
            Code::InvalidArgument,
            format!("{} is not valid: {error}", path.display()),
        )),
    }
}

fn recorded(written: std::io::Result<()>, bundle: &Path) -> Result<(), Refusal> {
    written.map_err(|error| {
        Refusal::new(
            Code::Unknown,
            format!("write the record in {}: {error}", bundle.display()),
        )
    })
}

/// The process's own ends, owned by whom the options name.
pub fn stdio(ends: Option<ChildEnds>, options: &Options) -> Result<jail::Stdio, Refusal> {
    let Some(ends) = ends else {
        return Ok(jail::Stdio::Console);
    };
    give_all(&ends, options.io)?;
    let ChildEnds {
        stdin,
        stdout,
        stderr,
    } = ends;
    Ok(jail::Stdio::Descriptors {
        stdin,
        stdout,
        stderr,
    })
}

pub fn give_all(ends: &ChildEnds, (uid, gid): (u32, u32)) -> Result<(), Refusal> {
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    [&ends.stdin, &ends.stdout, &ends.stderr]
        .into_iter()
        .try_for_each(|fd| give(fd, uid, gid))
}

fn give(fd: &OwnedFd, uid: Uid, gid: Gid) -> Result<(), Refusal> {
    rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(|error| {
        Refusal::new(
            Code::Unknown,
            format!("give stdio to {}:{}: {error}", uid.as_raw(), gid.as_raw()),
        )
    })
}

/// Makes the cgroup and the container behind our own wall; on failure nothing is left.
fn raise(wanted: &Wanted, cgroup: &Cgroup, ends: Option<ChildEnds>) -> Result<Raised, Refusal> {
    let stdio = stdio(ends, &wanted.options)?;
    let resources = wanted
        .spec
        .linux
        .as_ref()
        .and_then(|linux| linux.resources.clone());
    let created = match cgroup.create(&resources.unwrap_or_default()) {
        Ok(created) => created,
        Err(error) => {
            // Somebody else's is not ours to remove.
            let ours = match &error {
                cgroup::Error::Busy(_) => &Cgroup::disabled(),
                _ => cgroup,
            };
            undo(ours, &wanted.bundle);
            return Err(error.into());
        }
    };
    let mut warnings: Vec<String> = created.warnings.iter().map(ToString::to_string).collect();
    let mut wall = match launch(wanted, cgroup, stdio) {
        Ok(wall) => wall,
        Err(error) => {
            undo(cgroup, &wanted.bundle);
            let status = error.exit_code();
            return Err(failed(error.into(), status, &wanted.bundle, &wanted.id));
        }
    };
    warnings.append(&mut wall.warnings);
    Ok(Raised {
        console: wall.console.take(),
        wall: Wall::Native(wall),
        warnings,
    })
}

fn launch(
    wanted: &Wanted,
    cgroup: &Cgroup,
    stdio: jail::Stdio,
) -> Result<jail::Container, jail::Error> {
    jail::create(jail::Launch {
        id: &wanted.id,
        bundle: &wanted.bundle,
        spec: &wanted.spec,
        rootfs: &wanted.rootfs,
        stdio,
        gate: jail::Gate::Held,
        cgroup,
        options: jail::Options {
            no_pivot: wanted.options.no_pivot_root,
            no_new_keyring: wanted.options.no_new_keyring,
            preserve_fds: 0,
            die_with_parent: true,
        },
    })
}

/// A program that is not there or cannot be executed is found out at Create already; the record says so in a shell's numbers.
fn failed(refusal: Refusal, status: u8, bundle: &Path, id: &str) -> Refusal {
    let text = refusal.text.clone();
    let exit = Exit::bare(status.into(), SystemTime::now(), Reason::StartFailed, text);
    if matches!(status, 126 | 127)
        && let Err(error) = exit.write(bundle, "")
    {
        let sentence = format!("the failure could not be recorded: {error}");
        journal::warn(bundle, id, &[sentence]);
    }
    refusal
}

/// Removes what a failed Create made; what cannot be removed now, `delete` finds by the record.
fn undo(cgroup: &Cgroup, bundle: &Path) {
    match cgroup.remove() {
        Ok(()) => {
            let _ = std::fs::remove_file(bundle.join(crate::record::RECORD));
        }
        Err(error) => journal::warn(bundle, "", &[in_gos_words(&error)]),
    }
}
