//! Giving back the memory of code that is not being run, and of calls that have returned.

use std::io;

unsafe extern "C" {
    /// The linker's names for where the program begins and where its code ends.
    static __executable_start: u8;
    static etext: u8;
}

/// Unmaps the pages of the program's code; each comes back from the page cache, where all processes share it, when it is
/// run again. For a program that idles for hours after a busy start.
pub fn forget_code() -> io::Result<()> {
    let page = rustix::param::page_size();
    let begin = (&raw const __executable_start as usize).next_multiple_of(page);
    let end = &raw const etext as usize & !(page - 1);
    if end <= begin {
        return Ok(());
    }
    // SAFETY: the range holds the program's headers and code only, which are mapped privately from its file and never
    // written, so that the kernel reads the same bytes again; this very code comes back by a page fault.
    let result =
        unsafe { libc::madvise(begin as *mut libc::c_void, end - begin, libc::MADV_DONTNEED) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Gives back the stack below the caller's frame: what earlier, deeper calls left there. Of the main thread's stack only, below
/// which nothing else lies for far longer than this looks (the kernel's guard gap is a mebibyte).
#[inline(never)]
pub fn forget_stack() -> io::Result<()> {
    const DEEPEST: usize = 256 << 10;
    let page = rustix::param::page_size();
    let here = 0u8;
    // A page for the frames of this function and of what it calls.
    let end = (&raw const here as usize & !(page - 1)) - page;
    // SAFETY: the range lies below every live frame: what is there belongs to calls that have returned. Parts of it that the
    // stack never reached are not mapped, which is told as ENOMEM once the others are done.
    let result = unsafe {
        libc::madvise(
            (end - DEEPEST) as *mut libc::c_void,
            DEEPEST,
            libc::MADV_DONTNEED,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()).or_else(|error| match error.raw_os_error() {
            Some(libc::ENOMEM) => Ok(()),
            _ => Err(error),
        }),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn code_runs_on() {
        super::forget_code().unwrap();
        assert_eq!("still here".len(), 10);
    }
}
