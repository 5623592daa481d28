//! The kernel's settings of a network namespace, below /proc/sys/net: of the one that the caller is in.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::request::Sysctl;
use crate::value::LinkName;

const V4: &str = "/proc/sys/net/ipv4";
const V6: &str = "/proc/sys/net/ipv6";

/// Sets what is not so already: writing, even the same, may make the kernel walk over all devices.
fn set(path: &str, value: &str) -> io::Result<()> {
    if std::fs::read_to_string(path)?.trim_end() == value {
        return Ok(());
    }
    std::fs::write(path, value)
}

fn named(path: &str, done: io::Result<()>) -> Result<()> {
    done.map_err(|source| Error::Setting {
        path: path.into(),
        source,
    })
}

/// A setting of one device for IPv4.
pub fn device4(name: &LinkName, setting: &str, value: &str) -> Result<()> {
    let path = format!("{V4}/conf/{name}/{setting}");
    named(&path, set(&path, value))
}

/// A setting of one device for IPv6. A kernel without IPv6 has none, and needs none where IPv6 is not asked for.
pub fn device6(name: &LinkName, setting: &str, value: &str, needed: bool) -> Result<()> {
    let path = format!("{V6}/conf/{name}/{setting}");
    match set(&path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !needed => Ok(()),
        done => named(&path, done),
    }
}

/// Whatever setting of one device somebody asks for.
pub fn device(name: &LinkName, wanted: &Sysctl) -> Result<()> {
    let Sysctl { family, group, .. } = wanted;
    let path = format!("/proc/sys/net/{family}/{group}/{name}/{}", wanted.name);
    named(&path, set(&path, &wanted.value))
}

/// Lets the host pass IPv4 packets on.
pub fn forward4() -> Result<()> {
    let path = format!("{V4}/ip_forward");
    named(&path, set(&path, "1"))
}

/// Lets the host pass IPv6 packets on. A host that does so believes no router's announcements any more, but where it is told
/// to (`accept_ra` 2): one that has its own address by them would lose it.
pub fn forward6() -> Result<()> {
    let path = format!("{V6}/conf/all/forwarding");
    let now = std::fs::read_to_string(&path);
    if matches!(&now, Ok(value) if value.trim_end() == "1") {
        return Ok(());
    }
    named(&path, now.map(drop))?;
    named(V6, keep_announcements(Path::new(&format!("{V6}/conf"))))?;
    named(&path, std::fs::write(&path, "1"))
}

fn keep_announcements(devices: &Path) -> io::Result<()> {
    for device in std::fs::read_dir(devices)? {
        let device = device?;
        let name = device.file_name();
        if name == "all" || name == "default" {
            continue;
        }
        let path = device.path().join("accept_ra");
        match std::fs::read_to_string(&path) {
            Ok(value) if value.trim_end() == "1" => std::fs::write(&path, "2")?,
            Ok(_) => {}
            // The device went meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
