//! The running program out of reach of the containers that it enters (CVE-2019-5736).
//!
//! A process in a container may open /proc/PID/exe of ours and write through it once we are gone. Executed from a read-only
//! mount, that path is read-only too, and the mount is in no namespace: no one can change its attributes.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{
    Access, AtFlags, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, accessat,
    fcntl_add_seals, memfd_create, openat,
};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::fault::{At, Fault, Outcome};
use crate::{Error, Stage};

const SELF: &str = "/proc/self/exe";

/// Executes the running program anew from a mount that nobody can write through, unless it already is: the first thing in a
/// program that enters containers. Arguments, environment and descriptors are kept.
pub fn seal() -> Result<(), Error> {
    sealed().map_err(Fault::on_host)
}

/// The running program as it may enter containers, for a process that is to be started anyway: executed from this descriptor it
/// finds itself sealed, and one exec(2) is saved. Nothing when it is sealed already or need not be.
///
/// A caller that may not mount gets a sealed copy in memory instead, and only where the container's user — the caller
/// itself, in a map of one id — could write to the program.
pub fn sealed_program() -> Result<Option<OwnedFd>, Error> {
    safe().map_err(Fault::on_host)
}

fn safe() -> Outcome<Option<OwnedFd>> {
    let program = openat(
        rustix::fs::CWD,
        SELF,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Stage::Prepare, SELF)?;
    if is_sealed(&program).at(Stage::Prepare, SELF)? {
        return Ok(None);
    }
    match read_only(&program) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            if !writable(&program).at(Stage::Prepare, SELF)? {
                return Ok(None);
            }
            copy(program).at(Stage::Prepare, "a sealed copy of the program")
        }
        opened => opened.at(Stage::Prepare, "a read-only mount of the program"),
    }
    .map(Some)
}

fn sealed() -> Outcome<()> {
    let Some(safe) = safe()? else {
        return Ok(());
    };
    let strings = |list: Vec<std::ffi::OsString>| {
        let strings = list
            .into_iter()
            .map(|text| CString::new(text.into_vec()))
            .collect::<Result<Vec<_>, _>>();
        strings
            .map(sys::StringVector::new)
            .map_err(io::Error::from)
            .at(Stage::Prepare, "arguments")
    };
    let args = strings(std::env::args_os().collect())?;
    let env = strings(
        std::env::vars_os()
            .map(|(name, value)| [name, value].join("=".as_ref()))
            .collect(),
    )?;
    Err(sys::exec_descriptor(safe.as_fd(), &args, &env)).at(Stage::Prepare, SELF)
}

/// On a read-only mount, or a copy that nothing can be written to.
fn is_sealed(program: &OwnedFd) -> io::Result<bool> {
    if rustix::fs::fstatvfs(program)?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY)
    {
        return Ok(true);
    }
    Ok(rustix::fs::fcntl_get_seals(program).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

/// The program by a detached read-only mount, which exec closes: then it belongs to no namespace, not even a nameless one.
fn read_only(program: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(program, "", flags)?;
    sys::set_mount_attributes(mount.as_fd(), false, sys::MOUNT_ATTR_RDONLY, 0)?;
    Ok(mount)
}

/// Whether the caller's user could write to the program: as its owner he could allow himself to.
fn writable(program: &OwnedFd) -> io::Result<bool> {
    let owns = rustix::fs::fstat(program)?.st_uid == rustix::process::geteuid().as_raw();
    Ok(owns || accessat(rustix::fs::CWD, SELF, Access::WRITE_OK, AtFlags::EACCESS).is_ok())
}

fn copy(program: OwnedFd) -> io::Result<OwnedFd> {
    let memory = memfd_create("stockade", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(memory);
    io::copy(&mut std::fs::File::from(program), &mut file)?;
    let memory = OwnedFd::from(file);
    fcntl_add_seals(
        &memory,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(memory)
}
