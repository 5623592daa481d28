//! The architectures: their names in the runtime-spec, their `AUDIT_ARCH_…` (linux/audit.h) and their calls.

use crate::table::CALLS;

/// An architecture whose calls stand in the table; the discriminant is its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Arch {
    X86_64 = 0,
    X32 = 1,
    X86 = 2,
    Arm = 3,
    Aarch64 = 4,
    Riscv64 = 5,
}

pub(crate) const X32_BIT: u32 = 0x4000_0000;

const SERVED: [(&str, Arch, u32); 6] = [
    ("SCMP_ARCH_X86_64", Arch::X86_64, 0xc000_003e),
    ("SCMP_ARCH_X32", Arch::X32, 0xc000_003e),
    ("SCMP_ARCH_X86", Arch::X86, 0x4000_0003),
    ("SCMP_ARCH_ARM", Arch::Arm, 0x4000_0028),
    ("SCMP_ARCH_AARCH64", Arch::Aarch64, 0xc000_00b7),
    ("SCMP_ARCH_RISCV64", Arch::Riscv64, 0xc000_00f3),
];

/// Architectures of the specification for which this program is not built: no kernel that runs it can execute their
/// calls, and the filter kills foreign architectures anyway, so naming them changes nothing.
const FOREIGN: [&str; 16] = [
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH",
];

impl Arch {
    /// `None`: not known; `Some(None)`: known, but never executed where this program runs.
    pub(crate) fn parse(name: &str) -> Option<Option<Arch>> {
        if let Some((_, arch, _)) = SERVED.iter().find(|(known, _, _)| *known == name) {
            return Some(Some(*arch));
        }
        FOREIGN.contains(&name).then_some(None)
    }

    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        SERVED.iter().map(|(name, _, _)| *name)
    }

    /// The architecture of this program.
    pub(crate) const fn native() -> Arch {
        if cfg!(target_arch = "x86_64") {
            Arch::X86_64
        } else if cfg!(target_arch = "aarch64") {
            Arch::Aarch64
        } else if cfg!(target_arch = "riscv64") {
            Arch::Riscv64
        } else if cfg!(target_arch = "arm") {
            Arch::Arm
        } else {
            Arch::X86
        }
    }

    /// Whether a kernel on which this program runs can execute its calls.
    pub(crate) fn executed_here(&self) -> bool {
        match self {
            Arch::X86_64 | Arch::X32 | Arch::X86 => {
                matches!(Arch::native(), Arch::X86_64 | Arch::X86)
            }
            Arch::Aarch64 | Arch::Arm => matches!(Arch::native(), Arch::Aarch64 | Arch::Arm),
            Arch::Riscv64 => Arch::native() == Arch::Riscv64,
        }
    }

    pub(crate) fn audit(self) -> u32 {
        SERVED[self as usize].2
    }

    /// Whether arguments are compared by their low 32 bits only: the kernel's handlers read no more of them.
    pub(crate) fn narrow(self) -> bool {
        matches!(self, Arch::X32 | Arch::X86 | Arch::Arm)
    }

    /// The number of a call as the filter sees it.
    pub(crate) fn number(self, call: Call) -> Option<u32> {
        match (self, call.row[self as usize]) {
            (_, u16::MAX) => None,
            (Arch::X32, cell) => Some(u32::from(cell) | X32_BIT),
            (Arch::Arm, cell) if cell & 0xff00 == 0xf000 => Some(0xf_0000 | u32::from(cell & 0xff)),
            (_, cell) => Some(u32::from(cell)),
        }
    }
}

/// A call that some architecture has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    row: &'static [u16; 6],
    /// The way in which old 32-bit x86 programs make it, through socketcall(2) or ipc(2): the multiplexer's number and
    /// the first argument that selects the call (linux/net.h, linux/ipc.h).
    multiplexed: Option<(u32, u64)>,
}

impl Call {
    pub(crate) fn named(name: &str) -> Option<Call> {
        let row = CALLS.binary_search_by_key(&name, |(known, _)| known).ok()?;
        let find = |calls: &[(&str, u64)]| {
            calls
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, which)| *which)
        };
        let multiplexed = find(&SOCKETCALL).map(|which| (102, which));
        let multiplexed = multiplexed.or_else(|| find(&IPC).map(|which| (117, which)));
        Some(Call {
            row: &CALLS[row].1,
            multiplexed,
        })
    }

    pub(crate) fn multiplexed(self, arch: Arch) -> Option<(u32, u64)> {
        self.multiplexed.filter(|_| arch == Arch::X86)
    }
}

const SOCKETCALL: [(&str, u64); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

const IPC: [(&str, u64); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(CALLS.is_sorted_by(|(a, _), (b, _)| a < b));
    }

    fn number(arch: Arch, name: &str) -> Option<u32> {
        Call::named(name).and_then(|call| arch.number(call))
    }

    #[test]
    fn numbers_of_each_architecture() {
        assert_eq!(number(Arch::X86_64, "uprobe"), Some(336));
        assert_eq!(number(Arch::X32, "execve"), Some(X32_BIT | 520));
        assert_eq!(number(Arch::X86, "socketcall"), Some(102));
        assert_eq!(number(Arch::Arm, "set_tls"), Some(0xf_0005));
        assert_eq!(number(Arch::Aarch64, "open"), None);
        assert_eq!(number(Arch::Aarch64, "newfstatat"), Some(79));
        assert_eq!(number(Arch::Riscv64, "file_setattr"), Some(469));
    }
}
