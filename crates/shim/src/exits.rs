//! How processes and containers end: what is recorded, who is told, what is removed.
//!
//! The order is the promise: output that was written is delivered to logs, the end is on disk, then callers and events say it;
//! a container's own end is told after those of all its other processes.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use causes::in_gos_words;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::api::containerd::task::v3::{DeleteRequest, DeleteResponse, WaitResponse};
use crate::events::{Event, timestamp};
use crate::journal;
use crate::kept::run_hooks;
use crate::log::rfc3339;
use crate::phase::{Phase, Verb, admit};
use crate::poll::{Alarm, ConnKey, ContainerKey, ProcessKey, Source};
use crate::process::{Container, End, Process};
use crate::record::{Ended, Exit, Reason, Usage, reason};
use crate::shim::Shim;
use crate::tasks::who;
use crate::ttrpc::Refusal;

/// How long a killed init may take to disappear: the kernel ends all of its namespace first.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often children are collected while an init is waited for.
const COLLECT: Duration = Duration::from_millis(2);
/// How long output of a deleted process waits for somebody to take it.
pub const LINGER: Duration = Duration::from_secs(10);

impl Shim {
    /// A process ended: record it, then tell.
    pub fn exited(&mut self, key: ProcessKey, ended: Ended, usage: Usage) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        let end = End {
            status: ended.status(),
            at: SystemTime::now(),
        };
        process.io.drain(&mut self.scratch);
        process.phase = Phase::Stopped;
        let container_key = process.container;
        let is_init = process.exec_id.is_empty();
        self.see_oom(container_key);
        if is_init {
            self.poll.clear_alarm(Alarm::TimeLimit(container_key));
            self.end_container(container_key);
        }
        let oom_kills = self.oom_kills_of(container_key, is_init, ended);
        let container = &self.containers[&container_key];
        let process = self.processes.get_mut(&key).expect("it was just there");
        let mut exit = describe(container, process, ended, end, oom_kills);
        count(container, process, usage, &mut exit);
        record(container, &process.exec_id, &exit);
        process.end = Some(end);
        self.tell_when_taken(key);
    }

    /// The kills for want of memory that explain an end: all of them init's; an exec's those that no earlier exec's explained.
    fn oom_kills_of(&mut self, key: ContainerKey, is_init: bool, ended: Ended) -> u64 {
        let Some(container) = self.containers.get_mut(&key) else {
            return 0;
        };
        if is_init {
            return container.oom_kills;
        }
        let fresh = container.oom_kills - container.oom_explained;
        if matches!(ended, Ended::Signal(9)) {
            container.oom_explained = container.oom_kills;
        }
        fresh
    }

    /// Init is gone; what shares a pid namespace with others is not ended by the kernel.
    fn end_container(&mut self, key: ContainerKey) {
        let container = &self.containers[&key];
        if container.spec.has_own_pids() {
            return;
        }
        if let Err(error) = container.cgroup.kill(Signal::KILL.as_raw()) {
            journal::warn(&container.bundle, &container.id, &[in_gos_words(&error)]);
        }
    }

    pub fn tell_end(&mut self, key: ProcessKey, end: End) {
        let process = self.processes.get_mut(&key).expect("the caller has it");
        process.told = true;
        let waiters = std::mem::take(&mut process.waiters);
        let (exec_id, pid, container) = (process.exec_id.clone(), process.pid, process.container);
        let response = WaitResponse {
            exit_status: end.status,
            exited_at: Some(timestamp(end.at)),
        };
        for (conn, stream) in waiters {
            self.reply(conn, stream, Ok(prost::Message::encode_to_vec(&response)));
        }
        let id = self.containers[&container].id.clone();
        if pid != 0 {
            let process = if exec_id.is_empty() {
                id.clone()
            } else {
                exec_id
            };
            let event = Event::Exit {
                id,
                process,
                pid,
                status: end.status,
                at: end.at,
            };
            self.publisher.publish(event, &mut self.poll);
        }
        self.settle(key);
    }

    /// After the end: clients that have everything go; a deleted process that delivered everything is forgotten.
    pub fn settle(&mut self, key: ProcessKey) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        if process.io.drain(&mut self.scratch) && !process.io.is_untaken(true) {
            self.release_clients(key);
            if self
                .processes
                .get(&key)
                .is_some_and(|process| process.deleted)
            {
                self.forget_process(key);
            }
        } else {
            self.release_clients(key);
        }
    }

    pub fn forget_process(&mut self, key: ProcessKey) {
        self.poll.forget(
            |source| matches!(source, Source::Output(of, _) | Source::Input(of) | Source::Ended(of) if of == key),
        );
        for alarm in [Alarm::Linger(key), Alarm::Taken(key), Alarm::Streams(key)] {
            self.poll.clear_alarm(alarm);
        }
        if let Some(mut process) = self.processes.remove(&key) {
            process.io.finish_logs();
            for client in process.clients {
                let status = process.end.map_or(0, |end| end.status);
                self.dismiss(client, &format!("{{\"exited\":{status}}}"));
            }
        }
    }

    /// The program could not be executed: the process ends with the status that a shell would give.
    pub fn start_failed(&mut self, key: ProcessKey, refusal: &Refusal, status: u32) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        process.phase = Phase::Stopped;
        process.io.spare_links();
        let end = End {
            status,
            at: SystemTime::now(),
        };
        process.end = Some(end);
        let container = &self.containers[&process.container];
        let exit = Exit::bare(status, end.at, Reason::StartFailed, refusal.text.clone());
        record(container, &process.exec_id, &exit);
        if process.exec_id.is_empty() {
            kill_and_wait(container.wall.pidfd(), process.pid);
        }
        self.tell_end(key, end);
    }

    pub fn delete(&mut self, request: DeleteRequest) -> Result<DeleteResponse, Refusal> {
        let key = self.find_process(&request.id, &request.exec_id)?;
        let process = &self.processes[&key];
        admit(
            Verb::Delete,
            process.phase,
            &who(&request.id, &request.exec_id),
        )?;
        if process.phase == Phase::Created && process.pid != 0 {
            self.kill_init(key);
        }
        let process = &self.processes[&key];
        let (pid, end) = (
            process.pid,
            process.end.unwrap_or(End {
                status: 0,
                at: SystemTime::now(),
            }),
        );
        let container = process.container;
        if request.exec_id.is_empty() {
            self.remove_container(container)?;
            let event = Event::Delete {
                id: request.id,
                pid,
                status: end.status,
                at: end.at,
            };
            self.publisher.publish(event, &mut self.poll);
        } else {
            self.tell_now(key);
            if let Some(container) = self.containers.get_mut(&container) {
                container.execs.remove(&request.exec_id);
            }
            self.bury(key);
        }
        Ok(DeleteResponse {
            pid: pid as u32,
            exit_status: end.status,
            exited_at: Some(timestamp(end.at)),
        })
    }

    /// Kills an init and takes its status at once.
    fn kill_init(&mut self, key: ProcessKey) {
        let process = &self.processes[&key];
        if process.end.is_some() || process.pid == 0 {
            return;
        }
        let container = &self.containers[&process.container];
        // What cannot be signalled is gone; what cannot be thawed is told by the removal of its cgroup.
        let _ = container.cgroup.kill(Signal::KILL.as_raw());
        let _ = container.cgroup.thaw();
        let _ = rustix::process::pidfd_send_signal(container.wall.pidfd(), Signal::KILL);
        let Ok(pidfd) = container.wall.pidfd().try_clone() else {
            return;
        };
        // Init is not gone before its namespace is empty, and the execs in it are our children: they are collected meanwhile.
        let deadline = Instant::now() + PATIENCE;
        while !gone_within(&pidfd, COLLECT) && Instant::now() < deadline {
            self.reap();
        }
        self.reap();
        self.see_end(key, true);
    }

    fn remove_container(&mut self, key: ContainerKey) -> Result<(), Refusal> {
        let container = &self.containers[&key];
        if let Some(foreign) = container.wall.foreign()
            && let Err(refusal) = foreign.delete()
        {
            // What it left in the cgroup ends with that.
            journal::warn(&container.bundle, &container.id, &[refusal.text]);
        }
        // Execs that outlived init by sharing others' pid namespace are dead or dying: end_container saw to it.
        container.cgroup.remove()?;
        if let Err(error) = run_hooks(container, jail::HookStage::Poststop) {
            journal::warn(&container.bundle, &container.id, &[in_gos_words(&error)]);
        }
        self.tell_all(key);
        self.poll.forget(|source| source == Source::Oom(key));
        self.poll.clear_alarm(Alarm::TimeLimit(key));
        let container = self.containers.remove(&key).expect("it was just there");
        for process in container.execs.into_values().chain([container.init]) {
            self.bury(process);
        }
        Ok(())
    }

    /// A deleted process stays only for output that somebody still has to take.
    fn bury(&mut self, key: ProcessKey) {
        let Some(process) = self.processes.get_mut(&key) else {
            return;
        };
        process.deleted = true;
        process.end.get_or_insert(End {
            status: 0,
            at: SystemTime::now(),
        });
        self.poll.set_alarm(LINGER, Alarm::Linger(key));
        self.settle(key);
        self.is_taken(key);
    }

    /// The kernel killed for want of memory: told once a kill was counted.
    pub fn see_oom(&mut self, key: ContainerKey) {
        let Some(container) = self.containers.get_mut(&key) else {
            return;
        };
        let Some(count) = container.oom.as_ref().and_then(|watch| watch.count().ok()) else {
            return;
        };
        if count > container.oom_kills {
            container.oom_kills = count;
            let event = Event::Oom {
                id: container.id.clone(),
            };
            self.publisher.publish(event, &mut self.poll);
        }
    }

    pub fn time_out(&mut self, key: ContainerKey) {
        let Some(container) = self.containers.get_mut(&key) else {
            return;
        };
        container.timed_out = true;
        let init = container.init;
        self.kill_init(init);
    }

    /// Ends every container: the shim was told to go.
    pub fn kill_everything(&mut self) {
        let inits: Vec<ProcessKey> = self
            .containers
            .values()
            .map(|container| container.init)
            .collect();
        for init in inits {
            self.kill_init(init);
        }
    }

    /// Containers whose life hung on this connection end with it, and nothing of them stays.
    pub fn cut_lifelines(&mut self, conn: ConnKey) {
        let cut = |container: &Container| container.lifeline == Some(conn);
        let keys: Vec<ContainerKey> = self
            .containers
            .iter()
            .filter(|(_, container)| cut(container))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let container = &self.containers[&key];
            let (init, bundle) = (container.init, container.bundle.clone());
            self.kill_init(init);
            if self.remove_container(key).is_ok() {
                // What cannot be removed is the sweep's to find.
                if std::fs::remove_dir_all(&bundle).is_err() {
                    open_up(&bundle);
                    let _ = std::fs::remove_dir_all(&bundle);
                }
            }
        }
    }
}

