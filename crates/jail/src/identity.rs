//! Who the process is at last: working directory, user, groups, capabilities, and the program that it becomes.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, accessat, openat, stat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use spec::Process;

use crate::capabilities;
use crate::fault::{At, Fault, Outcome};
use crate::{Error, Stage};

/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Debug)]
pub(crate) struct Plan {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    umask: Mode,
    cwd: PathBuf,
    pub capabilities: capabilities::Plan,
    pub no_new_privileges: bool,
    apparmor: Option<String>,
    args: sys::StringVector,
    env: sys::StringVector,
}

impl Plan {
    pub fn new(process: &Process, warnings: &mut Vec<String>) -> Result<Plan, Error> {
        let invalid = |property: &str, reason: &str| Error::Invalid {
            property: property.into(),
            reason: reason.into(),
        };
        if process.args.is_empty() {
            return Err(invalid("process.args", "nothing to execute"));
        }
        if !process.cwd.is_absolute() {
            return Err(invalid(
                "process.cwd",
                &format!("{:?} is not absolute", process.cwd),
            ));
        }
        let strings = |list: &[String], property: &str| {
            let strings = list
                .iter()
                .map(|text| CString::new(text.as_str()))
                .collect::<Result<Vec<_>, _>>();
            strings
                .map(sys::StringVector::new)
                .map_err(|_| invalid(property, "holds a NUL byte"))
        };
        let id = |number: u32, property: &str| {
            if number == u32::MAX {
                Err(invalid(property, "-1 is no id"))
            } else {
                Ok(number)
            }
        };
        let user = &process.user;
        let groups = user
            .additional_gids
            .iter()
            .map(|&gid| id(gid, "process.user.additionalGids").map(Gid::from_raw));
        refuse_labels(process)?;
        Ok(Plan {
            uid: Uid::from_raw(id(user.uid, "process.user.uid")?),
            gid: Gid::from_raw(id(user.gid, "process.user.gid")?),
            groups: groups.collect::<Result<_, _>>()?,
            umask: Mode::from_raw_mode(user.umask.unwrap_or(0o022) & 0o777),
            cwd: process.cwd.clone(),
            capabilities: capabilities::Plan::new(process.capabilities.as_ref(), warnings),
            no_new_privileges: process.no_new_privileges,
            apparmor: process
                .apparmor_profile
                .clone()
                .filter(|profile| !profile.is_empty() && profile != "unconfined"),
            args: strings(&process.args, "process.args")?,
            env: strings(&process.env, "process.env")?,
        })
    }

    pub fn user(&self) -> (Uid, Gid) {
        (self.uid, self.gid)
    }

