//! A runc-compatible command: one short run of it for each verb.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process;

use serde::Deserialize;

use super::console::Console;
use super::run::{refused, run};
use super::{Started, started};
use crate::options::Options;
use crate::stdio::ChildEnds;
use crate::ttrpc::{Code, Refusal};

#[derive(Debug)]
pub struct Command {
    program: PathBuf,
    /// Its directory of states.
    states: PathBuf,
    id: String,
    /// Where its config.json lies, and what is said between the two of us.
    directory: PathBuf,
}

impl Command {
    pub fn new(program: &Path, states: &Path, id: &str, directory: &Path) -> Command {
        Command {
            program: program.to_owned(),
            states: states.to_owned(),
            id: id.to_owned(),
            directory: directory.to_owned(),
        }
    }

    /// Makes the container, its program held back.
    pub fn create(&self, ends: Option<ChildEnds>, options: &Options) -> Result<Started, Refusal> {
        let mut words = vec!["create".to_owned(), "--bundle".into(), self.file("")];
        if options.no_pivot_root {
            words.push("--no-pivot".into());
        }
        if options.no_new_keyring {
            words.push("--no-new-keyring".into());
        }
        let made = self.launch(words, "init", ends, vec![self.id.clone()]);
        if made.is_err() {
            // It may have got far enough to leave something.
            let _ = self.delete();
        }
        made
    }

    pub fn start(&self) -> Result<(), Refusal> {
        self.call(&["start", &self.id])
    }

    /// Adds a process, described as in config.json.
    pub fn exec(
        &self,
        exec_id: &str,
        process: &[u8],
        ends: Option<ChildEnds>,
    ) -> Result<Started, Refusal> {
        let described = self.file(&format!("process-{exec_id}.json"));
        std::fs::write(&described, process)
            .map_err(|error| refused(&self.program, &error.to_string()))?;
        let words = vec![
            "exec".to_owned(),
            "--detach".into(),
            "--process".into(),
            described.clone(),
        ];
        let made = self.launch(words, exec_id, ends, vec![self.id.clone()]);
        let _ = std::fs::remove_file(described);
        made
    }

    pub fn kill(&self, signal: i32, all: bool) -> Result<(), Refusal> {
        let number = signal.to_string();
        if all {
            self.call(&["kill", "--all", &self.id, &number])
        } else {
            self.call(&["kill", &self.id, &number])
        }
    }

    pub fn pause(&self) -> Result<(), Refusal> {
        self.call(&["pause", &self.id])
    }

    pub fn resume(&self) -> Result<(), Refusal> {
        self.call(&["resume", &self.id])
    }

    pub fn update(&self, resources: &[u8]) -> Result<(), Refusal> {
        let described = self.file("resources.json");
        std::fs::write(&described, resources)
            .map_err(|error| refused(&self.program, &error.to_string()))?;
        self.call(&["update", "--resources", &described, &self.id])
    }

    /// Takes away what is left, processes too.
    pub fn delete(&self) -> Result<(), Refusal> {
        self.call(&["delete", "--force", &self.id])
    }

    /// Runs what makes a process: its pid comes in a file, its terminal over a socket.
    fn launch(
        &self,
        mut words: Vec<String>,
        name: &str,
        ends: Option<ChildEnds>,
        last: Vec<String>,
    ) -> Result<Started, Refusal> {
        let told = self.file(&format!("pid-{name}"));
        words.extend(["--pid-file".into(), told.clone()]);
        let failed =
            |error: rustix::io::Errno| refused(&self.program, &format!("its terminal: {error}"));
        let console = match &ends {
            Some(_) => None,
            None => Some(Console::listen(&self.directory).map_err(failed)?),
        };
        if let Some(console) = &console {
            words.extend(["--console-socket".into(), console.path()]);
        }
        words.extend(last);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.run(&words, ends)?;
        let master: Option<OwnedFd> = console.map(Console::receive).transpose().map_err(failed)?;
        let pid = std::fs::read_to_string(&told).ok();
        let _ = std::fs::remove_file(&told);
        let pid = pid.and_then(|pid| pid.trim().parse().ok());
        let pid = pid.ok_or_else(|| refused(&self.program, "told no pid"))?;
        started(pid, master)
    }

    fn call(&self, words: &[&str]) -> Result<(), Refusal> {
        self.run(words, None)
    }

    fn run(&self, words: &[&str], ends: Option<ChildEnds>) -> Result<(), Refusal> {
        let log = self.file("log.json");
        let _ = std::fs::remove_file(&log);
        let mut command = process::Command::new(&self.program);
        command.arg("--root").arg(&self.states);
        if self.directory.is_dir() {
            command.args(["--log", &log, "--log-format", "json"]);
        }
        command.args(words);
        let status = run(&self.program, command, ends)?;
        if status.success() {
            return Ok(());
        }
        let text = std::fs::read(&log).unwrap_or_default();
        let why = last_error(&text).unwrap_or_else(|| format!("{}: {status}", words.join(" ")));
        Err(Refusal::new(Code::Unknown, why))
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

/// The last error in a log of JSON lines: the reason why the command failed.
fn last_error(log: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let lines = log.split(|byte| *byte == b'\n').rev();
    let mut lines = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    lines
        .find(|line| line.level == "error" || line.level == "fatal")
        .map(|line| line.msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_error() {
        let log = br#"{"level":"error","msg":"first","time":"t"}
{"level":"error","msg":"second","time":"t"}
{"level":"warning","msg":"third","time":"t"}
not json
"#;
        assert_eq!(last_error(log).as_deref(), Some("second"));
        assert_eq!(last_error(b""), None);
    }
}
