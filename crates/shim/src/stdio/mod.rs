//! The three streams of a process between its pipes (or terminal) and whoever writes to and reads from them.

mod binary;
mod detach;
mod handed;
mod input;
mod link;
mod output;
mod target;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags};

pub use detach::DetachKeys;
pub use handed::{Direction, Handed};
pub use link::Link;
pub use output::{Scratch, Turn};
pub use target::Target;

use crate::log::{Log, Stream};
use crate::poll::{BOTH, ClientKey, Poll, ProcessKey, READ, Source, WRITE};
use input::Input;
use output::Output;

/// The stdio fields of a request, as State reports them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub terminal: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Target(#[from] target::Error),
    #[error("stdin {0:?} must be a FIFO's path")]
    Stdin(String),
    #[error("open {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("make a pipe")]
    Pipe(#[source] io::Error),
    #[error("logging program {path}: {reason}")]
    Logger { path: PathBuf, reason: String },
}

/// The ends of a process's pipes that the process itself gets.
#[derive(Debug)]
pub struct ChildEnds {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// What an attached client brings.
#[derive(Debug)]
pub struct Bundle {
    pub streams: Streams,
    pub detach_keys: String,
    /// The end of its input is the program's, when nobody else gives any.
    pub stdin_once: bool,
}

/// A client's streams.
#[derive(Debug)]
pub enum Streams {
    /// Each its own descriptor: stdin, stdout, stderr.
    Apart([Option<OwnedFd>; 3]),
    /// One connection; which of the three it is for.
    Together(Rc<Link>, [bool; 3]),
}

/// What a turn of the input brought to light.
#[derive(Debug, Default)]
pub struct Left {
    /// Clients that typed their detach keys.
    pub detached: Vec<ClientKey>,
    /// Clients that hung up, or ended the input that they came for.
    pub gone: Vec<ClientKey>,
    /// There may be more to read.
    pub more: bool,
}

/// All streams of one process.
#[derive(Debug)]
pub struct Io {
    pub names: Names,
    /// stdout and stderr; a terminal has only the first.
    outputs: Vec<(Output, Option<usize>)>,
    input: Input,
    /// Connections that clients use for several streams.
    links: Vec<(ClientKey, Rc<Link>)>,
    /// The FIFO to be opened at Start.
    stdin: Option<PathBuf>,
    /// CloseIO came before Start.
    ends_early: bool,
    logs: Vec<Log>,
}

/// Who asks, for a logging binary's environment.
pub struct Owner<'a> {
    pub id: &'a str,
    pub namespace: &'a str,
}

