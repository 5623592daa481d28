//! Capability sets (capabilities(7)): names to bits, and the order in which the sets are put on.

use sys::CapabilitySets;

use crate::Stage;
use crate::fault::{At, Outcome};

/// By number, as `linux/capability.h` counts.
pub(crate) const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The names of what this process, and whatever it starts, may ever have.
pub fn attainable() -> std::io::Result<Vec<&'static str>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let mask = mask.ok_or_else(|| std::io::Error::other("/proc/self/status has no CapBnd"))?;
    let has = |number: &usize| mask & (1 << number) != 0;
    Ok((0..NAMES.len())
        .filter(has)
        .map(|number| NAMES[number])
        .collect())
}

pub(crate) const SYS_ADMIN: u64 = 1 << 21;

/// What the program gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
}

impl Plan {
    /// Reads the configuration's names. Unknown ones are skipped and said, as the specification allows ("any value which
    /// cannot be mapped to a relevant kernel interface … MUST be logged as a warning").
    pub fn new(spec: Option<&spec::Capabilities>, warnings: &mut Vec<String>) -> Plan {
        let Some(spec) = spec else {
            return Plan::default();
        };
        let mut unknown = Vec::new();
        let mut mask = |names: &[String]| {
            names.iter().fold(0, |mask, name| {
                match NAMES.iter().position(|known| known == name) {
                    Some(number) => mask | 1 << number,
                    None => {
                        if !unknown.contains(name) {
                            unknown.push(name.clone());
                        }
                        mask
                    }
                }
            })
        };
        let plan = Plan {
            bounding: mask(&spec.bounding),
            effective: mask(&spec.effective),
            permitted: mask(&spec.permitted),
            inheritable: mask(&spec.inheritable),
            ambient: mask(&spec.ambient),
        };
        if !unknown.is_empty() {
            warnings.push(format!(
                "unknown capabilities were ignored: {}",
                unknown.join(", ")
            ));
        }
        plan
    }

    /// Takes from the bounding set all that is not in the plan; needs CAP_SETPCAP, hence before [`Plan::apply`].
    pub fn bound(&self) -> Outcome<()> {
        for number in numbers(!self.bounding) {
            match sys::drop_from_bounding_set(number) {
                // The kernel's last capability was passed.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
                answer => answer.at(
                    Stage::SetCapabilities,
                    format_args!("bounding, {}", name(number)),
                )?,
            }
        }
        Ok(())
    }

    /// Puts the sets on, after the user was changed, and says what this kernel or the caller does not have to give.
    ///
    /// `keep` stays permitted and effective until exec takes it away: what exec computes for the program follows from the
    /// inheritable, bounding and ambient sets alone.
    pub fn apply(&self, keep: u64) -> Outcome<Option<String>> {
        let available = rustix::thread::capabilities(None)
            .at(Stage::SetCapabilities, "")?
            .permitted
            .bits();
        let sets = CapabilitySets {
            effective: (self.effective | keep) & available,
            permitted: (self.permitted | self.effective | keep) & available,
            inheritable: self.inheritable & available,
        };
        sys::set_capabilities(sets).at(
            Stage::SetCapabilities,
            format_args!("{:#x}", sets.permitted),
        )?;
        sys::clear_ambient().at(Stage::SetCapabilities, "ambient")?;
        // What is not permitted and inheritable cannot be ambient (capabilities(7)).
        let ambient = self.ambient & sets.permitted & sets.inheritable;
        for number in numbers(ambient) {
            sys::raise_ambient(number).at(
                Stage::SetCapabilities,
                format_args!("ambient, {}", name(number)),
            )?;
        }
        let lacking = (self.effective | self.permitted | self.inheritable) & !available
            | self.ambient & !ambient;
        let names: Vec<_> = numbers(lacking).map(name).collect();
        Ok((lacking != 0).then(|| {
            format!(
                "capabilities that are not to be had were left out: {}",
                names.join(", ")
            )
        }))
    }
}

fn numbers(mask: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |number| mask >> number & 1 == 1)
}

fn name(number: u32) -> String {
    NAMES
        .get(number as usize)
        .map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_said_once() {
        let names = |list: &[&str]| {
            list.iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let spec = spec::Capabilities {
            bounding: names(&["CAP_CHOWN", "CAP_X"]),
            effective: names(&["CAP_X"]),
            ..spec::Capabilities::default()
        };
        let mut warnings = Vec::new();
        assert_eq!(
            Plan::new(Some(&spec), &mut warnings),
            Plan {
                bounding: 1,
                ..Plan::default()
            }
        );
        assert_eq!(warnings, ["unknown capabilities were ignored: CAP_X"]);
    }
}
