//! The Task service: each method's message in, its answer out. What a method does stands in [`crate::tasks`].

use prost::Message;

use crate::api::containerd::task::v3 as task;
use crate::api::ttrpc::Request;
use crate::poll::ConnKey;
use crate::shim::Shim;
use crate::ttrpc::{Code, Refusal};

const EVENTS: &str = "containerd.services.events.ttrpc.v1.Events";
const SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];
/// Waits that one process's callers may have open; each costs a few bytes.
pub const MAX_WAITERS: usize = 1024;

/// An answer; `None` when it comes later.
pub type Answer = Option<Result<Vec<u8>, Refusal>>;

fn read<T: Message + Default>(request: &Request) -> Result<T, Refusal> {
    T::decode(&*request.payload).map_err(|error| {
        Refusal::new(
            Code::InvalidArgument,
            format!("{} cannot be read: {error}", request.method),
        )
    })
}

fn write(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}

fn empty(result: Result<(), Refusal>) -> Result<Vec<u8>, Refusal> {
    result.map(|()| Vec::new())
}

impl Shim {
    /// Does what one request asks.
    pub fn call(&mut self, conn: ConnKey, stream: u32, request: &Request) -> Answer {
        if request.service == EVENTS {
            // Another shim tells what this one sees for itself.
            return Some(Ok(Vec::new()));
        }
        if !SERVICES.contains(&request.service.as_str()) {
            let text = format!("service {:?} is not served", request.service);
            return Some(Err(Refusal::new(Code::Unimplemented, text)));
        }
        if request.method == "Wait" {
            return match read(request).and_then(|request| self.wait_for(conn, stream, request)) {
                Ok(None) => None,
                Ok(Some(response)) => Some(Ok(write(&response))),
                Err(refusal) => Some(Err(refusal)),
            };
        }
        Some(self.answer(conn, request))
    }

    fn answer(&mut self, conn: ConnKey, request: &Request) -> Result<Vec<u8>, Refusal> {
        match request.method.as_str() {
            "State" => self.state(read(request)?).map(|response| write(&response)),
            "Create" => self
                .create(conn, read(request)?)
                .map(|pid| write(&task::CreateTaskResponse { pid })),
            "Start" => self
                .start(read(request)?)
                .map(|pid| write(&task::StartResponse { pid })),
            "Delete" => self.delete(read(request)?).map(|response| write(&response)),
            "Pids" => self.pids(read(request)?).map(|response| write(&response)),
            "Pause" => empty(self.pause(&read::<task::PauseRequest>(request)?.id)),
            "Resume" => empty(self.resume(&read::<task::ResumeRequest>(request)?.id)),
            "Kill" => empty(self.kill(read(request)?)),
            "Exec" => empty(self.add_exec(read(request)?)),
            "ResizePty" => empty(self.resize(read(request)?)),
            "CloseIO" => empty(self.close_io(read(request)?)),
            "Update" => empty(self.update(read(request)?)),
            "Stats" => self.stats(read(request)?).map(|response| write(&response)),
            "Connect" => self
                .connect(read(request)?)
                .map(|response| write(&response)),
            "Shutdown" => {
                self.shut_down();
                Ok(Vec::new())
            }
            "Checkpoint" => Err(Refusal::new(
                Code::Unimplemented,
                "Checkpoint is not served",
            )),
            method => Err(Refusal::new(
                Code::Unimplemented,
                format!("method {method:?} is not served"),
            )),
        }
    }
}
