//! What /proc/PID/cmdline and environ show of a process that goes on as something else without exec.

use std::io;
use std::ops::Range;

/// Where the kernel reads this process's arguments and environment from: strings at the top of its stack.
#[derive(Debug, Clone)]
pub struct Words {
    arguments: Range<usize>,
    environment: Range<usize>,
}

impl Words {
    /// Those of the caller; they are at the same place in its forks.
    pub fn find() -> io::Result<Words> {
        let stat = std::fs::read("/proc/self/stat")?;
        Words::parse(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Fields 48 to 51 (proc_pid_stat(5)); the second may hold spaces and parentheses.
    fn parse(stat: &[u8]) -> Option<Words> {
        let behind = stat.iter().rposition(|&byte| byte == b')')? + 1;
        let mut fields = std::str::from_utf8(&stat[behind..])
            .ok()?
            .split_ascii_whitespace()
            .skip(45);
        let mut next = || fields.next()?.parse::<usize>().ok().filter(|&at| at != 0);
        let (arguments, environment) = (next()?..next()?, next()?..next()?);
        let ordered = arguments.start < arguments.end && environment.start <= environment.end;
        ordered.then_some(Words {
            arguments,
            environment,
        })
    }

    /// Puts `text` in place of the arguments, cut to their length, and nothing in place of the environment. For a process with
    /// one thread that has no use for either any more.
    pub fn replace(&self, text: &str) {
        let length = self.arguments.len();
        let kept = text.len().min(length.saturating_sub(2));
        // SAFETY: both ranges are the calling process's own argument and environment strings, which live on its stack from
        // exec to exit and which only one thread can look at. What safe code reads through argv and environ afterwards are
        // strings still: those of the environment are empty, and the arguments end at a zero there or before.
        unsafe {
            let arguments = std::slice::from_raw_parts_mut(self.arguments.start as *mut u8, length);
            let environment = std::slice::from_raw_parts_mut(
                self.environment.start as *mut u8,
                self.environment.len(),
            );
            environment.fill(0);
            arguments.fill(0);
            arguments[..kept].copy_from_slice(&text.as_bytes()[..kept]);
            // Without a zero at their end the kernel shows them up to the first one only.
            if let [.., last] = arguments {
                *last = b' ';
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_behind_a_hostile_name() {
        let numbers: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("1 (a) b) {}\n", numbers.join(" "));
        let words = Words::parse(stat.as_bytes()).unwrap();
        assert_eq!((words.arguments, words.environment), (48..49, 50..51));
        for noise in ["", "1 (a", "1 (a) 2 3", &stat.replace(" 48 ", " 0 ")] {
            assert!(Words::parse(noise.as_bytes()).is_none(), "{noise}");
        }
    }

    #[test]
    fn a_fork_shows_other_words() {
        let words = Words::find().unwrap();
        // Another thread of the test program may hold a lock: the child calls nothing that takes one.
        let crate::Fork::Parent { pid, pidfd } = crate::fork(0, None).unwrap() else {
            // It ends with the test, however that ends.
            let _ = crate::set_parent_death_signal(libc::SIGKILL);
            words.replace("another name");
            loop {
                let _ = rustix::thread::nanosleep(&rustix::thread::Timespec {
                    tv_sec: 60,
                    tv_nsec: 0,
                });
            }
        };
        let shown = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while shown("cmdline") != b"another name\0" {
            assert!(
                std::time::Instant::now() < deadline,
                "{:?}",
                shown("cmdline")
            );
            std::thread::yield_now();
        }
        let environment = shown("environ");
        rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
        let _ = rustix::process::waitpid(
            rustix::process::Pid::from_raw(pid),
            rustix::process::WaitOptions::empty(),
        );
        assert!(environment.iter().all(|&byte| byte == 0));
    }
}
