//! What is told meanwhile: one JSON object a line, progress at most ten times a second.
//!
//! Who asked may go away; then nobody wants the blob any more, and the program ends.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use crate::error::Error;

const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// A line between the first and the last.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Line<'a> {
    Received(u64),
    Unpacked(u64),
    Sent(u64),
    Failed(Failure<'a>),
    #[serde(untagged)]
    Waiting {
        waiting: f64,
        why: &'a str,
    },
    #[serde(untagged)]
    Challenge {
        challenge: &'a str,
        url: &'a str,
        source: usize,
    },
}

#[derive(Debug, Serialize)]
pub struct Failure<'a> {
    pub kind: &'a str,
    pub source: Option<usize>,
    pub status: Option<u16>,
    pub detail: &'a str,
}

#[derive(Debug, Serialize)]
pub struct Done<T> {
    pub done: T,
}

pub fn put(line: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_vec(line).map_err(|error| Error::Output(error.into()))?;
    text.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&text)
        .and_then(|()| out.flush())
        .map_err(Error::Output)
}

pub fn waiting(time: Duration, why: &Error) -> Result<(), Error> {
    put(&Line::Waiting {
        waiting: time.as_secs_f64(),
        why: &why.to_string(),
    })
}

/// Tells what is new, until it is stopped.
#[derive(Debug)]
pub struct Ticker {
    over: Arc<Mutex<bool>>,
}

impl Ticker {
    /// `look` says the lines that are new since it was last asked.
    pub fn start(mut look: impl FnMut() -> Vec<Line<'static>> + Send + 'static) -> Ticker {
        let over = Arc::new(Mutex::new(false));
        let theirs = over.clone();
        thread::spawn(move || {
            while tell(&theirs, look()) {
                // Asked for nothing, poll still says when the other end is closed.
                let out = io::stdout();
                match poll(&mut [PollFd::new(&out, PollFlags::empty())], Some(&TICK)) {
                    Ok(0) | Err(Errno::INTR) => {}
                    _ => std::process::exit(1),
                }
            }
        });
        Ticker { over }
    }

    /// After this the last word is the caller's.
    pub fn stop(self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

/// False when it is over.
fn tell(over: &Mutex<bool>, lines: Vec<Line<'static>>) -> bool {
    let over = over.lock().unwrap_or_else(PoisonError::into_inner);
    if *over {
        return false;
    }
    if lines.iter().any(|line| put(line).is_err()) {
        std::process::exit(1);
    }
    true
}
