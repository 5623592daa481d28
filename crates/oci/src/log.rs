//! Where errors and warnings go, in the forms that callers parse (logrus's text and JSON).
//!
//! With `--log FILE` each message is one line of that file, and errors stand on standard error as plain text too;
//! without it they stand on standard error in the chosen form. containerd and podman read the file's last error.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::clock;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Debug,
    Warning,
    Error,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("invalid log-format: {0}")]
    Format(String),
    #[error("cannot open the log file {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

pub struct Log {
    file: Option<File>,
    format: Format,
    debug: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    level: Level,
    msg: &'a str,
    time: &'a str,
}

impl Log {
    pub fn new(path: Option<&Path>, format: &str, debug: bool) -> Result<Log, OpenError> {
        let format = match format {
            "text" => Format::Text,
            "json" => Format::Json,
            other => return Err(OpenError::Format(other.into())),
        };
        let open = |path: &Path| {
            let source = |source| OpenError::Open {
                path: path.into(),
                source,
            };
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map_err(source)
        };
        Ok(Log {
            file: path.map(open).transpose()?,
            format,
            debug,
        })
    }

    /// What is used before the command line is understood.
    pub fn stderr() -> Log {
        Log {
            file: None,
            format: Format::Text,
            debug: false,
        }
    }

    pub fn error(&self, message: &str) {
        self.write(Level::Error, message);
        if self.file.is_some() {
            let _ = writeln!(std::io::stderr(), "{message}");
        }
    }

    pub fn warning(&self, message: &str) {
        self.write(Level::Warning, message);
    }

    pub fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            self.write(Level::Debug, &message());
        }
    }

    /// Nothing is left to be told when the log itself cannot be written.
    fn write(&self, level: Level, message: &str) {
        let line = line(self.format, level, message, &clock::now());
        let _ = match &self.file {
            Some(file) => (&mut &*file).write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }
}

fn line(format: Format, level: Level, msg: &str, time: &str) -> String {
    match format {
        Format::Json => {
            serde_json::to_string(&Line { level, msg, time }).unwrap_or_default() + "\n"
        }
        Format::Text => {
            let level = match level {
                Level::Debug => "debug",
                Level::Warning => "warning",
                Level::Error => "error",
            };
            format!("time=\"{time}\" level={level} msg={msg:?}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_one_line() {
        let text = line(Format::Text, Level::Error, "a \"b\"\nc", "T");
        assert_eq!(text, "time=\"T\" level=error msg=\"a \\\"b\\\"\\nc\"\n");
        let json = line(Format::Json, Level::Warning, "a \"b\"\nc", "T");
        assert_eq!(
            json,
            "{\"level\":\"warning\",\"msg\":\"a \\\"b\\\"\\nc\",\"time\":\"T\"}\n"
        );
    }
}
