//! The flags of seccomp(2), and what this compiler and this kernel know together.

use crate::Error;
use crate::action::ACTIONS;
use crate::arch::Arch;

const TSYNC: u32 = 1 << 0;
const NEW_LISTENER: u32 = sys::FLAG_NEW_LISTENER;
const TSYNC_ESRCH: u32 = 1 << 4;
const WAIT_KILLABLE_RECV: u32 = 1 << 5;

const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", TSYNC),
    ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 1 << 2),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", WAIT_KILLABLE_RECV),
];

const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// The bits for the flags' names. The kernel takes WAIT_KILLABLE_RECV only with a listener, and TSYNC beside one only
/// when told to answer a failure by ESRCH.
pub(crate) fn flags(names: &[String], notify: bool) -> Result<u32, Error> {
    let mut bits = if notify { NEW_LISTENER } else { 0 };
    for name in names {
        let known = FLAGS.iter().find(|(known, _)| known == name);
        let (_, bit) = known.ok_or_else(|| Error::Unknown {
            what: "flag",
            value: name.clone(),
        })?;
        bits |= bit;
    }
    if !notify {
        bits &= !WAIT_KILLABLE_RECV;
    } else if bits & TSYNC != 0 {
        bits |= TSYNC_ESRCH;
    }
    Ok(bits)
}

/// The `linux.seccomp` object of `features`.
pub fn features() -> spec::SeccompFeatures {
    let own = |names: &mut dyn Iterator<Item = &'static str>| {
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let supported = |bit: u32| match bit {
        WAIT_KILLABLE_RECV => sys::seccomp_flag_known(bit | NEW_LISTENER),
        bit => sys::seccomp_flag_known(bit),
    };
    spec::SeccompFeatures {
        enabled: sys::seccomp_action_known(0),
        actions: own(&mut ACTIONS
            .iter()
            .filter(|(_, value)| sys::seccomp_action_known(*value))
            .map(|(name, _)| *name)),
        operators: own(&mut OPERATORS.into_iter()),
        archs: own(&mut Arch::names()),
        known_flags: own(&mut FLAGS.iter().map(|(name, _)| *name)),
        supported_flags: own(&mut FLAGS
            .iter()
            .filter(|(_, bit)| supported(*bit))
            .map(|(name, _)| *name)),
    }
}
