//! Limits as what they are to the kernel: a value for a file of a controller. The modules `v1` and `v2` decide them from
//! the specification's resources without touching anything; here they are written.

use std::io;
use std::path::Path;

use crate::{Error, file};

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The specification's word for the limit.
    pub(crate) what: String,
    pub(crate) controller: &'static str,
    /// Names of the file, in the order of preference: kernels differ.
    pub(crate) files: Vec<String>,
    pub(crate) value: String,
    /// The value asks for nothing where the file does not exist.
    pub(crate) needless_if_absent: bool,
}

impl Setting {
    pub(crate) fn new(
        what: &str,
        controller: &'static str,
        file: &str,
        value: impl ToString,
    ) -> Setting {
        let (what, files, value) = (what.to_owned(), vec![file.to_owned()], value.to_string());
        Setting {
            what,
            controller,
            files,
            value,
            needless_if_absent: false,
        }
    }

    pub(crate) fn or_file(mut self, file: &str) -> Setting {
        self.files.push(file.to_owned());
        self
    }

    pub(crate) fn needless_if_absent(mut self) -> Setting {
        self.needless_if_absent = true;
        self
    }

    /// Writes the value into the first file that exists in `dir`.
    pub(crate) fn apply(&self, dir: &Path) -> Result<(), Error> {
        for name in &self.files {
            match file::write(&dir.join(name), &self.value) {
                // EACCES: a cgroup file system answers it for a file that would have to be created.
                Err(Error::Open { path, source }) if missing(&path, &source) => {}
                done => return done,
            }
        }
        if self.needless_if_absent {
            return Ok(());
        }
        let file = dir.join(&self.files[0]);
        Err(Error::NoFile {
            what: self.what.clone(),
            file,
        })
    }
}

fn missing(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.kind() == io::ErrorKind::PermissionDenied && !path.exists()
}
