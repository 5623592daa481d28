//! What this wall says of itself.

use spec::{CgroupFeatures, Enabled, Features, LinuxFeatures, MountExtensions, OCI_VERSION};

use crate::{capabilities, identity, options};

/// What this wall can do (features.md); a constant of the build but for AppArmor, which is the kernel's.
pub fn features() -> Features {
    let list = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let yes = Enabled { enabled: true };
    Features {
        oci_version_min: "1.0.0".into(),
        oci_version_max: OCI_VERSION.into(),
        hooks: list(&[
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ]),
        mount_options: options::names().map(str::to_owned).collect(),
        linux: LinuxFeatures {
            namespaces: list(&[
                "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
            ]),
            capabilities: list(&capabilities::NAMES),
            cgroup: CgroupFeatures {
                v1: true,
                v2: true,
                ..CgroupFeatures::default()
            },
            seccomp: seccomp::features(),
            apparmor: Enabled {
                enabled: identity::apparmor_enabled(),
            },
            mount_extensions: MountExtensions { idmap: yes },
            ..LinuxFeatures::default()
        },
        annotations: [(
            "dev.stockade.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        )]
        .into(),
        potentially_unsafe_config_annotations: Vec::new(),
    }
}
