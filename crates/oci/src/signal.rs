//! Signals by name and number, as `kill` takes them.

use crate::error::Error;

pub const KILL: i32 = 9;
pub const TERM: i32 = 15;

/// Linux's numbers on every architecture that is built for (signal(7), "x86/ARM").
const NAMES: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Reads `9`, `KILL`, `sigkill`, `RTMIN+3`. Whether the kernel knows a number is for the kernel to say.
pub fn parse(text: &str) -> Result<i32, Error> {
    let unknown = || Error::Signal(text.into());
    if let Ok(number) = text.parse::<u16>() {
        return Ok(number.into());
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    match name {
        "" => return Err(unknown()),
        "IOT" => return Ok(6),
        "POLL" => return Ok(29),
        "CLD" => return Ok(17),
        _ => {}
    }
    if let Some(number) = NAMES.iter().position(|known| *known == name) {
        return Ok(number as i32);
    }
    let offset = |rest: &str| {
        if rest.is_empty() {
            Some(0)
        } else {
            rest.parse::<i32>().ok()
        }
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => offset(rest).map(|offset| RTMIN + offset),
        (_, Some(rest)) => offset(rest).map(|offset| RTMAX + offset),
        _ => None,
    };
    number
        .filter(|number| (RTMIN..=RTMAX).contains(number))
        .ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("0", 0),
            ("99", 99),
            ("KILL", 9),
            ("SIGTERM", 15),
            ("sighup", 1),
            ("SYS", 31),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("IOT", 6),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in [
            "", "SIG", "BOGUS", "-1", "RTMIN+40", "RTMAX+1", "9x", "99999999",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
