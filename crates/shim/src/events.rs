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
        } => {
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
            let message = TaskCreate {
                container_id: id,
                bundle,
                rootfs,
                io,
                checkpoint: String::new(),
                pid: pid as u32,
            };
            ("/tasks/create", any("TaskCreate", &message))
        }
        Event::Start { id, pid } => (
            "/tasks/start",
            any(
                "TaskStart",
                &TaskStart {
                    container_id: id,
                    pid: pid as u32,
                },
            ),
        ),
        Event::ExecAdded { id, exec_id } => (
            "/tasks/exec-added",
            any(
                "TaskExecAdded",
                &TaskExecAdded {
                    container_id: id,
                    exec_id,
                },
            ),
        ),
        Event::ExecStarted { id, exec_id, pid } => {
            let message = TaskExecStarted {
                container_id: id,
                exec_id,
                pid: pid as u32,
            };
            ("/tasks/exec-started", any("TaskExecStarted", &message))
        }
        Event::Paused { id } => (
            "/tasks/paused",
            any("TaskPaused", &TaskPaused { container_id: id }),
        ),
        Event::Resumed { id } => (
            "/tasks/resumed",
            any("TaskResumed", &TaskResumed { container_id: id }),
        ),
        Event::Oom { id } => ("/tasks/oom", any("TaskOOM", &TaskOom { container_id: id })),
        Event::Exit {
            id,
            process,
            pid,
            status,
            at,
        } => {
            let exited_at = Some(timestamp(at));
            let message = TaskExit {
                container_id: id,
                id: process,
                pid: pid as u32,
                exit_status: status,
                exited_at,
            };
            ("/tasks/exit", any("TaskExit", &message))
        }
        Event::Delete {
            id,
            pid,
            status,
            at,
        } => {
            let exited_at = Some(timestamp(at));
            let message = TaskDelete {
                id: id.clone(),
                container_id: id,
                pid: pid as u32,
                exit_status: status,
                exited_at,
            };
            ("/tasks/delete", any("TaskDelete", &message))
        }
    }
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
