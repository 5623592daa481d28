//! How an overlay's upper directory says "deleted" and "hides everything below" (the kernel's overlayfs document).

use std::os::fd::AsFd;

use rustix::fs::{FileType, Statx};

use crate::disk;

/// Which attributes the overlay was mounted with. The other kind means nothing there: a container may have written it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Marks {
    #[default]
    Trusted,
    /// Mount option `userxattr`.
    User,
}

impl Marks {
    pub fn opaque(self) -> &'static str {
        match self {
            Marks::Trusted => "trusted.overlay.opaque",
            Marks::User => "user.overlay.opaque",
        }
    }

    fn name(self, mark: &str) -> String {
        match self {
            Marks::Trusted => format!("trusted.overlay.{mark}"),
            Marks::User => format!("user.overlay.{mark}"),
        }
    }

    /// Whether the directory hides everything that lies below it.
    pub fn is_opaque(self, directory: impl AsFd) -> rustix::io::Result<bool> {
        Ok(disk::attribute(directory, self.opaque())?.as_deref() == Some(b"y"))
    }

    /// Whether the kernel made this by copying it up from a lower layer.
    pub fn is_copied_up(self, file: impl AsFd) -> rustix::io::Result<bool> {
        Ok(disk::attribute(file, &self.name("origin"))?.is_some())
    }

    /// The first mark of a feature that is never asked for: content that lies elsewhere.
    pub fn foreign(self, file: impl AsFd) -> rustix::io::Result<Option<String>> {
        for mark in ["redirect", "metacopy"] {
            let name = self.name(mark);
            if disk::attribute(&file, &name)?.is_some() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

/// A character device 0:0 stands for a name that is deleted.
pub fn is_whiteout(found: &Statx) -> bool {
    disk::kind(found) == FileType::CharacterDevice
        && (found.stx_rdev_major, found.stx_rdev_minor) == (0, 0)
}