    /// Asks AppArmor for the profile that exec switches to, through the host's /proc that was proved to be one.
    pub fn set_profile(&self) -> Outcome<()> {
        let Some(profile) = &self.apparmor else {
            return Ok(());
        };
        let open = || -> io::Result<OwnedFd> {
            let file = openat(
                rustix::fs::CWD,
                "/proc/thread-self/attr/apparmor/exec",
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            crate::sysctl::prove_procfs(&file)?;
            Ok(file)
        };
        let file = open().at(
            Stage::SetSecurity,
            format_args!("apparmor profile {profile:?}"),
        )?;
        rustix::io::write(&file, format!("exec {profile}").as_bytes()).at(
            Stage::SetSecurity,
            format_args!("apparmor profile {profile:?}"),
        )?;
        Ok(())
    }

    /// Changes groups, group and user, bounds and puts on the capabilities. `keep` is held until exec.
    pub fn become_user(&self, keep: u64) -> Outcome<Option<String>> {
        self.capabilities.bound()?;
        rustix::process::umask(self.umask);
        match rustix::thread::set_thread_groups(&self.groups) {
            // In a user namespace that maps one id groups can be neither dropped nor set (user_namespaces(7), "setgroups").
            Err(Errno::PERM) if self.groups.is_empty() => {}
            answer => answer.at(
                Stage::SetUser,
                format_args!(
                    "groups {:?}",
                    self.groups
                        .iter()
                        .map(|gid| gid.as_raw())
                        .collect::<Vec<_>>()
                ),
            )?,
        }
        sys::keep_capabilities(true).at(Stage::SetUser, "keep capabilities")?;
        rustix::thread::set_thread_res_gid(self.gid, self.gid, self.gid)
            .at(Stage::SetUser, format_args!("gid {}", self.gid.as_raw()))?;
        rustix::thread::set_thread_res_uid(self.uid, self.uid, self.uid)
            .at(Stage::SetUser, format_args!("uid {}", self.uid.as_raw()))?;
        sys::keep_capabilities(false).at(Stage::SetUser, "keep capabilities")?;
        let warning = self.capabilities.apply(keep)?;
        if self.no_new_privileges {
            sys::no_new_privileges().at(Stage::SetSecurity, "no_new_privs")?;
        }
        Ok(warning)
    }

    /// Makes a missing working directory of init, as runc does, while there are privileges to do so. For an exec it must exist.
    pub fn make_directory(&self) -> Outcome<()> {
        if stat(&self.cwd).is_ok() {
            return Ok(());
        }
        let made = crate::beneath::directory(root()?, &self.cwd);
        made.map(drop).at(Stage::EnterDirectory, self.cwd.display())
    }

    /// Enters the working directory as the user, and makes sure that it lies below the root: a path such as `/proc/self/fd/7`
    /// would lead to wherever a descriptor points (CVE-2024-21626).
    pub fn enter_directory(&self) -> Outcome<()> {
        rustix::process::chdir(&self.cwd).at(Stage::EnterDirectory, self.cwd.display())?;
        let seen =
            rustix::process::getcwd(Vec::new()).at(Stage::EnterDirectory, self.cwd.display())?;
        if seen.as_bytes().starts_with(b"/") {
            return Ok(());
        }
        Fault::refuse(
            Stage::EnterDirectory,
            self.cwd.display(),
            "it lies outside the container's root",
        )
    }

    /// Finds the program as a shell would, with the user's own rights.
    pub fn find_program(&self) -> Outcome<CString> {
        let name = &self.args.strings()[0];
        let shown = || name.to_string_lossy().into_owned();
        if name.as_bytes().contains(&b'/') {
            executable(Path::new(OsStr::from_bytes(name.as_bytes())))
                .at(Stage::Execute, shown())?;
            return Ok(name.clone());
        }
        let entry = self
            .env
            .strings()
            .iter()
            .rev()
            .find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
        let mut denied = false;
        for directory in entry
            .unwrap_or(DEFAULT_PATH.as_bytes())
            .split(|byte| *byte == b':')
        {
            let directory = if directory.is_empty() {
                b".".as_slice()
            } else {
                directory
            };
            let candidate =
                Path::new(OsStr::from_bytes(directory)).join(OsStr::from_bytes(name.as_bytes()));
            match executable(&candidate) {
                Ok(()) if !name.is_empty() => {
                    return Ok(
                        CString::new(candidate.into_os_string().into_encoded_bytes())
                            .unwrap_or_default(),
                    );
                }
                Err(Errno::ACCESS) => denied = true,
                _ => {}
            }
        }
        if denied {
            return Err(Errno::ACCESS).at(Stage::Execute, shown());
        }
        Fault::refuse(
            Stage::Execute,
            shown(),
            "executable file not found in $PATH",
        )
    }

    /// Becomes the program; returns only the reason why not.
    pub fn execute(&self, program: &CString) -> Fault {
        let reason = sys::exec(program, &self.args, &self.env);
        Fault {
            stage: Stage::Execute,
            subject: self.args.strings()[0].to_string_lossy().into_owned(),
            reason,
        }
    }
}

fn executable(path: &Path) -> Result<(), Errno> {
    if FileType::from_raw_mode(stat(path)?.st_mode) == FileType::Directory {
        return Err(Errno::ACCESS);
    }
    accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

fn root() -> Outcome<OwnedFd> {
    openat(
        rustix::fs::CWD,
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Stage::EnterRoot, "/")
}

fn refuse_labels(process: &Process) -> Result<(), Error> {
    let absent = |property: &str, what: &str| Error::Unserved {
        property: property.into(),
        reason: format!("this kernel has no {what}"),
    };
    if process
        .selinux_label
        .as_ref()
        .is_some_and(|label| !label.is_empty())
    {
        return Err(absent(
            "process.selinuxLabel",
            "SELinux that this wall applies",
        ));
    }
    let profile = process.apparmor_profile.as_deref().unwrap_or_default();
    if !matches!(profile, "" | "unconfined") && !apparmor_enabled() {
        return Err(absent("process.apparmorProfile", "AppArmor"));
    }
    Ok(())
}

/// Whether the kernel has AppArmor and it is switched on.
pub(crate) fn apparmor_enabled() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with(b"Y"))
}
