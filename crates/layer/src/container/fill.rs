//! What an image has at a place, copied into a volume that is mounted there for the first time.
//!
//! The copy is made beside the volume and whole on disk before the first name of it is moved in, so a cut leaves either
//! nothing in the volume, or a whole copy beside it, from which the next call goes on. The names are moved one by one,
//! not the directory: who has the volume mounted keeps it.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};
use rustix::io::Errno;

use super::{Asked, Error, Result};
use crate::disk::{self, Context, Listing};
use crate::ids::Map;
use crate::{remove, shifted};

#[derive(Debug, Default, serde::Serialize)]
pub struct Filled {
    filled: bool,
}

/// Gives the empty directory `into` the owner, mode and content of the directory at `asked`; a directory that is not empty
/// stays as it is, and so does every one when there is no directory at `asked`.
pub fn fill(root: impl AsFd, asked: &Asked, into: &Path) -> Result<Filled> {
    let whole = beside(into, ".new");
    let volume = disk::root(into)?;
    if disk::look(CWD, whole.as_os_str().as_bytes())
        .on("look at", whole.as_os_str().as_bytes())?
        .is_none()
    {
        let first = Listing::new(disk::directory(&volume, b"").on("open", b".")?).take();
        if first.on("list", into.as_os_str().as_bytes())?.is_some() {
            return Ok(Filled::default());
        }
        match asked.open_directory(root) {
            Ok(source) => copy(&source, into, &whole)?,
            Err(Error::NotFound(_) | Error::NotDirectory(_)) => return Ok(Filled::default()),
            Err(error) => return Err(error),
        }
    }
    bring(&whole, &volume)?;
    Ok(Filled { filled: true })
}

fn copy(source: &OwnedFd, into: &Path, whole: &Path) -> Result<()> {
    let growing = beside(into, ".growing");
    remove::remove(&growing)?;
    let same = Map::default();
    shifted::copy(source, &growing, (&same, &same))?;
    let name = whole.as_os_str().as_bytes();
    let copied = disk::root(&growing)?;
    rustix::fs::syncfs(&copied).on("write out", name)?;
    rustix::fs::rename(&growing, whole).on("rename", name)?;
    Ok(())
}

/// Moves everything of `whole` into the volume, and takes `whole` away. Idempotent.
fn bring(whole: &Path, volume: &OwnedFd) -> Result<()> {
    let name = whole.as_os_str().as_bytes();
    let from = disk::root(whole)?;
    let found = disk::look_at(&from).on("look at", name)?;
    let mut names = Listing::new(disk::directory(&from, b"").on("open", name)?);
    while let Some(one) = names.take().on("list", name)? {
        match rustix::fs::renameat(&from, &one.bytes[..], volume, &one.bytes[..]) {
            // Somebody made it in the meantime, in a container that has the volume: theirs stays.
            Ok(()) | Err(Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno).on("move", &one.bytes).map_err(Error::from),
        }
    }
    let owner = (
        Some(Uid::from_raw(found.stx_uid)),
        Some(Gid::from_raw(found.stx_gid)),
    );
    rustix::fs::fchown(volume, owner.0, owner.1).on("set owner of", b".")?;
    let mode = Mode::from_raw_mode(disk::mode(&found));
    rustix::fs::fchmod(volume, mode).on("set mode of", b".")?;
    rustix::fs::utimensat(volume, "", &disk::times_of(&found), AtFlags::EMPTY_PATH)
        .on("date", b".")?;
    Ok(remove::remove(whole)?)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}
