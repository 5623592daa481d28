//! The properties that the native wall does not serve: each is refused by name when it carries a value.

use crate::Spec;

/// Says which property of `spec` nobody here serves, by its path in the document; `None` when all are served.
pub fn unserved(spec: &Spec) -> Option<&'static str> {
    let process = spec.process.as_ref();
    let linux = spec.linux.as_ref();
    let resources = linux.and_then(|linux| linux.resources.as_ref());
    let table = [
        ("windows", spec.windows.is_some()),
        ("solaris", spec.solaris.is_some()),
        ("zos", spec.zos.is_some()),
        ("freebsd", spec.freebsd.is_some()),
        ("vm", spec.vm.is_some()),
        (
            "process.commandLine",
            process.is_some_and(|process| process.command_line.is_some()),
        ),
        (
            "process.user.username",
            process.is_some_and(|process| process.user.username.is_some()),
        ),
        (
            "linux.intelRdt",
            linux.is_some_and(|linux| linux.intel_rdt.is_some()),
        ),
        (
            "linux.memoryPolicy",
            linux.is_some_and(|linux| linux.memory_policy.is_some()),
        ),
        (
            "linux.netDevices",
            linux.is_some_and(|linux| linux.net_devices.is_some()),
        ),
        (
            "linux.resources.rdma",
            resources.is_some_and(|resources| !resources.rdma.is_empty()),
        ),
    ];
    table
        .into_iter()
        .find_map(|(name, set)| set.then_some(name))
}
