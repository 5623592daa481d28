//! What the methods of the Task service do to containers and processes, except Create.

use std::os::fd::AsFd;
use std::time::{Instant, SystemTime};

use causes::in_gos_words;
use rustix::process::Signal;

use crate::api::containerd::runc::v1::ProcessDetails;
use crate::api::containerd::task::v3 as task;
use crate::api::containerd::v1::types::{ProcessInfo, Status};
use crate::api::google::protobuf::Any;
use crate::create::{check_id, give_all, stdio};
use crate::document;
use crate::events::{Event, timestamp};
use crate::foreign::{Foreign, has_ended, owner, with_status};
use crate::journal;
use crate::kept::run_hooks;
use crate::options::Options;
use crate::phase::{Phase, Verb, admit};
use crate::poll::{Alarm, ConnKey, ContainerKey, ProcessKey};
use crate::process::Process;
use crate::service::MAX_WAITERS;
use crate::shim::Shim;
use crate::stats::metrics;
use crate::stdio::{ChildEnds, Io, Names, Owner};
use crate::ttrpc::{Code, Refusal};
use crate::wall::Wall;

impl Shim {
    pub fn find(&self, id: &str) -> Result<ContainerKey, Refusal> {
        let found = self
            .containers
            .iter()
            .find(|(_, container)| container.id == id);
        found
            .map(|(key, _)| *key)
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("container {id}: not found")))
    }

    pub fn find_process(&self, id: &str, exec_id: &str) -> Result<ProcessKey, Refusal> {
        let container = &self.containers[&self.find(id)?];
        if exec_id.is_empty() {
            return Ok(container.init);
        }
        let key = container.execs.get(exec_id).copied();
        key.ok_or_else(|| {
            Refusal::new(
                Code::NotFound,
                format!("process {exec_id} of container {id}: not found"),
            )
        })
    }

    /// The process, if `verb` may be done to it now.
    fn admitted(
        &mut self,
        verb: Verb,
        id: &str,
        exec_id: &str,
    ) -> Result<(ProcessKey, &mut Process), Refusal> {
        let key = self.find_process(id, exec_id)?;
        let process = self
            .processes
            .get_mut(&key)
            .expect("a container's processes are known");
        admit(verb, process.phase, &who(id, exec_id))?;
        Ok((key, process))
    }

    pub fn state(&self, request: task::StateRequest) -> Result<task::StateResponse, Refusal> {
        let container = &self.containers[&self.find(&request.id)?];
        let process = &self.processes[&self.find_process(&request.id, &request.exec_id)?];
        let names = process.io.names.clone();
        let status = match process.phase {
            Phase::Created => Status::Created,
            Phase::Running => Status::Running,
            Phase::Paused => Status::Paused,
            Phase::Stopped => Status::Stopped,
        };
        Ok(task::StateResponse {
            bundle: container.bundle.display().to_string(),
            pid: process.pid as u32,
            status: status.into(),
            stdin: names.stdin,
            stdout: names.stdout,
            stderr: names.stderr,
            terminal: names.terminal,
            exit_status: process.end.map_or(0, |end| end.status),
            exited_at: process.end.map(|end| timestamp(end.at)),
            id: request.id,
            exec_id: request.exec_id,
        })
    }

    /// The answer when the process has ended; else it comes when it does.
    pub fn wait_for(
        &mut self,
        conn: ConnKey,
        stream: u32,
        request: task::WaitRequest,
    ) -> Result<Option<task::WaitResponse>, Refusal> {
        let key = self.find_process(&request.id, &request.exec_id)?;
        let process = self
            .processes
            .get_mut(&key)
            .expect("a container's processes are known");
        if let Some(end) = process.end.filter(|_| process.told) {
            return Ok(Some(task::WaitResponse {
                exit_status: end.status,
                exited_at: Some(timestamp(end.at)),
            }));
        }
        if process.waiters.len() >= MAX_WAITERS {
            return Err(Refusal::new(
                Code::ResourceExhausted,
                format!("{MAX_WAITERS} callers wait for this process already"),
            ));
        }
        process.waiters.push((conn, stream));
        Ok(None)
    }

    pub fn start(&mut self, request: task::StartRequest) -> Result<u32, Refusal> {
        let (key, _) = self.admitted(Verb::Start, &request.id, &request.exec_id)?;
        let begun = Instant::now();
        let started = if request.exec_id.is_empty() {
            self.start_init(key)
        } else {
            self.start_exec(key)
        };
        if let Err((refusal, status)) = started {
            self.start_failed(key, &refusal, status);
            return Err(refusal);
        }
        let process = self.processes.get_mut(&key).expect("it was just started");
        process.phase = Phase::Running;
        process.started_at = Some(SystemTime::now());
        process.steps.start_us = begun.elapsed().as_micros() as u64;
        let pid = process.pid;
        let (container, opened) = (process.container, process.io.started());
        let watched = process.io.watch(key, &mut self.poll);
        self.copy_input(key);
        let event = if request.exec_id.is_empty() {
            Event::Start {
                id: request.id,
                pid,
            }
        } else {
            Event::ExecStarted {
                id: request.id,
                exec_id: request.exec_id,
                pid,
            }
        };
        self.publisher.publish(event, &mut self.poll);
        // It runs, so Start has succeeded; a FIFO that vanished since Create costs its input.
        let failed = [
            opened.err().map(|error| in_gos_words(&error)),
            watched.err().map(|error| error.to_string()),
        ];
        let container = &self.containers[&container];
        journal::warn(
            &container.bundle,
            &container.id,
            &failed.into_iter().flatten().collect::<Vec<_>>(),
        );
        Ok(pid as u32)
    }

    /// On failure also the status that a shell would give.
    fn start_init(&mut self, key: ProcessKey) -> Result<(), (Refusal, u32)> {
        let container_key = self.processes[&key].container;
        let container = self
            .containers
            .get_mut(&container_key)
            .expect("a process has its container");
        match &mut container.wall {
            Wall::Native(wall) => wall.start().map_err(|error| {
                let status = error.exit_code().into();
                (error.into(), status)
            })?,
            Wall::Foreign(wall) => wall.start().map_err(with_status)?,
        }
        if let Some(limit) = container.time_limit {
            self.poll.set_alarm(limit, Alarm::TimeLimit(container_key));
        }
        // The specification: a failed poststart hook is told, and the container runs on.
        if let Err(error) = run_hooks(container, jail::HookStage::Poststart) {
            journal::warn(&container.bundle, &container.id, &[in_gos_words(&error)]);
        }
        Ok(())
    }

    fn start_exec(&mut self, key: ProcessKey) -> Result<(), (Refusal, u32)> {
        let process = self.processes.get_mut(&key).expect("the caller found it");
        let container = &self.containers[&process.container];
        admit(
            Verb::Exec,
            self.processes[&container.init].phase,
            &who(&container.id, ""),
        )
        .map_err(|refusal| (refusal, 1))?;
        let process = self.processes.get_mut(&key).expect("the caller found it");
        let spec = process
            .spec
            .take()
            .expect("an exec that was not started has its configuration");
        let ends = process.child_ends.take();
        if let Some(foreign) = container.wall.foreign() {
            let owner = owner(&container.spec.read(), &spec.user);
            let given = ends.as_ref().map_or(Ok(()), |ends| give_all(ends, owner));
            given.map_err(|refusal| (refusal, 1))?;
            let begun = foreign
                .exec(&process.exec_id, &spec, ends)
                .map_err(with_status)?;
            return self
                .take_foreign(key, begun)
                .map_err(|refusal| (refusal, 1));
        }
        let stdio = stdio(ends, &Options::default()).map_err(|refusal| (refusal, 1))?;
        let target = jail::Target {
            id: &container.id,
            bundle: &container.bundle,
            pid: container.wall.pid(),
            start_time: container.wall.start_time(),
            spec: &container.spec.read(),
            cgroup: &container.cgroup,
        };
        let options = jail::ExecOptions {
            preserve_fds: 0,
            die_with_parent: true,
        };
        let execed = jail::exec(&target, &spec, stdio, options).map_err(|error| {
            let status = error.exit_code().into();
            (error.into(), status)
        })?;
        journal::warn(&container.bundle, &container.id, &execed.warnings);
        process.pid = execed.pid;
        process.pidfd = Some(execed.pidfd);
        if let Some(master) = execed.console {
            process
                .io
                .connect_console(master)
                .map_err(|error| (error.into(), 1))?;
        }
        Ok(())
    }

    pub fn pids(&self, request: task::PidsRequest) -> Result<task::PidsResponse, Refusal> {
        let container = &self.containers[&self.find(&request.id)?];
        let mut pids = container.cgroup.pids();
        let ours =
            |process: &&Process| process.pid != 0 && process.end.is_none() && !process.deleted;
        let processes = || {
            std::iter::once(&container.init)
                .chain(container.execs.values())
                .map(|key| &self.processes[key])
        };
        // A container without a cgroup of its own still has the processes that the shim started.
        for process in processes().filter(ours) {
            if !pids.contains(&process.pid) {
                pids.push(process.pid);
            }
        }
        let info = |pid: i32| {
            let exec =
                processes().find(|process| process.pid == pid && !process.exec_id.is_empty());
            let details = |process: &Process| {
                prost::Message::encode_to_vec(&ProcessDetails {
                    exec_id: process.exec_id.clone(),
                })
            };
            let info = exec.map(|process| Any {
                type_url: "containerd.runc.v1.ProcessDetails".into(),
                value: details(process),
            });
            ProcessInfo {
                pid: pid as u32,
                info,
            }
        };
        Ok(task::PidsResponse {
            processes: pids.into_iter().map(info).collect(),
        })
    }

    pub fn pause(&mut self, id: &str) -> Result<(), Refusal> {
        let (key, _) = self.admitted(Verb::Pause, id, "")?;
        let container = &self.containers[&self.find(id)?];
        match container.wall.foreign() {
            Some(foreign) => foreign.pause()?,
            None => container.cgroup.freeze()?,
        }
        self.set_phase(key, Phase::Paused);
        self.publisher
            .publish(Event::Paused { id: id.into() }, &mut self.poll);
        Ok(())
    }

    pub fn resume(&mut self, id: &str) -> Result<(), Refusal> {
        let (key, _) = self.admitted(Verb::Resume, id, "")?;
        let container = &self.containers[&self.find(id)?];
        match container.wall.foreign() {
            Some(foreign) => foreign.resume()?,
            None => container.cgroup.thaw()?,
        }
        self.set_phase(key, Phase::Running);
        self.publisher
            .publish(Event::Resumed { id: id.into() }, &mut self.poll);
        Ok(())
    }

    fn set_phase(&mut self, key: ProcessKey, phase: Phase) {
        if let Some(process) = self.processes.get_mut(&key) {
            process.phase = phase;
        }
    }

    pub fn kill(&mut self, request: task::KillRequest) -> Result<(), Refusal> {
        let (key, process) = self.admitted(Verb::Kill, &request.id, &request.exec_id)?;
        if process.pid == 0 {
            let text = format!("{}: not started", who(&request.id, &request.exec_id));
            return Err(Refusal::new(Code::FailedPrecondition, text));
        }
        let paused = process.phase == Phase::Paused;
        let Ok(signal @ 1..=64) = i32::try_from(request.signal) else {
            let text = format!("signal {} does not exist", request.signal);
            return Err(Refusal::new(Code::InvalidArgument, text));
        };
        let container = &self.containers[&self.find(&request.id)?];
        let process = &self.processes[&key];
        let pidfd = process.pidfd.as_ref().unwrap_or(container.wall.pidfd());
        let sent = match container.wall.foreign() {
            Some(foreign) if process.exec_id.is_empty() => {
                match foreign.kill(signal, request.all) {
                    // The dead are found out by a signal that does nothing.
                    Err(_) if has_ended(pidfd) => sys::pidfd_signal(pidfd.as_fd(), 0),
                    told => return told.and_then(|()| self.killed(key, paused, signal)),
                }
            }
            _ => {
                if request.all {
                    container.cgroup.kill(signal)?;
                }
                sys::pidfd_signal(pidfd.as_fd(), signal)
            }
        };
        match sent {
            Ok(()) => {}
            Err(error)
                if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::SRCH) =>
            {
                let text = format!(
                    "{}: process already finished",
                    who(&request.id, &request.exec_id)
                );
                return Err(Refusal::new(Code::NotFound, text));
            }
            Err(error) => {
                return Err(Refusal::new(
                    Code::Unknown,
                    format!("signal {}: {error}", request.signal),
                ));
            }
        }
        self.killed(key, paused, signal)
    }

    /// The frozen do not die: the v1 freezer holds even SIGKILL back.
    fn killed(&mut self, key: ProcessKey, paused: bool, signal: i32) -> Result<(), Refusal> {
        if paused && signal == Signal::KILL.as_raw() {
            self.containers[&self.processes[&key].container]
                .cgroup
                .thaw()?;
            self.set_phase(key, Phase::Running);
        }
        Ok(())
    }

    pub fn add_exec(&mut self, request: task::ExecProcessRequest) -> Result<(), Refusal> {
        check_id(&request.exec_id)?;
        self.admitted(Verb::Exec, &request.id, "")?;
        let container = self.find(&request.id)?;
        if self.containers[&container]
            .execs
            .contains_key(&request.exec_id)
        {
            let text = format!("{}: exists already", who(&request.id, &request.exec_id));
            return Err(Refusal::new(Code::AlreadyExists, text));
        }
        let spec = request
            .spec
            .as_ref()
            .map(|any| any.value.as_slice())
            .unwrap_or_default();
        let mut spec: spec::Process = document::read("process", spec)?;
        spec.terminal = request.terminal;
        let (mut io, mut child_ends) = self.open_io(&request)?;
        let foreign = self.containers[&container].wall.foreign();
        if child_ends.is_none() && foreign.is_some_and(|foreign| foreign.peer().is_some()) {
            child_ends = Some(io.open_terminal_pipes()?);
        }
        let key = self.key();
        let mut process = Process::new(container, &request.exec_id, io);
        process.child_ends = child_ends;
        process.spec = Some(Box::new(spec));
        self.processes.insert(key, process);
        let container = self
            .containers
            .get_mut(&container)
            .expect("it was just found");
        container.execs.insert(request.exec_id.clone(), key);
        self.publisher.publish(
            Event::ExecAdded {
                id: request.id,
                exec_id: request.exec_id,
            },
            &mut self.poll,
        );
        Ok(())
    }

    pub fn resize(&mut self, request: task::ResizePtyRequest) -> Result<(), Refusal> {
        let (_, process) = self.admitted(Verb::Resize, &request.id, &request.exec_id)?;
        let (exec_id, container) = (process.exec_id.clone(), process.container);
        if process.io.names.terminal
            && let Some(peer) = self.containers[&container]
                .wall
                .foreign()
                .and_then(Foreign::peer)
        {
            return peer.resize(&exec_id, (request.width, request.height));
        }
        let (_, process) = self.admitted(Verb::Resize, &request.id, &request.exec_id)?;
        let Some(console) = process.io.console() else {
            let text = format!("{}: has no terminal", who(&request.id, &request.exec_id));
            return Err(Refusal::new(Code::FailedPrecondition, text));
        };
        let bound = |size: u32| u16::try_from(size).unwrap_or(u16::MAX);
        let size = rustix::termios::Winsize {
            ws_row: bound(request.height),
            ws_col: bound(request.width),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(console, size)
            .map_err(|error| Refusal::new(Code::Unknown, format!("resize the terminal: {error}")))
    }

    pub fn close_io(&mut self, request: task::CloseIoRequest) -> Result<(), Refusal> {
        let key = self.find_process(&request.id, &request.exec_id)?;
        let process = self
            .processes
            .get_mut(&key)
            .expect("a container's processes are known");
        if request.stdin && process.end.is_none() {
            process.io.close_stdin();
            let watched = process.io.watch(key, &mut self.poll);
            self.copy_input(key);
            watched
                .map_err(|error| Refusal::new(Code::Unknown, format!("watch stdio: {error}")))?;
        }
        Ok(())
    }

    pub fn update(&mut self, request: task::UpdateTaskRequest) -> Result<(), Refusal> {
        self.admitted(Verb::Update, &request.id, "")?;
        let Some(any) = &request.resources else {
            return Err(Refusal::new(
                Code::InvalidArgument,
                "Update without resources",
            ));
        };
        let resources: spec::Resources = document::read("resources", &any.value)?;
        let container = &self.containers[&self.find(&request.id)?];
        if let Some(foreign) = container.wall.foreign() {
            return foreign.update(&any.value);
        }
        let warnings = container.cgroup.update(&resources)?;
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        journal::warn(&container.bundle, &container.id, &warnings);
        Ok(())
    }

    pub fn stats(&self, request: task::StatsRequest) -> Result<task::StatsResponse, Refusal> {
        let container = &self.containers[&self.find(&request.id)?];
        let stats = container.cgroup.stats()?;
        Ok(task::StatsResponse {
            stats: Some(metrics(&stats, container.cgroup.layout())),
        })
    }

    pub fn connect(&self, request: task::ConnectRequest) -> Result<task::ConnectResponse, Refusal> {
        let container = self
            .find(&request.id)
            .ok()
            .map(|key| &self.containers[&key]);
        Ok(task::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: container.map_or(0, |container| container.wall.pid() as u32),
            version: env!("CARGO_PKG_VERSION").into(),
        })
    }

    /// A shim with containers stays, as containerd's own do: another caller may know them.
    pub fn shut_down(&mut self) {
        if self.containers.is_empty() {
            self.leave();
        }
    }

    fn open_io(
        &self,
        request: &task::ExecProcessRequest,
    ) -> Result<(Io, Option<ChildEnds>), Refusal> {
        let names = Names {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let owner = Owner {
            id: &request.id,
            namespace: &self.namespace,
        };
        Ok(Io::open(names, &owner)?)
    }
}

/// How a process is called in refusals.
pub fn who(id: &str, exec_id: &str) -> String {
    if exec_id.is_empty() {
        format!("container {id}")
    } else {
        format!("process {exec_id} of container {id}")
    }
}
