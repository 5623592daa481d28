//! The flags that the commands which make processes share.

use crate::args::Flag;

pub const BUNDLE: Flag =
    Flag::value("bundle", "DIR", "the bundle (the current directory)").short('b');
pub const CONFIG: Flag = Flag::value(
    "config",
    "FILE",
    "the configuration (config.json in the bundle)",
)
.short('f');
pub const CONSOLE_SOCKET: Flag = Flag::value(
    "console-socket",
    "PATH",
    "unix socket that gets the terminal's master",
);
pub const PID_FILE: Flag = Flag::value(
    "pid-file",
    "FILE",
    "where to write the pid of the container's init",
);
pub const NO_PIVOT: Flag = Flag::switch(
    "no-pivot",
    "move the root instead of pivot_root(2), for hosts that run from an initramfs",
);
pub const NO_NEW_KEYRING: Flag =
    Flag::switch("no-new-keyring", "keep the caller's session keyring");
pub const PRESERVE_FDS: Flag =
    Flag::value("preserve-fds", "N", "pass N descriptors beyond 0, 1 and 2");
