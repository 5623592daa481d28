//! Sleeping until there is more to read, or nothing more will come. Nothing is looked at by the clock.
//!
//! The watches stand before the log is read: whatever changes after a look is an event that waits. Watched are the file
//! that is read (written to), its directory (rotated, removed), the bundle (exit.json) and the shim's process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::args::Options;
use crate::moment::Moment;
use crate::sink::Kind;
use crate::{Error, Result};

pub struct Watch<'a> {
    inotify: OwnedFd,
    directory: i32,
    /// The file that is read, and the watch on it.
    file: Option<(RawFd, i32)>,
    bundle: Option<PathBuf>,
    shim: Shim,
    until: Option<Moment>,
    outputs: Vec<BorrowedFd<'a>>,
    /// The directory, and with it the container, is being removed.
    removed: bool,
}

/// The process that writes the log and the exit record.
enum Shim {
    /// Nothing is known of it.
    Unknown,
    Alive(OwnedFd),
    Dead,
}

impl<'a> Watch<'a> {
    pub fn new(options: &Options, outputs: [BorrowedFd<'a>; 2]) -> Result<Watch<'a>> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(|errno| Error::Wait(errno.into()))?;
        let directory = match options.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let comes = WatchFlags::CREATE | WatchFlags::MOVED_TO;
        let goes = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let watched = add(&inotify, directory, comes | goes)?;
        let mut shim = Shim::Unknown;
        if let Some(bundle) = &options.until_exit {
            match add(&inotify, bundle, comes | goes | WatchFlags::MASK_ADD) {
                Ok(_) => shim = Shim::find(bundle),
                // The container is removed already.
                Err(Error::Watch { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    shim = Shim::Dead;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Watch {
            inotify,
            directory: watched,
            file: None,
            bundle: options.until_exit.clone(),
            shim,
            until: options.choice.until,
            outputs: written(options, outputs),
            removed: false,
        })
    }

    /// Watches the file that is read from now on.
    pub fn on(&mut self, file: &File) -> Result<()> {
        let number = file.as_raw_fd();
        match self.file {
            // The next one is opened before this one is closed: its number is another.
            Some((old, _)) if old == number => return Ok(()),
            // A removed file took its watch with it.
            Some((_, watch)) => drop(inotify::remove_watch(&self.inotify, watch)),
            None => {}
        }
        // By its descriptor: at its path there may be another one by now.
        let path = format!("/proc/self/fd/{number}");
        let watch = add(&self.inotify, Path::new(&path), WatchFlags::MODIFY)?;
        self.file = Some((number, watch));
        Ok(())
    }

    /// Whether nothing is written any more; what is in the log now is all.
    pub fn is_over(&self) -> bool {
        let ended = self
            .bundle
            .as_deref()
            .is_some_and(|bundle| bundle.join("exit.json").exists() || !bundle.exists());
        ended
            || self.removed
            || matches!(self.shim, Shim::Dead)
            || self.left() == Some(Duration::ZERO)
    }

    /// Sleeps until something may have changed.
    ///
    /// # Errors
    /// `Gone`: nobody reads the output any more.
    pub fn wait(&mut self) -> Result<()> {
        let timeout = self.left().map(|left| Timespec {
            tv_sec: left.as_secs().min(1 << 30).cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut found = vec![PollFd::from_borrowed_fd(
            self.inotify.as_fd(),
            PollFlags::IN,
        )];
        // POLLHUP and POLLERR are told unasked. A socket whose other end sends no more may still be read.
        found.extend(
            self.outputs
                .iter()
                .map(|&output| PollFd::from_borrowed_fd(output, PollFlags::empty())),
        );
        if let Shim::Alive(pidfd) = &self.shim {
            found.push(PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN));
        }
        match poll(&mut found, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::Wait(errno.into())),
        }
        let (events, rest) = found.split_at(1);
        let (outputs, shim) = rest.split_at(self.outputs.len());
        if outputs.iter().any(|output| !output.revents().is_empty()) {
            return Err(Error::Gone);
        }
        let changed = !events[0].revents().is_empty();
        if shim.iter().any(|shim| !shim.revents().is_empty()) {
            self.shim = Shim::Dead;
        }
        if changed { self.take() } else { Ok(()) }
    }

    /// Takes all events; what they say is found out by looking, but for the end of the directory.
    fn take(&mut self) -> Result<()> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    let ends = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
                    self.removed |= event.wd() == self.directory && event.events().intersects(ends);
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::Wait(errno.into())),
            }
        }
    }

    /// The time until the last moment that is asked for.
    fn left(&self) -> Option<Duration> {
        let until = self.until?;
        let until =
            UNIX_EPOCH + Duration::new(u64::try_from(until.seconds).unwrap_or(0), until.nanos);
        Some(until.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

impl Shim {
    /// The bundle's shim; a bundle of another engine does not name one.
    fn find(bundle: &Path) -> Shim {
        let Some(pid) = std::fs::read_to_string(bundle.join("shim.pid"))
            .ok()
            .and_then(|text| Pid::from_raw(text.trim().parse().ok()?))
        else {
            return Shim::Unknown;
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Shim::Alive(pidfd),
            Err(Errno::SRCH) => Shim::Dead,
            Err(_) => Shim::Unknown,
        }
    }
}

fn add(inotify: &OwnedFd, path: &Path, flags: WatchFlags) -> Result<i32> {
    inotify::add_watch(inotify, path, flags).map_err(|errno| Error::Watch {
        path: path.to_owned(),
        source: errno.into(),
    })
}

/// The descriptors that are written to.
fn written<'a>(options: &Options, [stdout, stderr]: [BorrowedFd<'a>; 2]) -> Vec<BorrowedFd<'a>> {
    let choice = &options.choice;
    match (options.form.kind, choice.stdout, choice.stderr) {
        (Kind::Framed | Kind::Json, _, _) | (_, true, false) => vec![stdout],
        (Kind::Raw, false, _) => vec![stderr],
        (Kind::Raw, true, true) => vec![stdout, stderr],
    }
}
