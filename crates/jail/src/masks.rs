//! Masked and read-only paths.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags, fstat};
use spec::Linux;

use crate::fault::{At, Outcome};
use crate::mounts::{clone_of, make, put};
use crate::options::{Attributes, MountOptions};
use crate::{Stage, beneath, devices};

/// Covers and locks what the configuration names; a path that is not there needs neither.
pub(crate) fn apply(root: &OwnedFd, linux: &Linux) -> Outcome<()> {
    for path in &linux.readonly_paths {
        lock(root, path).at(
            Stage::MaskPath,
            format_args!("{} (read-only)", path.display()),
        )?;
    }
    let mut covers = Covers::default();
    for path in &linux.masked_paths {
        covers
            .mask(root, path)
            .at(Stage::MaskPath, path.display())?;
    }
    Ok(())
}

fn present(root: &OwnedFd, path: &Path) -> io::Result<Option<OwnedFd>> {
    match beneath::open(root, path, OFlags::PATH) {
        Ok(there) => Ok(Some(there)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn lock(root: &OwnedFd, path: &Path) -> io::Result<()> {
    let Some(there) = present(root, path)? else {
        return Ok(());
    };
    let tree = clone_of(&there, true)?;
    sys::set_mount_attributes(tree.as_fd(), true, sys::MOUNT_ATTR_RDONLY, 0)?;
    put(&tree, &there)
}

/// What is put over masked paths, made when first needed: an empty directory nobody can write to, and the null device.
#[derive(Default)]
struct Covers {
    directory: Option<OwnedFd>,
    null: Option<OwnedFd>,
}

impl Covers {
    fn mask(&mut self, root: &OwnedFd, path: &Path) -> io::Result<()> {
        let Some(there) = present(root, path)? else {
            return Ok(());
        };
        if FileType::from_raw_mode(fstat(&there)?.st_mode) != FileType::Directory {
            let null = match self.null.take() {
                Some(null) => null,
                None => devices::host_null()?,
            };
            put(&clone_of(&null, false)?, &there)?;
            self.null = Some(null);
            return Ok(());
        }
        match &self.directory {
            Some(directory) => put(&clone_of(directory, false)?, &there),
            None => {
                let options = MountOptions {
                    own: Attributes {
                        set: sys::MOUNT_ATTR_RDONLY,
                        clear: 0,
                    },
                    ..MountOptions::default()
                };
                let directory = make("tmpfs", "tmpfs", &options)?;
                put(&directory, &there)?;
                self.directory = Some(directory);
                Ok(())
            }
        }
    }
}

/// Makes the root itself read-only.
pub(crate) fn lock_root(root: &OwnedFd) -> Outcome<()> {
    sys::set_mount_attributes(root.as_fd(), false, sys::MOUNT_ATTR_RDONLY, 0)
        .at(Stage::MaskPath, Path::new("/").display())
}
