//! The daemon's door: a Unix socket, a JSON object a line, an answer to each.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use serde::Deserialize;

use super::poll::{Flags, Kind, Poll};

/// A line is no longer than this.
const LINE: usize = 4096;
const MOST: usize = 64;

/// What a line says.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The file of a container is to be read again.
    Endpoint(String),
    /// … of a network.
    Network(String),
    Upstreams(bool),
    /// All of them.
    All(bool),
    End(bool),
}

pub struct Control {
    listener: UnixListener,
    told: HashMap<u64, (UnixStream, Vec<u8>)>,
}

impl Control {
    /// Opens the door, in place of one that a predecessor left.
    pub fn open(poll: &mut Poll, path: &Path) -> io::Result<Control> {
        // Born under another name and then renamed: whoever finds it may connect, and nobody but root.
        let fresh = path.with_extension("new");
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, PermissionsExt::from_mode(0o600))?;
        std::fs::rename(&fresh, path)?;
        listener.set_nonblocking(true)?;
        let number = poll.number();
        poll.watch(&listener, Kind::Control, number, Flags::IN)?;
        Ok(Control {
            listener,
            told: HashMap::new(),
        })
    }

    /// Somebody came.
    pub fn on_control(&mut self, poll: &mut Poll) {
        let Ok((stream, _)) = self.listener.accept() else {
            return;
        };
        let number = poll.number();
        if self.told.len() < MOST
            && stream.set_nonblocking(true).is_ok()
            && poll.watch(&stream, Kind::Told, number, Flags::IN).is_ok()
        {
            self.told.insert(number, (stream, Vec::new()));
        }
    }

    /// Reads what a connection says: whole lines, and whether it goes on.
    pub fn read(&mut self, number: u64) -> (Vec<String>, bool) {
        let Some((stream, rest)) = self.told.get_mut(&number) else {
            return (Vec::new(), false);
        };
        let mut buffer = [0; LINE];
        let goes_on = match stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                rest.extend_from_slice(&buffer[..length]);
                true
            }
            Err(error) => super::socket::is_later(&error),
        };
        let mut lines = Vec::new();
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line).trim().to_owned());
        }
        (lines, goes_on && rest.len() < LINE)
    }

    /// Answers; who does not read his answers is told no more.
    pub fn say(&mut self, number: u64, answer: &serde_json::Value) {
        let Some((stream, _)) = self.told.get_mut(&number) else {
            return;
        };
        let text = format!("{answer}\n");
        if !matches!(stream.write(text.as_bytes()), Ok(length) if length == text.len()) {
            self.told.remove(&number);
        }
    }

    pub fn close(&mut self, number: u64) {
        self.told.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let read = |text| serde_json::from_str::<Command>(text);
        let endpoint = read(r#"{"endpoint":"0123"}"#).unwrap();
        assert_eq!(endpoint, Command::Endpoint("0123".to_owned()));
        assert_eq!(read(r#"{"end":true}"#).unwrap(), Command::End(true));
        for text in ["", "{}", r#"{"frob":true}"#, r#"{"end":true,"all":true}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
