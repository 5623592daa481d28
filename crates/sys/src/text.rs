//! Giving back the memory of code that is not being run.

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

#[cfg(test)]
mod tests {
    #[test]
    fn code_runs_on() {
        super::forget_code().unwrap();
        assert_eq!("still here".len(), 10);
    }
}
