//! `tmpcopyup`: what a directory held before a tmpfs covered it, copied into the tmpfs.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, chmodat, chownat, fchmod, fchown, mkdirat, mknodat,
    openat, readlinkat, statat, symlinkat,
};
use rustix::process::{Gid, Uid};

use crate::beneath;

/// Directories deeper than this are no copy of a root file system's directory.
const DEPTH_LIMIT: usize = 64;

/// Copies what lies at `path` below `root` into the detached mount; nothing there is nothing to copy.
pub(crate) fn copy(root: &OwnedFd, path: &Path, into: &OwnedFd) -> io::Result<()> {
    let from = match beneath::open(root, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let into = openat(
        into,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let stat = rustix::fs::fstat(&from)?;
    fchown(
        &into,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    fchmod(&into, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_directory(&from, &into, 0)
}

fn copy_directory(from: &OwnedFd, into: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth > DEPTH_LIMIT {
        return Err(rustix::io::Errno::LOOP.into());
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        copy_entry(from, into, name, &stat, depth)?;
    }
    Ok(())
}

fn copy_entry(
    from: &OwnedFd,
    into: &OwnedFd,
    name: &std::ffi::CStr,
    stat: &Stat,
    depth: usize,
) -> io::Result<()> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let kind = FileType::from_raw_mode(stat.st_mode);
    match kind {
        FileType::Directory => mkdirat(into, name, mode)?,
        FileType::RegularFile => copy_file(from, into, name, mode)?,
        FileType::Symlink => symlinkat(&readlinkat(from, name, Vec::new())?, into, name)?,
        _ => mknodat(into, name, kind, mode, stat.st_rdev)?,
    }
    chownat(
        into,
        name,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    if kind != FileType::Symlink {
        // chown takes set-id bits away.
        chmodat(into, name, mode, AtFlags::empty())?;
    }
    if kind == FileType::Directory {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        copy_directory(
            &openat(from, name, flags, Mode::empty())?,
            &openat(into, name, flags, Mode::empty())?,
            depth + 1,
        )?;
    }
    Ok(())
}

fn copy_file(from: &OwnedFd, into: &OwnedFd, name: &std::ffi::CStr, mode: Mode) -> io::Result<()> {
    let source = openat(
        from.as_fd(),
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let target = openat(
        into,
        name,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
        mode,
    )?;
    io::copy(&mut File::from(source), &mut File::from(target)).map(drop)
}
