//! What a filter answers for a call (`SECCOMP_RET_…`, linux/seccomp.h).

use crate::Error;

const KILL_THREAD: u32 = 0;
const ERRNO: u32 = 0x0005_0000;
const TRACE: u32 = 0x7ff0_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Names of the specification and the value without data.
pub(crate) const ACTIONS: [(&str, u32); 9] = [
    ("SCMP_ACT_ALLOW", ALLOW),
    ("SCMP_ACT_ERRNO", ERRNO),
    ("SCMP_ACT_KILL", KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", 0x8000_0000),
    ("SCMP_ACT_KILL_THREAD", KILL_THREAD),
    ("SCMP_ACT_LOG", LOG),
    ("SCMP_ACT_NOTIFY", USER_NOTIF),
    ("SCMP_ACT_TRACE", TRACE),
    ("SCMP_ACT_TRAP", 0x0003_0000),
];

/// A return value with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action(pub u32);

impl Action {
    pub(crate) const BAD_ARCH: Action = Action(KILL_THREAD);
    pub(crate) const NO_SUCH_CALL: Action = Action(ERRNO | ENOSYS);

    /// `errno` is errnoRet, which only ERRNO and TRACE take (config-linux.md, "Seccomp"); both use EPERM without it.
    pub(crate) fn parse(name: &str, errno: Option<u32>) -> Result<Action, Error> {
        let known = ACTIONS.iter().find(|(known, _)| *known == name);
        let (_, value) = known.ok_or_else(|| Error::Unknown {
            what: "action",
            value: name.to_owned(),
        })?;
        match (*value, errno) {
            (ERRNO | TRACE, Some(errno)) if errno > 0xffff => Err(Error::ErrnoRange(errno)),
            (ERRNO | TRACE, errno) => Ok(Action(value | errno.unwrap_or(EPERM))),
            (_, Some(_)) => Err(Error::ErrnoNotTaken(name.to_owned())),
            (value, None) => Ok(Action(value)),
        }
    }

    pub(crate) fn notifies(self) -> bool {
        self.0 == USER_NOTIF
    }

    /// Whether a call that nobody thought of goes through (a tracer is expected to deal with it).
    pub(crate) fn permissive(self) -> bool {
        matches!(self.0 & 0xffff_0000, ALLOW | LOG | TRACE)
    }

    /// The kernel's own order: of several filters' answers the smallest, read as a signed number, wins.
    pub(crate) fn stricter_than(self, other: Action) -> bool {
        ((self.0 & 0xffff_0000) as i32) < ((other.0 & 0xffff_0000) as i32)
    }
}
