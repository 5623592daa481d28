//! Published escapes, tried: each is held where it happens.

use causes::told;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio as Streams};

use serde_json::json;

use crate::Test;
use crate::ground::Bundle;

pub const TESTS: &[Test] = &[
    ("masks_follow_no_one_out", masks_follow_no_one_out),
    (
        "mount_targets_stay_in_the_root",
        mount_targets_stay_in_the_root,
    ),
    (
        "directories_outside_are_refused",
        directories_outside_are_refused,
    ),
    ("console_is_no_link", console_is_no_link),
    ("fake_null_masks_nothing_else", fake_null_masks_nothing_else),
    ("the_program_is_sealed", the_program_is_sealed),
];

fn both(args: &[&str]) -> [Bundle; 2] {
    [Bundle::new(args), Bundle::with_user_namespace(args)]
}

/// CVE-2019-19921, CVE-2023-27561: /proc as a link to somewhere the image controls.
fn masks_follow_no_one_out() {
    for bundle in both(&["true"]) {
        let root = bundle.path.join("rootfs");
        fs::remove_dir(root.join("proc")).expect("is removed");
        symlink("/data", root.join("proc")).expect("links");
        assert!(
            bundle.failure().contains("symbolic link"),
            "{}",
            bundle.failure()
        );
    }
}

/// CVE-2021-30465: the target of a mount leads out of the root.
fn mount_targets_stay_in_the_root() {
    for mut bundle in both(&["sh", "-c", "ls /escape/etc; ls /tmp"]) {
        let outside = bundle.path.join("outside");
        fs::create_dir_all(&outside).expect("is made");
        symlink(&outside, bundle.path.join("rootfs/link")).expect("links");
        symlink("../../../../../../../..", bundle.path.join("rootfs/escape")).expect("links");
        let mounts = bundle.spec["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/link/below", "type": "tmpfs", "source": "t"}));
        mounts.push(json!({"destination": "/escape/tmp", "type": "tmpfs", "source": "t"}));
        assert!(bundle.output().starts_with("passwd\nsecret\n"));
        assert!(
            fs::read_dir(&outside).expect("reads").next().is_none(),
            "nothing was made outside"
        );
    }
}

/// CVE-2024-21626: a working directory behind a leaked descriptor.
fn directories_outside_are_refused() {
    let outside = fs::File::open("/").expect("opens");
    rustix::io::fcntl_setfd(&outside, rustix::io::FdFlags::empty()).expect("is inheritable");
    for mut bundle in both(&["ls"]) {
        for number in 3..40 {
            bundle.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
            // A descriptor of the container's own root may lead there; the host's has no /data.
            if let Ok((_, text)) = bundle.run() {
                assert!(
                    text.contains("data\n"),
                    "cwd behind descriptor {number}: {text}"
                );
            }
        }
    }
}

/// CVE-2025-52565: /dev/console as a link, so that the terminal is bound over something else.
fn console_is_no_link() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.spec["process"]["terminal"] = json!(true);
    bundle.spec["mounts"]
        .as_array_mut()
        .expect("a list")
        .retain(|mount| mount["destination"] != "/dev");
    symlink("/etc/passwd", bundle.path.join("rootfs/dev/console")).expect("links");
    let error = bundle
        .create(jail::Stdio::Console, jail::Gate::Held)
        .map(|_| ())
        .expect_err("fails");
    assert!(told(&error).contains("/dev/console"));
}

/// CVE-2025-31133: the container's /dev/null is a link to a file of procfs, which the mask then binds.
fn fake_null_masks_nothing_else() {
    for mut bundle in both(&["stat", "-c", "%F %t:%T", "/etc/secret"]) {
        bundle.spec["linux"]["maskedPaths"] = json!(["/etc/secret"]);
        bundle.spec["linux"]["devices"] = json!([]);
        assert_eq!(bundle.output(), "character special file 1:3\n");
    }
}

/// CVE-2019-5736, and changing the mount that guards against it: from a privileged container without a user namespace.
pub fn the_program_is_sealed() {
    let me = std::env::current_exe().expect("the own path");
    let copy = std::env::temp_dir().join(format!("stockade-sealed-{}", std::process::id()));
    fs::copy(&me, &copy).expect("is copied");
    let mut sealed = Command::new(&copy)
        .arg("--sealed")
        .stdin(Streams::piped())
        .stdout(Streams::piped())
        .spawn()
        .expect("starts");
    let mut line = [0; 6];
    std::io::Read::read_exact(sealed.stdout.as_mut().expect("a pipe"), &mut line)
        .expect("is sealed");
    let exe = format!("/proc/{}/exe", sealed.id());
    let opened = fs::File::open(&exe).expect("can be read");
    let through = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&opened));
    let write = |path: &str| {
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .map(|_| ())
            .map_err(|error| error.raw_os_error())
    };
    let clear = || {
        sys::set_mount_attributes(
            std::os::fd::AsFd::as_fd(&opened),
            false,
            0,
            sys::MOUNT_ATTR_RDONLY,
        )
        .is_err()
    };
    let flags =
        rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE | rustix::mount::OpenTreeFlags::AT_EMPTY_PATH;
    let copied = rustix::mount::open_tree(&opened, "", flags).is_ok();
    let running = (write(&exe), clear());
    drop(sealed.stdin.take());
    let status = sealed.wait().expect("ends");
    let ended = (write(&through), clear(), write(&through));
    fs::remove_file(&copy).expect("is removed");
    assert_eq!(running, (Err(Some(libc::ETXTBSY)), true));
    assert_eq!(
        ended,
        (Err(Some(libc::EROFS)), true, Err(Some(libc::EROFS)))
    );
    assert!(status.success() && !copied);
}

/// The program of the test before: seals itself and waits.
pub fn be_sealed() {
    let before = fs::read_link("/proc/self/fd/0").expect("a descriptor");
    jail::seal().expect("seals");
    assert_eq!(std::env::args().nth(1).as_deref(), Some("--sealed"));
    assert_eq!(
        before,
        fs::read_link("/proc/self/fd/0").expect("a descriptor")
    );
    println!("ready");
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new()).expect("reads");
}
