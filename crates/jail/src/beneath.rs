//! Opening and making things inside a root that somebody hostile may be changing meanwhile.
//!
//! Every path is resolved by the kernel with the root as its ceiling (openat2(2), `RESOLVE_IN_ROOT`), and what was resolved
//! is used by its descriptor: nobody can swap a symbolic link in between.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat};
use rustix::io::Errno;

/// Symbolic links to nowhere that are followed when their target is to be made.
const LINK_LIMIT: usize = 40;

/// Opens `path` below `root`; links are followed, but never out of it, and never through /proc's magic ones.
pub(crate) fn open(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = path.strip_prefix("/").unwrap_or(path);
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    // EAGAIN: something was renamed while ".." was walked; the kernel could not tell and asks to try again.
    for _ in 0..128 {
        match openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => continue,
            answer => return Ok(answer?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// `path` without `.`, `..` and a leading `/`; `..` at the top stays there.
pub(crate) fn clean(path: &Path) -> PathBuf {
    path.components()
        .fold(PathBuf::new(), |mut clean, component| {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => _ = clean.pop(),
                _ => {}
            }
            clean
        })
}

/// Opens the directory `path` below `root` (`O_PATH`) and makes what is missing of it.
pub(crate) fn directory(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    make_directory(root.as_fd(), &clean(path), LINK_LIMIT)
}

fn make_directory(root: BorrowedFd<'_>, path: &Path, links: usize) -> io::Result<OwnedFd> {
    match open(root, path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        answer => return answer,
    }
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Err(Errno::NOENT.into());
    };
    let holder = make_directory(root, parent, links)?;
    match mkdirat(&holder, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(openat(
            &holder,
            name,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?),
        Err(Errno::EXIST) => {
            // A link to nowhere, or somebody was faster.
            let target = dangling(&holder, name.as_ref(), links)?;
            make_directory(root, &clean(&parent.join(target)), links - 1)
        }
        Err(error) => Err(error.into()),
    }
}

fn dangling(holder: &OwnedFd, name: &Path, links: usize) -> io::Result<PathBuf> {
    if links == 0 {
        return Err(Errno::LOOP.into());
    }
    match readlinkat(holder, name, Vec::new()) {
        Ok(target) => Ok(std::ffi::OsString::from(
            String::from_utf8_lossy(target.as_bytes()).into_owned(),
        )
        .into()),
        Err(Errno::INVAL) => Ok(name.into()),
        Err(error) => Err(error.into()),
    }
}

/// Opens the file `path` below `root` (`O_PATH`), whatever its type, and makes an empty one if nothing is there.
pub(crate) fn file(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    make_file(root.as_fd(), &clean(path), LINK_LIMIT)
}

fn make_file(root: BorrowedFd<'_>, path: &Path, links: usize) -> io::Result<OwnedFd> {
    match open(root, path, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        answer => return answer,
    }
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Err(Errno::NOENT.into());
    };
    let holder = make_directory(root, parent, links)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(&holder, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) => Ok(openat(
            &holder,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?),
        Err(Errno::EXIST) => {
            let target = dangling(&holder, name.as_ref(), links)?;
            make_file(root, &clean(&parent.join(target)), links - 1)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Scratch(PathBuf, OwnedFd);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir()
                .join(format!("stockade-beneath-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("a scratch directory");
            let fd = openat(
                rustix::fs::CWD,
                &path,
                OFlags::PATH | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .expect("opens");
            Scratch(path, fd)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn links_lead_nowhere_else() {
        let root = Scratch::new("links");
        symlink("/etc", root.0.join("abs")).expect("links");
        symlink("../../../../etc", root.0.join("up")).expect("links");
        directory(&root.1, Path::new("/abs/made")).expect("is made inside");
        assert!(root.0.join("etc/made").is_dir());
        directory(&root.1, Path::new("/up/made2")).expect("is made inside");
        assert!(root.0.join("etc/made2").is_dir());
        file(&root.1, Path::new("../../x/y")).expect("is made inside");
        assert!(root.0.join("x/y").is_file());
    }

    #[test]
    fn loops_end() {
        let root = Scratch::new("loop");
        symlink("b", root.0.join("a")).expect("links");
        symlink("a", root.0.join("b")).expect("links");
        assert!(directory(&root.1, Path::new("a/c")).is_err());
        assert!(file(&root.1, Path::new("a")).is_err());
    }

    #[test]
    fn magic_links_are_refused() {
        let proc = openat(
            rustix::fs::CWD,
            "/proc",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .expect("opens");
        assert!(
            open(
                &proc,
                Path::new(&format!("{}/root", std::process::id())),
                OFlags::PATH
            )
            .is_err()
        );
    }
}
