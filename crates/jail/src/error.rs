//! Why a container could not be made: the stage, the object it failed on, the kernel's reason.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Each stage once, with the words that say it.
macro_rules! stages {
    ($($name:ident $words:literal,)*) => {
        /// The named steps between clone and exec; each failure says in which one it happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Stage {
            $($name,)*
        }

        impl Stage {
            /// By their numbers.
            pub(crate) const ALL: &[Stage] = &[$(Stage::$name,)*];

            fn words(self) -> &'static str {
                match self {
                    $(Stage::$name => $words,)*
                }
            }
        }
    };
}

stages! {
    Prepare "prepare",
    Clone "make the init process",
    MapIds "map user and group ids",
    JoinCgroup "join the cgroup",
    JoinNamespaces "join the namespaces",
    SetClock "set the clocks' offsets",
    MakeRoot "make the root file system",
    Mount "mount",
    MakeDevice "make the device",
    OpenTerminal "open the terminal",
    RunHook "run the hook",
    EnterRoot "enter the root file system",
    MaskPath "mask the path",
    SetHostname "set the host name",
    SetSysctl "set the kernel parameter",
    SetLimits "set the resource limit",
    SetSchedule "set the scheduling of",
    SetSecurity "set the security attribute",
    SetUser "become the user",
    SetCapabilities "set the capabilities",
    EnterDirectory "enter the working directory",
    LoadFilter "load the system call filter",
    WaitForStart "wait for start",
    Execute "exec",
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words())
    }
}

/// Why a container, a process or a hook could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration asks for what no one here serves.
    #[error("{property} is not served: {reason}")]
    Unserved { property: String, reason: String },
    #[error("{property} is not valid: {reason}")]
    Invalid { property: String, reason: String },
    /// A step failed in the caller's process, on the object named.
    #[error("{stage} {subject}")]
    Host {
        stage: Stage,
        subject: String,
        #[source]
        source: io::Error,
    },
    /// A step failed in the container's process, on the object named.
    #[error("inside the container: {stage} {subject}")]
    Inside {
        stage: Stage,
        subject: String,
        #[source]
        source: io::Error,
    },
    #[error("exec: {program:?}: executable file not found in $PATH")]
    NotFound { program: String },
    #[error("exec: {program:?}")]
    NotExecutable {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("hook {path}: {reason}")]
    Hook { path: PathBuf, reason: String },
    #[error("the container's process died while it was to {stage}")]
    Died { stage: Stage },
    #[error("container not running")]
    NotRunning,
    #[error("cannot start a container that has already been started")]
    AlreadyStarted,
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    #[error(transparent)]
    Seccomp(#[from] seccomp::Error),
}

impl Error {
    /// What a shell would answer: 127 for a program that is not there, 126 for one that cannot be executed, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::NotFound { .. } => 127,
            Error::NotExecutable { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Error::NotExecutable { .. } => 126,
            _ => 1,
        }
    }
}