/// Gives the owner back its rights to every directory of a tree: overlay's own have none, which stops all but root.
fn open_up(directory: &Path) {
    let _ = std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Kills one child and takes its status, for ends that nobody is to be told of.
pub fn kill_and_wait(pidfd: &OwnedFd, pid: i32) {
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
    wait_gone(pidfd);
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// Waits, within bounds, until the process of this descriptor has ended.
fn wait_gone(pidfd: &OwnedFd) {
    gone_within(pidfd, PATIENCE);
}

pub fn gone_within(pidfd: &OwnedFd, time: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    };
    let mut ended = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    poll(&mut ended, Some(&timeout)).is_ok_and(|count| count > 0)
}

/// What is known of an end.
fn describe(
    container: &Container,
    process: &Process,
    ended: Ended,
    end: End,
    oom_kills: u64,
) -> Exit {
    let (reason, message) = reason(ended, oom_kills, container.timed_out);
    let mut exit = Exit::bare(end.status, end.at, reason, message);
    exit.started_at = process.started_at.map(rfc3339);
    exit.steps = process.steps;
    exit.output_dropped = process.io.dropped();
    exit.oom_kills = oom_kills;
    exit
}

/// What was used: by the container as its cgroup counts; by an exec, which shares that cgroup with others, and by a container
/// that has none, as the kernel counted for the process itself.
fn count(container: &Container, process: &Process, own: Usage, exit: &mut Exit) {
    exit.usage = own;
    if process.exec_id.is_empty()
        && let Ok(account) = container.cgroup.account()
    {
        exit.pids_refused = account.pids_refused;
        exit.oom_kills = exit.oom_kills.max(account.oom_kills);
        let counted = Usage {
            cpu_ns: account.cpu_ns,
            user_ns: account.user_ns,
            system_ns: account.system_ns,
            memory_peak: account.memory_peak,
        };
        if counted != Usage::default() {
            exit.usage = counted;
        }
    }
}

/// A bundle that takes no file (a full disk, removed) costs the record, not the container.
fn record(container: &Container, exec_id: &str, exit: &Exit) {
    if let Err(error) = exit.write(&container.bundle, exec_id) {
        journal::warn(
            &container.bundle,
            &container.id,
            &[format!("the end could not be recorded: {error}")],
        );
    }
}
