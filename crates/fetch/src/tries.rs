//! Whether to try again, and when. Pure: errors in, waiting times out.

use std::time::Duration;

use crate::error::Error;

/// In a row, without anything to show for it.
const IN_A_ROW: u32 = 5;
/// In a row, of a server that nothing came from.
const UNANSWERED: u32 = 2;
/// In all, so that a server that gives a little and cuts has an end.
const IN_ALL: u32 = 60;
/// So much must have come for a failure to be the first of its row again.
const PROGRESS: u64 = 1 << 20;
/// A server that asks for more patience is given up.
const PATIENCE: u64 = 60;
const BUSY: u32 = 8;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The failures of one source so far.
#[derive(Debug)]
pub struct Tries {
    in_a_row: u32,
    in_all: u32,
    busy: u32,
    /// Bytes since the last failure that began a row.
    came: u64,
    answered: bool,
    /// Nobody else can be asked.
    last_source: bool,
}

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Wait(Duration),
    GiveUp,
}

impl Tries {
    pub fn new(last_source: bool) -> Tries {
        Tries {
            in_a_row: 0,
            in_all: 0,
            busy: 0,
            came: 0,
            answered: false,
            last_source,
        }
    }

    /// Takes note of bytes.
    pub fn came(&mut self, bytes: u64) {
        self.came += bytes;
        self.answered = true;
    }

    /// Takes note of a failure.
    pub fn next(&mut self, error: &Error) -> Next {
        self.in_all += 1;
        if self.came >= PROGRESS {
            self.came = 0;
            self.in_a_row = 0;
        }
        self.in_a_row += 1;
        if self.in_all > IN_ALL {
            return Next::GiveUp;
        }
        match error {
            Error::Status {
                status: 429 | 503,
                wait,
                ..
            } => self.busy(*wait),
            Error::Status {
                status: 408 | 500 | 502 | 504,
                ..
            }
            | Error::Cut { .. }
            | Error::Stalled { .. }
            | Error::Protocol { .. } => self.backoff(IN_A_ROW),
            Error::Connect { .. } if self.answered => self.backoff(IN_A_ROW),
            // Who never answered is not waited for while somebody else may, and not for long.
            Error::Connect { .. } if self.last_source => self.backoff(UNANSWERED),
            _ => Next::GiveUp,
        }
    }

    fn backoff(&self, most: u32) -> Next {
        if self.in_a_row > most {
            return Next::GiveUp;
        }
        Next::Wait(FIRST_WAIT * 2u32.pow(self.in_a_row - 1))
    }

    fn busy(&mut self, wait: Option<u64>) -> Next {
        self.busy += 1;
        let seconds = wait.unwrap_or(1 << self.busy.min(5));
        if self.busy > BUSY || seconds > PATIENCE {
            return Next::GiveUp;
        }
        Next::Wait(Duration::from_secs(seconds.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stalled() -> Error {
        Error::Stalled { url: String::new() }
    }

    fn status(status: u16, wait: Option<u64>) -> Error {
        Error::Status {
            url: String::new(),
            status,
            detail: String::new(),
            wait,
        }
    }

    #[test]
    fn a_row_without_progress_ends() {
        let mut tries = Tries::new(true);
        let waits: Vec<Next> = (0..6).map(|_| tries.next(&stalled())).collect();
        let wait = |millis| Next::Wait(Duration::from_millis(millis));
        assert_eq!(
            waits,
            [
                wait(200),
                wait(400),
                wait(800),
                wait(1600),
                wait(3200),
                Next::GiveUp
            ]
        );
    }

    #[test]
    fn progress_begins_a_new_row_but_not_for_ever() {
        let mut tries = Tries::new(true);
        let tried = (0..)
            .take_while(|_| {
                tries.came(PROGRESS);
                tries.next(&stalled()) != Next::GiveUp
            })
            .count();
        assert_eq!(tried, IN_ALL as usize);
    }

    #[test]
    fn a_busy_server_is_waited_for_as_it_asks() {
        let after = |error: &Error| Tries::new(true).next(error);
        let wait = |seconds| Next::Wait(Duration::from_secs(seconds));
        assert_eq!(after(&status(429, Some(60))), wait(60));
        assert_eq!(after(&status(503, Some(0))), wait(1));
        assert_eq!(after(&status(429, None)), wait(2));
        assert_eq!(after(&status(429, Some(61))), Next::GiveUp);
        assert_eq!(after(&status(404, Some(1))), Next::GiveUp);
        let mut tries = Tries::new(true);
        let waits = (0..)
            .take_while(|_| tries.next(&status(429, Some(1))) != Next::GiveUp)
            .count();
        assert_eq!(waits, BUSY as usize);
    }

    #[test]
    fn who_never_answered_is_left_for_the_next() {
        let error = Error::Connect {
            url: String::new(),
            source: ureq::Error::HostNotFound,
        };
        assert_eq!(Tries::new(false).next(&error), Next::GiveUp);
        let mut last = Tries::new(true);
        let waits = (0..).take_while(|_| last.next(&error) != Next::GiveUp);
        assert_eq!(waits.count(), UNANSWERED as usize);
        let mut answered = Tries::new(false);
        answered.came(1);
        assert_ne!(answered.next(&error), Next::GiveUp);
    }
}
