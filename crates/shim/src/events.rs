//! What the engine is told without asking: containerd's task events as messages. Pure.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::api::containerd::events::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIo, TaskOom, TaskPaused,
    TaskResumed, TaskStart,
};
use crate::api::containerd::services::events::ttrpc::v1::ForwardRequest;
use crate::api::containerd::types::{Envelope, Mount};
use crate::api::google::protobuf::{Any, Timestamp};
use crate::stdio::Names;

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Create {
        id: String,
        bundle: String,
        rootfs: Vec<Mount>,
        names: Names,
        pid: i32,
    },
    Start {
        id: String,
        pid: i32,
    },
    ExecAdded {
        id: String,
        exec_id: String,
    },
    ExecStarted {
        id: String,
        exec_id: String,
        pid: i32,
    },
    Paused {
        id: String,
    },
    Resumed {
        id: String,
    },
    Oom {
        id: String,
    },
    Exit {
        id: String,
        process: String,
        pid: i32,
        status: u32,
        at: SystemTime,
    },
    Delete {
        id: String,
        pid: i32,
        status: u32,
        at: SystemTime,
    },
}

pub fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: since.as_secs() as i64,
        nanos: since.subsec_nanos() as i32,
    }
}

/// The request that forwards `event`.
pub fn forward(event: Event, namespace: &str, now: SystemTime) -> Vec<u8> {
    let (topic, event) = pack(event);
    let envelope = Envelope {
        timestamp: Some(timestamp(now)),
        namespace: namespace.into(),
        topic: topic.into(),
        event: Some(event),
    };
    ForwardRequest {
        envelope: Some(envelope),
    }
    .encode_to_vec()
}

fn any(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("containerd.events.{name}"),
        value: message.encode_to_vec(),
    }
}

fn pack(event: Event) -> (&'static str, Any) {
    match event {
        Event::Create {
            id,
            bundle,
            rootfs,
            names,
            pid,
        } => ("/tasks/create", created(id, bundle, rootfs, names, pid)),
        Event::Start { id, pid } => ("/tasks/start", started(id, pid)),
        Event::ExecAdded { id, exec_id } => ("/tasks/exec-added", exec_added(id, exec_id)),
        Event::ExecStarted { id, exec_id, pid } => {
            ("/tasks/exec-started", exec_started(id, exec_id, pid))
        }
        Event::Paused { id: container_id } => (
            "/tasks/paused",
            any("TaskPaused", &TaskPaused { container_id }),
        ),
        Event::Resumed { id: container_id } => (
            "/tasks/resumed",
            any("TaskResumed", &TaskResumed { container_id }),
        ),
        Event::Oom { id: container_id } => {
            ("/tasks/oom", any("TaskOOM", &TaskOom { container_id }))
        }
        Event::Exit {
            id,
            process,
            pid,
            status,
            at,
        } => ("/tasks/exit", exited(id, process, pid, status, at)),
        Event::Delete {
            id,
            pid,
            status,
            at,
        } => ("/tasks/delete", deleted(id, pid, status, at)),
    }
}

fn started(container_id: String, pid: i32) -> Any {
    any(
        "TaskStart",
        &TaskStart {
            container_id,
            pid: pid as u32,
        },
    )
}

fn exec_added(container_id: String, exec_id: String) -> Any {
    any(
        "TaskExecAdded",
        &TaskExecAdded {
            container_id,
            exec_id,
        },
    )
}

fn exec_started(container_id: String, exec_id: String, pid: i32) -> Any {
    any(
        "TaskExecStarted",
        &TaskExecStarted {
            container_id,
            exec_id,
            pid: pid as u32,
        },
    )
}

fn created(
    container_id: String,
    bundle: String,
    rootfs: Vec<Mount>,
    names: Names,
    pid: i32,
) -> Any {
    let Names {
        stdin,
        stdout,
        stderr,
        terminal,
    } = names;
    let io = Some(TaskIo {
        stdin,
        stdout,
        stderr,
        terminal,
    });
    let pid = pid as u32;
    any(
        "TaskCreate",
        &TaskCreate {
            container_id,
            bundle,
            rootfs,
            io,
            pid,
            ..TaskCreate::default()
        },
    )
}

fn exited(container_id: String, id: String, pid: i32, exit_status: u32, at: SystemTime) -> Any {
    let exited_at = Some(timestamp(at));
    any(
        "TaskExit",
        &TaskExit {
            container_id,
            id,
            pid: pid as u32,
            exit_status,
            exited_at,
        },
    )
}

fn deleted(id: String, pid: i32, exit_status: u32, at: SystemTime) -> Any {
    let (container_id, exited_at) = (id.clone(), Some(timestamp(at)));
    any(
        "TaskDelete",
        &TaskDelete {
            container_id,
            id,
            pid: pid as u32,
            exit_status,
            exited_at,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_names_container_process_and_time() {
        let event = Event::Exit {
            id: "c".into(),
            process: "e".into(),
            pid: 7,
            status: 137,
            at: UNIX_EPOCH,
        };
        let bytes = forward(event, "ns", UNIX_EPOCH);
        let envelope = ForwardRequest::decode(&*bytes).unwrap().envelope.unwrap();
        assert_eq!(
            (envelope.namespace.as_str(), envelope.topic.as_str()),
            ("ns", "/tasks/exit")
        );
        let any = envelope.event.unwrap();
        assert_eq!(any.type_url, "containerd.events.TaskExit");
        let exit = TaskExit::decode(&*any.value).unwrap();
        assert_eq!(
            (
                exit.container_id.as_str(),
                exit.id.as_str(),
                exit.pid,
                exit.exit_status
            ),
            ("c", "e", 7, 137)
        );
    }
}