impl Io {
    /// Opens everything that `names` names; with a terminal the process has no pipes.
    pub fn open(names: Names, owner: &Owner<'_>) -> Result<(Io, Option<ChildEnds>), Error> {
        let outputs = vec![(Output::new(Stream::Stdout), None)];
        let mut io = Io {
            outputs,
            input: Input::new(names.terminal),
            links: Vec::new(),
            stdin: None,
            ends_early: false,
            logs: Vec::new(),
            names,
        };
        io.find_stdin()?;
        if io.names.terminal {
            io.open_outputs(&[0], owner)?;
            return Ok((io, None));
        }
        io.outputs.push((Output::new(Stream::Stderr), None));
        io.open_outputs(&[0, 1], owner)?;
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| Error::Pipe(error.into()))?;
        io.input.connect(Handed::own(writer).map_err(Error::Pipe)?);
        let (stdout, stdout_end) = output::pipe().map_err(Error::Pipe)?;
        let (stderr, stderr_end) = output::pipe().map_err(Error::Pipe)?;
        io.outputs[0].0.connect(stdout);
        io.outputs[1].0.connect(stderr);
        Ok((
            io,
            Some(ChildEnds {
                stdin: reader,
                stdout: stdout_end,
                stderr: stderr_end,
            }),
        ))
    }

    /// Looks for the FIFO, and leaves it closed until Start: `ctr` writes as soon as somebody reads, and learns only later
    /// whom to tell that its input ended.
    fn find_stdin(&mut self) -> Result<(), Error> {
        match Target::parse(&self.names.stdin)? {
            Target::None => Ok(()),
            Target::Fifo(path) => match rustix::fs::stat(&path) {
                Ok(_) => {
                    self.stdin = Some(path);
                    Ok(())
                }
                Err(error) => Err(Error::Open {
                    path,
                    source: error.into(),
                }),
            },
            _ => Err(Error::Stdin(self.names.stdin.clone())),
        }
    }

    fn open_outputs(&mut self, which: &[usize], owner: &Owner<'_>) -> Result<(), Error> {
        let mut seen: Option<(Target, Option<usize>)> = None;
        for &index in which {
            let name = if index == 0 {
                &self.names.stdout
            } else {
                &self.names.stderr
            };
            let target = Target::parse(name)?;
            let log = match (&target, &seen) {
                (Target::Log { .. }, Some((other, log))) if *other == target => *log,
                _ => self.open_target(index, &target)?,
            };
            self.outputs[index].1 = log;
            seen = Some((target, log));
        }
        self.open_logger(which, owner)
    }

    /// Connects an output to what it names; the number of its log, if it is one.
    fn open_target(&mut self, index: usize, target: &Target) -> Result<Option<usize>, Error> {
        match target {
            Target::None | Target::Binary { .. } => Ok(None),
            Target::Fifo(path) => {
                self.outputs[index].0.add_sink(open_fifo(path)?, None);
                Ok(None)
            }
            Target::Log {
                path,
                format,
                rotation,
                attrs,
            } => {
                let log =
                    Log::open(path, *format, *rotation, attrs).map_err(|source| Error::Open {
                        path: path.clone(),
                        source,
                    })?;
                self.logs.push(log);
                Ok(Some(self.logs.len() - 1))
            }
        }
    }

    /// A logging binary takes both streams when both name it, as containerd starts it once.
    fn open_logger(&mut self, which: &[usize], owner: &Owner<'_>) -> Result<(), Error> {
        let Target::Binary { path, args } = Target::parse(&self.names.stdout)? else {
            return match Target::parse(&self.names.stderr)? {
                Target::Binary { path, .. } if which.len() > 1 => Err(Error::Logger {
                    path,
                    reason: "stdout must name the same program".into(),
                }),
                _ => Ok(()),
            };
        };
        let sinks = binary::start(&path, &args, owner)?;
        for (sink, &index) in sinks.into_iter().zip(which) {
            if index == 0 || self.names.stderr == self.names.stdout {
                self.outputs[index].0.add_sink(sink, None);
            }
        }
        Ok(())
    }

    /// Takes the terminal's master, once there is one.
    pub fn connect_console(&mut self, master: OwnedFd) -> Result<(), Error> {
        let copy = master.try_clone().map_err(Error::Pipe)?;
        self.outputs[0]
            .0
            .connect(Handed::own(master).map_err(Error::Pipe)?);
        self.input.connect(Handed::own(copy).map_err(Error::Pipe)?);
        Ok(())
    }

    /// Pipes to and from a terminal that another shim holds: its ends. There is no third stream.
    pub fn open_terminal_pipes(&mut self) -> Result<ChildEnds, Error> {
        let (stdin, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| Error::Pipe(error.into()))?;
        self.input
            .connect(Handed::own(writer).map_err(Error::Pipe)?);
        let (reader, stdout) = output::pipe().map_err(Error::Pipe)?;
        self.outputs[0].0.connect(reader);
        let stderr = stdout.try_clone().map_err(Error::Pipe)?;
        Ok(ChildEnds {
            stdin,
            stdout,
            stderr,
        })
    }

    /// Whether the program's input has ended.
    pub fn has_input_ended(&self) -> bool {
        self.input.sink().is_none()
    }

    /// Whether nothing more can come out.
    pub fn has_output_ended(&self) -> bool {
        self.outputs
            .iter()
            .all(|(output, _)| output.source().is_none())
    }

    /// The terminal's master, if there is one.
    pub fn console(&self) -> Option<&Handed> {
        if self.names.terminal {
            self.input.sink()
        } else {
            None
        }
    }

    /// Has the loop report everything this process may wait for.
    pub fn watch(&self, key: ProcessKey, poll: &mut Poll) -> io::Result<()> {
        poll.forget(
            |source| matches!(source, Source::Output(of, _) | Source::Input(of) if of == key),
        );
        for (index, (output, _)) in self.outputs.iter().enumerate() {
            if let Some(fd) = output.source() {
                poll.add(fd, READ, Source::Output(key, index))?;
            }
            for fd in output.sink_fds() {
                poll.add(fd, WRITE, Source::Output(key, index))?;
            }
        }
        self.watch_input(key, poll)
    }

    fn watch_input(&self, key: ProcessKey, poll: &mut Poll) -> io::Result<()> {
        if let Some(fd) = self.input.sink() {
            poll.add(
                fd,
                if self.names.terminal { BOTH } else { WRITE },
                Source::Input(key),
            )?;
        }
        for fd in self.input.giver_fds() {
            poll.add(fd, READ, Source::Input(key))?;
        }
        for (_, link) in &self.links {
            poll.add(link, READ, Source::Input(key))?;
        }
        Ok(())
    }

    pub fn attach(&mut self, key: ClientKey, bundle: Bundle) -> io::Result<()> {
        let client = |keys: &str| input::Client {
            key,
            detach: DetachKeys::new(keys),
            once: bundle.stdin_once,
        };
        match bundle.streams {
            Streams::Apart([stdin, stdout, stderr]) => {
                if let Some(fd) = stdin {
                    let fd = Handed::foreign(fd, Direction::Read)?;
                    self.input.add_client(fd, client(&bundle.detach_keys));
                }
                for ((output, _), fd) in self.outputs.iter_mut().zip([stdout, stderr]) {
                    if let Some(fd) = fd {
                        output.add_sink(Handed::foreign(fd, Direction::Write)?, Some(key));
                    }
                }
            }
            Streams::Together(link, [stdin, stdout, stderr]) => {
                for ((output, _), wanted) in self.outputs.iter_mut().zip([stdout, stderr]) {
                    if wanted {
                        output.add_link(Rc::clone(&link), key)?;
                    }
                }
                if stdin && self.input.is_open() {
                    // What comes through a pipe is data, as with Docker.
                    let keys = if self.names.terminal {
                        &bundle.detach_keys
                    } else {
                        ""
                    };
                    self.input.add_link(Rc::clone(&link), client(keys));
                }
                self.links.push((key, link));
            }
        }
        Ok(())
    }

    /// Whether this client's streams end with its connection, not with its request's.
    /// The connections are closed, not shut down: who handed them over still has a last word for their clients.
    pub fn spare_links(&mut self) {
        self.links.clear();
    }

    pub fn has_link(&self, client: ClientKey) -> bool {
        self.links.iter().any(|(key, _)| *key == client)
    }

    pub fn detach(&mut self, client: ClientKey) {
        self.input.remove_client(client);
        for (output, _) in &mut self.outputs {
            output.remove_client(client);
        }
        for (_, link) in self.links.extract_if(.., |(key, _)| *key == client) {
            link.close();
        }
    }

    /// Input stays open though nobody is attached.
    pub fn keep_stdin(&mut self) {
        self.input.keep();
    }

    /// The process runs: its input begins.
    pub fn started(&mut self) -> Result<(), Error> {
        if let Some(path) = self.stdin.take() {
            let fd = open_fifo(&path)?;
            self.input.add_fifo(fd, path);
            if self.ends_early {
                self.input.close();
            }
        }
        self.input.started();
        Ok(())
    }

    pub fn close_stdin(&mut self) {
        if self.stdin.is_some() {
            self.ends_early = true;
        } else {
            self.input.close();
        }
    }

    /// Copies to the process for one turn.
    pub fn pump_input(&mut self, scratch: &mut Scratch) -> Left {
        let seen = self.input.pump(scratch);
        let mut left = Left {
            detached: seen.detached,
            gone: seen.ended,
            more: seen.more,
        };
        for (key, link) in &self.links {
            if !link.is_cut() {
                continue;
            }
            // What it sent before it hung up still counts.
            for (output, _) in &mut self.outputs {
                output.remove_client(*key);
            }
            if !self.input.has_client(*key) && !left.gone.contains(key) {
                left.gone.push(*key);
            }
        }
        left
    }

    /// Copies one output for one turn.
    pub fn pump_output(&mut self, index: usize, scratch: &mut Scratch) -> Turn {
        let Some((output, log)) = self.outputs.get_mut(index) else {
            return Turn::Ended;
        };
        let mut log = log.map(|log| &mut self.logs[log]);
        output.pump(&mut log, scratch)
    }

    /// The client whose reader hung up, when nobody else takes this output, not even a log.
    pub fn take_broken(&mut self, index: usize) -> Option<ClientKey> {
        let (output, log) = self.outputs.get_mut(index)?;
        if log.is_some() {
            None
        } else {
            output.take_broken()
        }
    }

    pub fn hang_up(&mut self, index: usize) {
        if let Some((output, _)) = self.outputs.get_mut(index) {
            output.hang_up();
        }
    }

    /// Copies everything that is there now; true when nothing more can come or everything is delivered.
    pub fn drain(&mut self, scratch: &mut Scratch) -> bool {
        let mut delivered = true;
        for index in 0..self.outputs.len() {
            delivered &= loop {
                match self.pump_output(index, scratch) {
                    Turn::More => {}
                    Turn::Blocked => break false,
                    Turn::Idle | Turn::Ended => break true,
                }
            };
        }
        delivered
    }

    /// Whether readers have not taken what lies in FIFOs: of streams that have ended, or of all.
    pub fn is_untaken(&self, all: bool) -> bool {
        self.outputs
            .iter()
            .any(|(output, _)| (all || output.has_ended()) && output.is_untaken())
    }

    /// Closes what has ended and nobody reads.
    pub fn give_up(&mut self) {
        for (output, _) in &mut self.outputs {
            output.give_up();
        }
    }

    /// Ends all logs with what waits for its newline.
    pub fn finish_logs(&mut self) {
        for (output, log) in &mut self.outputs {
            if let (Some(log), true) = (*log, output.source().is_some()) {
                self.logs[log].finish(output.stream(), std::time::SystemTime::now());
            }
        }
    }

    pub fn delivered(&self, client: ClientKey) -> bool {
        self.outputs
            .iter()
            .all(|(output, _)| output.delivered(client))
    }

    pub fn reopen_logs(&mut self) -> io::Result<()> {
        self.logs.iter_mut().try_for_each(Log::reopen)
    }

    /// Bytes of output that no log and nobody took.
    pub fn dropped(&self) -> u64 {
        let outputs: u64 = self
            .outputs
            .iter()
            .map(|(output, _)| output.dropped())
            .sum();
        outputs + self.logs.iter().map(Log::dropped).sum::<u64>()
    }
}

/// Opens both ends, so that neither a vanished reader nor a vanished writer ends the stream. A regular file is appended to.
fn open_fifo(path: &PathBuf) -> Result<Handed, Error> {
    let failed = |error: rustix::io::Errno| Error::Open {
        path: path.clone(),
        source: error.into(),
    };
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::APPEND | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd).map_err(failed)?.st_mode);
    if kind == FileType::RegularFile {
        return Handed::foreign(fd, Direction::Write).map_err(|source| Error::Open {
            path: path.clone(),
            source,
        });
    }
    Handed::own(fd).map_err(|source| Error::Open {
        path: path.clone(),
        source,
    })
}
