//! The state directory: `<root>/<id>/` holds what is known of one container, and nothing else does.
//!
//! | file | meaning |
//! |---|---|
//! | `lock` | a record lock (fcntl(2)) on it makes its holder the only one who changes the container |
//! | `state.json` | [`Record`]; replaced atomically, written *before* what it announces is done |
//! | `config.json` | the configuration as it was at create |
//! | `gate` | the socket behind which init waits; there from create to start |
//!
//! A caller may be killed between any two lines. What it leaves is read thus: a directory without `state.json` holds
//! nothing and is taken over; a record without init whose creator is gone is a container that never came to be, and
//! whoever holds the lock next may undo it by its recorded cgroup. Record locks, not flock(2): they are not inherited, so
//! an init that outlives its creator cannot hold one.
//!
//! Lock order: one lock a process. Reading needs none, for records are replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fcntl_lock};
use serde::{Deserialize, Serialize};
use spec::{Hook, Spec, Status};

use crate::process::Identity;

/// How long a command waits for another one that changes the same container.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("container id cannot be empty")]
    EmptyId,
    #[error("invalid container ID format: {0:?}")]
    InvalidId(String),
    #[error("container with given ID already exists: {0}")]
    Exists(String),
    #[error("container does not exist: {0}")]
    Missing(String),
    #[error("container {0} is being changed by another command")]
    Busy(String),
    #[error("the state of container {id} is unreadable: {path}")]
    Unreadable {
        id: String,
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{act} {path}")]
    Io {
        act: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What is written of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub oci_version: String,
    pub id: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    pub owner: u32,
    /// Who makes the container; only of interest while `init` is absent.
    pub creator: Identity,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Identity>,
    pub cgroup: cgroup::Cgroup,
    /// Whether init's death takes every process along: the container has a pid namespace of its own.
    pub own_pids: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

/// The root of all state directories.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// One container as it is found; holds no lock.
#[derive(Debug)]
pub struct Container {
    dir: PathBuf,
    pub record: Record,
}

/// One container whose lock is held until this is dropped.
#[derive(Debug)]
pub struct Locked {
    dir: PathBuf,
    /// Closing it gives the lock back; nothing else in this process may open the file.
    _lock: File,
    pub record: Option<Record>,
}

impl Store {
    pub fn new(root: PathBuf) -> Store {
        Store { root }
    }

    pub fn find(&self, id: &str) -> Result<Container, Error> {
        let dir = self.dir(id)?;
        let record = read(&dir, id)?.ok_or_else(|| Error::Missing(id.into()))?;
        Ok(Container { dir, record })
    }

    /// Finds the container and keeps everybody else from changing it.
    pub fn lock(&self, id: &str) -> Result<Locked, Error> {
        let locked = self.lock_any(id)?;
        if locked.record.is_none() {
            return Err(Error::Missing(id.into()));
        }
        Ok(locked)
    }

    /// Takes a state directory that may lack a record: what a creator left that died early.
    pub fn lock_any(&self, id: &str) -> Result<Locked, Error> {
        let dir = self.dir(id)?;
        let patience = Instant::now() + PATIENCE;
        let missing = || Error::Missing(id.into());
        loop {
            let Some(lock) = open_lock(&dir, false)? else {
                // A directory without a lock file is what a creator left that was killed after its first call.
                return if dir.is_dir() && open_lock(&dir, true)?.is_some() {
                    continue;
                } else {
                    Err(missing())
                };
            };
            if try_lock(&lock, &dir)? {
                if linked(&lock) {
                    let record = read(&dir, id)?;
                    return Ok(Locked {
                        dir,
                        _lock: lock,
                        record,
                    });
                }
                continue;
            }
            if Instant::now() > patience {
                return Err(Error::Busy(id.into()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Makes the directory of a new container, locked and without a record.
    ///
    /// A directory that a dead creator left is handed out with the record it wrote, if any: the caller undoes it first.
    pub fn claim(&self, id: &str) -> Result<Locked, Error> {
        let dir = self.dir(id)?;
        let exists = || Error::Exists(id.into());
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&self.root)
            .map_err(at("create", &self.root))?;
        loop {
            match DirBuilder::new().mode(0o711).create(&dir) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(at("create", &dir)(error));
                }
                _ => {}
            }
            let Some(lock) = open_lock(&dir, true)? else {
                continue;
            };
            if !try_lock(&lock, &dir)? {
                return Err(exists());
            }
            if !linked(&lock) {
                continue;
            }
            let record = read(&dir, id)?;
            if record
                .as_ref()
                .is_some_and(|record| record.init.is_some() || record.creator.alive())
            {
                return Err(exists());
            }
            return Ok(Locked {
                dir,
                _lock: lock,
                record,
            });
        }
    }

    /// Every container there is, by id.
    pub fn list(&self) -> Result<Vec<Container>, Error> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at("read", &self.root)(error)),
        };
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut found: Vec<Container> = ids.filter_map(|id| self.find(&id).ok()).collect();
        found.sort_by(|a, b| a.record.id.cmp(&b.record.id));
        Ok(found)
    }

    fn dir(&self, id: &str) -> Result<PathBuf, Error> {
        check_id(id)?;
        Ok(self.root.join(id))
    }
}

impl Container {
    pub fn status(&self) -> Status {
        status(&self.record, &self.dir)
    }

    pub fn config(&self) -> Result<Spec, spec::LoadError> {
        Spec::load(&self.dir.join("config.json"))
    }
}

impl Locked {
    pub fn status(&self) -> Option<Status> {
        self.record.as_ref().map(|record| status(record, &self.dir))
    }

    pub fn gate(&self) -> PathBuf {
        self.dir.join("gate")
    }

    /// The directory of the socket that the container says to when it is ready.
    pub fn notify(&self) -> PathBuf {
        self.dir.join("notify")
    }

    /// Replaces the record: whoever reads sees the old one or the new one.
    pub fn write(&mut self, record: Record) -> Result<(), Error> {
        let text = serde_json::to_vec(&record).unwrap_or_default();
        self.file("state.json.new", &text)?;
        let (new, path) = (self.dir.join("state.json.new"), self.dir.join("state.json"));
        fs::rename(&new, &path).map_err(at("replace", &path))?;
        self.record = Some(record);
        Ok(())
    }

    /// Keeps the configuration, which the bundle may lose or change later.
    pub fn keep_config(&self, text: &[u8]) -> Result<(), Error> {
        self.file("config.json", text)
    }

    fn remove_notify(&self) -> io::Result<()> {
        let path = self.notify();
        let removed = match fs::remove_dir(&path) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                fs::remove_file(path.join("notify.sock")).and_then(|()| fs::remove_dir(&path))
            }
            removed => removed,
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn file(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        let path = self.dir.join(name);
        let options = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);
        options
            .and_then(|mut file| file.write_all(text))
            .map_err(at("write", &path))
    }

    /// Removes the directory; the lock file goes last, so that whoever waits for it finds it gone.
    pub fn remove(self) -> Result<(), Error> {
        self.remove_notify().map_err(at("remove", &self.notify()))?;
        for name in [
            "gate",
            "state.json.new",
            "config.json",
            "state.json",
            "lock",
        ] {
            match fs::remove_file(self.dir.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(at("remove", &self.dir.join(name))(error));
                }
                _ => {}
            }
        }
        match fs::remove_dir(&self.dir) {
            // Somebody claims the id already: the directory is his.
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Err(at("remove", &self.dir)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Says what the container is doing, from its record and what lives.
fn status(record: &Record, dir: &Path) -> Status {
    match record.init {
        None if record.creator.alive() => Status::Creating,
        None => Status::Stopped,
        Some(init) if !init.alive() => Status::Stopped,
        Some(_) if record.cgroup.frozen() => Status::Paused,
        Some(_) if dir.join("gate").exists() => Status::Created,
        Some(_) => Status::Running,
    }
}

/// The letters of runc: a path component without surprises.
fn check_id(id: &str) -> Result<(), Error> {
    if id.is_empty() {
        return Err(Error::EmptyId);
    }
    let letters = id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte));
    if !letters || id == "." || id == ".." || id.len() > 255 {
        return Err(Error::InvalidId(id.into()));
    }
    Ok(())
}

fn read(dir: &Path, id: &str) -> Result<Option<Record>, Error> {
    let path = dir.join("state.json");
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| Error::Unreadable {
                id: id.into(),
                path,
                source,
            }),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(at("read", &path)(error)),
    }
}

fn open_lock(dir: &Path, create: bool) -> Result<Option<File>, Error> {
    let path = dir.join("lock");
    match OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .mode(0o600)
        .open(&path)
    {
        Ok(file) => Ok(Some(file)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(at("open", &path)(error)),
    }
}

fn try_lock(lock: &File, dir: &Path) -> Result<bool, Error> {
    match fcntl_lock(lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(false),
        Err(error) => Err(at("lock", &dir.join("lock"))(error.into())),
    }
}

/// Whether the file still has its name: its last holder may have deleted the container.
fn linked(lock: &File) -> bool {
    lock.metadata().is_ok_and(|data| data.nlink() > 0)
}

fn at(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { act, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_path_components_without_surprises() {
        for id in ["a", "A-b_c.d+e", "..a", "0"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "ä",
            "a\n",
            "../x",
            &"x".repeat(256),
        ] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }
}
