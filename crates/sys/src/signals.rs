//! Signals as something to read (signalfd(2)), for programs with one thread.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A set of signals (sigsetops(3)).
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl SignalSet {
    pub(crate) fn raw(&self) -> &libc::sigset_t {
        &self.0
    }

    pub fn all() -> SignalSet {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the whole set and cannot fail for a valid pointer.
        SignalSet(unsafe {
            libc::sigfillset(set.as_mut_ptr());
            set.assume_init()
        })
    }

    pub fn empty() -> SignalSet {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the whole set and cannot fail for a valid pointer.
        SignalSet(unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            set.assume_init()
        })
    }

    pub fn with(mut self, signal: i32) -> SignalSet {
        // SAFETY: the set is initialised; an invalid number is answered with EINVAL and changes nothing.
        unsafe { libc::sigaddset(&mut self.0, signal) };
        self
    }

    pub fn without(mut self, signal: i32) -> SignalSet {
        // SAFETY: the set is initialised; an invalid number is answered with EINVAL and changes nothing.
        unsafe { libc::sigdelset(&mut self.0, signal) };
        self
    }
}

/// Makes `set` the mask of this thread and returns the former one.
pub fn set_signal_mask(set: &SignalSet) -> io::Result<SignalSet> {
    let mut old = SignalSet::empty();
    // SAFETY: both pointers are valid sigset_t for the duration of the call.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &set.0, &mut old.0) };
    if error != 0 {
        Err(io::Error::from_raw_os_error(error))
    } else {
        Ok(old)
    }
}

/// Sends any signal by its number, 0 and real-time ones too (pidfd_send_signal(2)).
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers and a null siginfo, which the call documents as "like kill(2)".
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// One signal that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    pub signal: i32,
    /// Who sent it, as the reader sees him.
    pub pid: i32,
}

/// A descriptor that is readable while a blocked signal of its set is pending.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Not blocking, closed on exec. The caller blocks the set, else signals are delivered as ever.
    pub fn new(set: &SignalSet) -> io::Result<SignalFd> {
        // SAFETY: the set is a valid sigset_t; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &set.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
        Ok(SignalFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next pending signal, or `None`.
    pub fn read(&self) -> io::Result<Option<Arrived>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is `size` bytes large and writable.
        let read = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if read < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock {
                Ok(None)
            } else {
                Err(error)
            };
        }
        if read as usize != size {
            return Ok(None);
        }
        // SAFETY: the kernel filled the whole structure.
        let info = unsafe { info.assume_init() };
        Ok(Some(Arrived {
            signal: info.ssi_signo as i32,
            pid: info.ssi_pid as i32,
        }))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read() {
        let set = SignalSet::empty().with(libc::SIGWINCH);
        let old = set_signal_mask(&set).unwrap();
        let fd = SignalFd::new(&set).unwrap();
        assert_eq!(fd.read().unwrap(), None);
        // SAFETY: raises a signal that this thread blocks.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGWINCH) };
        assert_eq!(
            fd.read().unwrap().map(|arrived| arrived.signal),
            Some(libc::SIGWINCH)
        );
        set_signal_mask(&old).unwrap();
    }
}
