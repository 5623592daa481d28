//! Waiting for blocked signals without a descriptor.

use std::io;
use std::mem::MaybeUninit;

use crate::SignalSet;

/// Waits for one of the blocked signals in `set`; its number.
pub fn wait_for_signal(set: &SignalSet) -> io::Result<i32> {
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    // SAFETY: the set is initialised and the kernel writes one siginfo to the other pointer.
    let signal = unsafe { libc::sigwaitinfo(set.raw(), info.as_mut_ptr()) };
    if signal < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(signal)
    }
}
