//! The last steps to the program, equal for init and for exec: each is a type, so that none can be skipped or swapped.
//!
//! ```text
//! Inside → User → (gate) → Released → the program
//! ```

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::fault::{At, Fault, Outcome};
use crate::plan::{Program, Streams};
use crate::reaper::Reaper;
use crate::terminal::Terminal;
use crate::wire::{Line, Packet, Tag};
use crate::{Stage, capabilities, terminal};

/// Below the container's root, still as its root user.
pub(crate) struct Inside<'a> {
    pub program: &'a Program,
    pub line: Line,
    pub terminal: Option<Terminal>,
}

/// The user that the program runs as, with its capabilities; the program was found.
pub(crate) struct User<'a> {
    program: &'a Program,
    path: CString,
    pub line: Line,
}

/// Past the gate.
pub(crate) struct Released<'a> {
    program: &'a Program,
    path: CString,
    /// Where faults are told from here on.
    line: Line,
}

/// Sends what was made of the terminal to whoever wants it.
pub(crate) fn give_terminal(
    line: &Line,
    streams: &Streams,
    terminal: Option<&Terminal>,
) -> Outcome<()> {
    let Some(terminal) = terminal else {
        return Ok(());
    };
    let sent = match streams {
        Streams::Terminal(Some(socket)) => {
            let name = [std::io::IoSlice::new(terminal.name.as_bytes())];
            crate::wire::send_with_descriptor(socket.as_fd(), &name, Some(terminal.master.as_fd()))
        }
        _ => line.send(Tag::Console, &[], Some(terminal.master.as_fd())),
    };
    sent.at(Stage::OpenTerminal, "send the master")
}

/// Tells the caller what could only be done in part.
pub(crate) fn warn(line: &Line, warnings: impl IntoIterator<Item = String>) -> Outcome<()> {
    warnings
        .into_iter()
        .try_for_each(|text| line.send(Tag::Warning, text.as_bytes(), None))
        .at(Stage::Prepare, "a warning")
}

impl<'a> Inside<'a> {
    /// Stdio, working directory, user and capabilities; finds the program with the user's own rights.
    pub fn become_user(self) -> Outcome<User<'a>> {
        let Inside {
            program,
            line,
            terminal,
        } = self;
        let identity = &program.identity;
        terminal::take_stdio(
            program.streams.descriptors(),
            terminal.as_ref().map(|terminal| &terminal.slave),
            program.reaper.is_none(),
        )?;
        drop(terminal);
        sys::close_on_exec_from(3 + program.preserve_fds)
            .at(Stage::SetSecurity, "close descriptors")?;
        // A directory that only root may enter is entered now; one that only the user may, later.
        let early = identity.enter_directory();
        // Without no_new_privs a filter takes CAP_SYS_ADMIN (seccomp(2)); exec drops it, as the bounding set says.
        let keep = if program.filter.is_some() && !identity.no_new_privileges {
            capabilities::SYS_ADMIN
        } else {
            0
        };
        warn(&line, identity.become_user(keep)?)?;
        if early.is_err() {
            identity.enter_directory()?;
        }
        // Changing users cleared it. A caller who died before this is seen by the end of the line.
        sys::set_parent_death_signal(libc::SIGKILL)
            .at(Stage::SetSecurity, "parent death signal")?;
        if line.is_closed() {
            sys::exit(1);
        }
        let path = identity.find_program()?;
        Ok(User {
            program,
            path,
            line,
        })
    }
}

impl<'a> User<'a> {
    /// Closes all that was needed on the way here, but the line and `keep`, then sets the limits: that of open files may be small.
    pub fn let_go(&self, keep: Option<BorrowedFd<'_>>) -> Outcome<()> {
        let told = self.program.reaper.as_ref().map(|it| it.told.as_fd());
        let keep: Vec<_> = [Some(self.line.as_fd()), keep, told]
            .into_iter()
            .flatten()
            .collect();
        sys::close_others(3 + self.program.preserve_fds, &keep)
            .at(Stage::WaitForStart, "close descriptors")?;
        self.program.schedule.limit()
    }

    /// Goes on with the connection of whoever opened the gate.
    pub fn released(self, opener: Option<Line>) -> Released<'a> {
        Released {
            program: self.program,
            path: self.path,
            line: opener.unwrap_or(self.line),
        }
    }
}

impl<'a> Released<'a> {
    /// Loads the filter and becomes the program, or the init above it: the line closes by that. Returns only a failure, which
    /// was told.
    pub fn execute(self) -> std::convert::Infallible {
        let fault = match self.part() {
            Ok(None) => match self.lock_system_calls() {
                Ok(()) => self.program.identity.execute(&self.path),
                Err(fault) => fault,
            },
            Ok(Some((reaper, program))) => {
                let filter = self.program.filter();
                match filter.and_then(|filter| reaper.let_go(&self.line, filter)) {
                    Ok(()) => {
                        drop(self.line);
                        reaper.serve(program)
                    }
                    Err(fault) => fault,
                }
            }
            Err(fault) => fault,
        };
        tell(&self.line, &fault);
        sys::exit(i32::from(fault.inside().exit_code()))
    }

    /// Where the program is to have an init above it: in that one, what it is, and the program's process.
    fn part(&self) -> Outcome<Option<(&'a Reaper, i32)>> {
        if !self.program.die_with_parent {
            sys::set_parent_death_signal(0).at(Stage::SetSecurity, "parent death signal")?;
        }
        let Some(reaper) = &self.program.reaper else {
            return Ok(None);
        };
        let child = reaper.part(matches!(self.program.streams, Streams::Terminal(_)))?;
        Ok(child.map(|child| (reaper, child)))
    }

    /// After this nothing but exec is called on the way to the program, so that a filter need allow nothing else.
    fn lock_system_calls(&self) -> Outcome<()> {
        let Some(filter) = self.program.filter()? else {
            return Ok(());
        };
        let failed = |error: seccomp::Error| std::io::Error::other(error.to_string());
        let listener: Option<OwnedFd> = filter.load().map_err(failed).at(Stage::LoadFilter, "")?;
        let (Some(listener), Some(agent)) = (listener, &self.program.agent) else {
            return Ok(());
        };
        self.line
            .send(Tag::Listener, agent, Some(listener.as_fd()))
            .at(Stage::LoadFilter, "send the listener")?;
        // Until the agent has it every notified call would hang.
        self.line
            .receive()
            .at(Stage::LoadFilter, "send the listener")
            .map(drop)
    }
}

/// The next packet; without a caller there is nothing left to do.
pub(crate) fn receive(line: &Line, stage: Stage) -> Outcome<Packet> {
    match line.receive().at(stage, "the caller")? {
        Some(packet) => Ok(packet),
        None => sys::exit(1),
    }
}

/// Says a fault to the other side, if there still is one.
pub(crate) fn tell(line: &Line, fault: &Fault) {
    _ = line.send(Tag::Fault, &fault.encode(), None);
}
