//! The native wall: namespaces, mounts and credentials around one process, by the OCI runtime specification 1.3.
//!
//! [`create`] makes a container's init by one clone3(2) of the (single-threaded) caller; [`exec`] puts another process
//! beside it. Both are direct children of the caller. This crate knows no bundle on disk, no state file and no shim: it
//! takes values and gives back a process. The cgroup is made and removed by whoever owns the container; here it is only
//! entered. Whatever lies inside the container's root is hostile: it is opened beneath that root or not at all.
//!
//! The caller and the child hold one socket: what happened to the child travels over it as (stage, subject, reason), and its
//! end tells each side of the other's death.

mod api;
mod beneath;
mod birth;
mod capabilities;
mod cgroupfs;
mod copy_up;
mod default;
mod devices;
mod error;
mod exec;
mod fault;
mod features;
mod gate;
mod hooks;
mod identity;
mod idmap;
mod init;
mod last;
mod launch;
mod masks;
mod mounts;
mod namespaces;
mod options;
mod plan;
mod process;
mod reaper;
mod rootfs;
mod schedule;
mod seal;
mod standing;
mod sysctl;
mod terminal;
mod wire;

pub use api::*;
pub use capabilities::attainable;
pub use default::default_spec;
pub use error::{Error, Stage};
pub use exec::exec;
pub use features::features;
pub use gate::open_gate;
pub use hooks::run_hooks;
pub use launch::{Container, create};
pub use seal::{seal, sealed_program};
pub use standing::{mount_mapped, mount_rootfs};
