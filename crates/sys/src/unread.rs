//! How much of what was sent lies still unread.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// What the other end of a stream socket has not read yet, in bytes (unix(7), SIOCOUTQ; TCP: not acknowledged yet).
pub fn unread(socket: impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the kernel writes one int to where `bytes` lies.
    let status =
        unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ as _, &mut bytes) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn until_it_is_read() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        assert_eq!(super::unread(&one).unwrap(), 0);
        one.write_all(b"words").unwrap();
        assert!(super::unread(&one).unwrap() > 0);
        other.read_exact(&mut [0; 5]).unwrap();
        assert_eq!(super::unread(&one).unwrap(), 0);
    }
}
