//! What a container stands behind: our own wall, or a program of somebody else's.

use std::os::fd::OwnedFd;

use crate::foreign::Foreign;

#[derive(Debug)]
pub enum Wall {
    Native(jail::Container),
    Foreign(Box<Foreign>),
}

impl Wall {
    /// Of init, as the host sees it.
    pub fn pid(&self) -> i32 {
        match self {
            Wall::Native(wall) => wall.pid,
            Wall::Foreign(wall) => wall.pid,
        }
    }

    pub fn pidfd(&self) -> &OwnedFd {
        match self {
            Wall::Native(wall) => &wall.pidfd,
            Wall::Foreign(wall) => &wall.pidfd,
        }
    }

    /// Field 22 of `/proc/PID/stat`.
    pub fn start_time(&self) -> u64 {
        match self {
            Wall::Native(wall) => wall.start_time,
            Wall::Foreign(wall) => wall.start_time,
        }
    }

    /// The container's root.
    pub fn rootfs(&self) -> Option<&OwnedFd> {
        match self {
            Wall::Native(wall) => wall.rootfs.as_ref(),
            Wall::Foreign(wall) => wall.rootfs.as_ref(),
        }
    }

    /// How the program ended, where init is another that saw it.
    pub fn program_end(&self) -> Option<sys::ChildEnd> {
        match self {
            Wall::Native(wall) => wall.program_end(),
            Wall::Foreign(_) => None,
        }
    }

    pub fn foreign(&self) -> Option<&Foreign> {
        match self {
            Wall::Native(_) => None,
            Wall::Foreign(wall) => Some(wall),
        }
    }
}
