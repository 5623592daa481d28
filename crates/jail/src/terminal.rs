//! A terminal of the container's own devpts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, fchown, fstatfs, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Gid, Uid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use spec::ConsoleSize;

use crate::fault::{At, Outcome};
use crate::mounts::put;
use crate::{Stage, beneath};

const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

#[derive(Debug)]
pub(crate) struct Terminal {
    pub master: OwnedFd,
    pub slave: OwnedFd,
    /// As `/dev/pts/0`.
    pub name: String,
}

/// Opens a new terminal below `root`, owned by the program's user.
pub(crate) fn open(
    root: &OwnedFd,
    size: Option<&ConsoleSize>,
    owner: (Uid, Gid),
) -> Outcome<Terminal> {
    let make = || -> io::Result<Terminal> {
        let master = beneath::open(
            root,
            Path::new("dev/pts/ptmx"),
            OFlags::RDWR | OFlags::NOCTTY,
        )?;
        if fstatfs(&master)?.f_type as u64 != DEVPTS_SUPER_MAGIC {
            return Err(io::Error::other("no devpts is mounted there"));
        }
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(
            &master,
            OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
        )?;
        if let Some(size) = size {
            tcsetwinsize(
                &master,
                Winsize {
                    ws_row: size.height,
                    ws_col: size.width,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                },
            )?;
        }
        // The group stays devpts' own (tty).
        fchown(&slave, Some(owner.0), None)?;
        let name = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
        Ok(Terminal {
            master,
            slave,
            name,
        })
    };
    make().at(Stage::OpenTerminal, "/dev/pts/ptmx")
}

impl Terminal {
    /// Binds the slave on /dev/console, through no link (CVE-2025-52565).
    pub fn bind_console(&self, root: &OwnedFd) -> Outcome<()> {
        let bind = || -> io::Result<()> {
            let dev = beneath::directory(root, Path::new("dev"))?;
            match openat(
                &dev,
                "console",
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o600),
            ) {
                Ok(_) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let console = openat2(
                &dev,
                "console",
                OFlags::PATH | OFlags::CLOEXEC,
                Mode::empty(),
                resolve,
            )?;
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            put(&open_tree(&self.slave, "", flags)?, &console)
        };
        bind().at(Stage::OpenTerminal, "/dev/console")
    }
}

/// Leads a new session, with `terminal` as its controlling terminal when there is one and `controls` wants it, and puts the three
/// standard descriptors in their places.
pub(crate) fn take_stdio(
    stdio: [Option<BorrowedFd<'_>>; 3],
    terminal: Option<&OwnedFd>,
    controls: bool,
) -> Outcome<()> {
    // A process that leads a group already cannot; init and exec's child never do.
    rustix::process::setsid().at(Stage::OpenTerminal, "a new session")?;
    if let Some(terminal) = terminal.filter(|_| controls) {
        rustix::process::ioctl_tiocsctty(terminal)
            .at(Stage::OpenTerminal, "the controlling terminal")?;
    }
    for (number, from) in stdio.into_iter().enumerate() {
        if let Some(from) = from.or(terminal.map(AsFd::as_fd)) {
            sys::set_stdio(from, number as i32)
                .at(Stage::OpenTerminal, format_args!("descriptor {number}"))?;
        }
    }
    Ok(())
}
