//! Another network namespace: opened by its path, entered for as long as a function takes.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Result};

/// The namespace that this process came from.
const OWN: &str = "/proc/thread-self/ns/net";

#[derive(Debug)]
pub struct Namespace {
    path: PathBuf,
    file: OwnedFd,
    own: OwnedFd,
}

impl Namespace {
    /// # Errors
    /// `OwnNamespace`: what is meant for a container would be done to the host.
    pub fn open(path: &Path) -> Result<Namespace> {
        let (file, own) = (open_path(path)?, open_path(Path::new(OWN))?);
        let number = |file: &OwnedFd| {
            fstat(file)
                .map(|stat| (stat.st_dev, stat.st_ino))
                .map_err(|source| Error::Namespace {
                    path: path.to_owned(),
                    source,
                })
        };
        if number(&file)? == number(&own)? {
            return Err(Error::OwnNamespace {
                path: path.to_owned(),
            });
        }
        Ok(Namespace {
            path: path.to_owned(),
            file,
            own,
        })
    }

    /// For the kernel, as long as this value lives.
    pub fn number(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// Calls a function in there. What it opens stays there: sockets belong to the namespace that they were made in.
    pub fn within<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.move_into(&self.file)?;
        let done = act();
        self.move_into(&self.own)?;
        done
    }

    fn move_into(&self, file: &OwnedFd) -> Result<()> {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
            |source| Error::Enter {
                path: self.path.clone(),
                source,
            },
        )
    }
}

fn open_path(path: &Path) -> Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|source| Error::Namespace {
        path: path.to_owned(),
        source,
    })
}
