//! Descriptors that are read and written without ever waiting, whoever made them.
//!
//! `O_NONBLOCK` belongs to the open file, which the giver shares: a shell whose terminal turned non-blocking breaks. So a
//! descriptor that was handed over is opened once more, or asked before each use.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// What a terminal and a pipe take at once when poll(2) says that they take something.
const TERMINAL_BOUND: usize = 256;
const PIPE_BOUND: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The file is ours and does not block.
    Free,
    Socket,
    /// A regular file: never blocks.
    Regular,
    /// Asked first; then at most so many bytes.
    Asked(usize),
}

#[derive(Debug)]
pub struct Handed {
    fd: OwnedFd,
    way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

impl Handed {
    /// A descriptor whose open file nobody else uses.
    pub fn own(fd: OwnedFd) -> io::Result<Handed> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Handed { fd, way: Way::Free })
    }

    /// A descriptor that another process gave and goes on using.
    pub fn foreign(fd: OwnedFd, direction: Direction) -> io::Result<Handed> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        let bound = match kind {
            FileType::Socket => {
                return Ok(Handed {
                    fd,
                    way: Way::Socket,
                });
            }
            FileType::RegularFile | FileType::BlockDevice => {
                return Ok(Handed {
                    fd,
                    way: Way::Regular,
                });
            }
            FileType::CharacterDevice => TERMINAL_BOUND,
            _ => PIPE_BOUND,
        };
        let access = if direction == Direction::Read {
            OFlags::RDONLY
        } else {
            OFlags::WRONLY
        };
        let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(
            match rustix::fs::open(
                format!("/proc/self/fd/{}", fd.as_raw_fd()),
                flags,
                Mode::empty(),
            ) {
                Ok(again) => Handed {
                    fd: again,
                    way: Way::Free,
                },
                // Not ours to open (another user's), or without a name (/dev/tty): asked before each use.
                Err(_) => Handed {
                    fd,
                    way: Way::Asked(bound),
                },
            },
        )
    }

    /// Whether this is a pipe or FIFO that holds what nobody has read yet.
    pub fn holds_data(&self) -> bool {
        self.way == Way::Free && rustix::io::ioctl_fionread(&self.fd).is_ok_and(|count| count > 0)
    }

    pub fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        loop {
            let read = match self.way {
                Way::Free | Way::Regular => rustix::io::read(&self.fd, &mut *into),
                Way::Socket => rustix::net::recv(&self.fd, &mut *into, RecvFlags::DONTWAIT)
                    .map(|(count, _)| count),
                Way::Asked(_) => self
                    .ask(PollFlags::IN)
                    .and_then(|()| rustix::io::read(&self.fd, &mut *into)),
            };
            match read {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }

    pub fn write(&self, data: &[u8]) -> Result<usize, Errno> {
        loop {
            let wrote = match self.way {
                Way::Free | Way::Regular => rustix::io::write(&self.fd, data),
                Way::Socket => {
                    rustix::net::send(&self.fd, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
                }
                Way::Asked(bound) => self
                    .ask(PollFlags::OUT)
                    .and_then(|()| rustix::io::write(&self.fd, &data[..data.len().min(bound)])),
            };
            match wrote {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }

    fn ask(&self, what: PollFlags) -> Result<(), Errno> {
        let mut fds = [PollFd::new(&self.fd, what)];
        match poll(
            &mut fds,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        )? {
            0 => Err(Errno::AGAIN),
            _ => Ok(()),
        }
    }
}

impl AsFd for Handed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    fn is_nonblocking(fd: impl AsFd) -> bool {
        rustix::fs::fcntl_getfl(fd)
            .unwrap()
            .contains(OFlags::NONBLOCK)
    }

    #[test]
    fn a_given_pipe_keeps_its_flags_and_never_blocks_us() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let theirs = writer.try_clone().unwrap();
        let ours = Handed::foreign(writer, Direction::Write).unwrap();
        let mut written = 0;
        while let Ok(count) = ours.write(&[0; 65536]) {
            written += count;
        }
        assert!(written >= 65536);
        assert!(!is_nonblocking(&theirs) && !is_nonblocking(&reader));
    }

    #[test]
    fn one_that_must_be_asked_does_not_block_either() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let ours = Handed {
            fd: writer,
            way: Way::Asked(PIPE_BOUND),
        };
        let mut written = 0;
        while let Ok(count) = ours.write(&[0; 65536]) {
            written += count;
        }
        assert!(written >= 65536);
        let theirs = Handed {
            fd: reader,
            way: Way::Asked(PIPE_BOUND),
        };
        let mut buffer = vec![0; 100_000];
        assert_eq!(theirs.read(&mut buffer), Ok(written.min(buffer.len())));
    }
}
