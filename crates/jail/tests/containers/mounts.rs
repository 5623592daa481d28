//! Mounts, masks and devices as the configuration says.

use causes::told;
use std::fs;

use jail::RootfsMount;
use rustix::mount::{MountPropagationFlags, mount_change};
use serde_json::json;

use crate::Test;
use crate::ground::{BASE, Bundle};

pub const TESTS: &[Test] = &[
    ("mount_options", mount_options),
    ("masks_and_read_only", masks_and_read_only),
    ("devices", devices),
    ("tmpfs_copies_up", tmpfs_copies_up),
    ("binds_are_mapped", binds_are_mapped),
    ("cgroups_are_shown", cgroups_are_shown),
    ("refusals_name_the_option", refusals_name_the_option),
    ("a_view_is_assembled", a_view_is_assembled),
    ("layers_that_cannot_be_mapped", layers_that_cannot_be_mapped),
    ("long_overlays", long_overlays),
    ("root_propagation", root_propagation),
    ("without_pivot", without_pivot),
    ("mounts_stay_inside", mounts_stay_inside),
];

fn both(args: &[&str]) -> [Bundle; 2] {
    [Bundle::new(args), Bundle::with_user_namespace(args)]
}

fn add_mount(bundle: &mut Bundle, mount: serde_json::Value) {
    bundle.spec["mounts"]
        .as_array_mut()
        .expect("a list")
        .push(mount);
}

fn mount_options() {
    for mut bundle in both(&["cat", "/proc/self/mountinfo"]) {
        let source = bundle.path.join("source");
        fs::create_dir_all(source.join("below")).expect("is made");
        for (name, options) in [
            ("a", &["rbind", "ro"][..]),
            ("b", &["bind", "nosuid", "nodev", "noexec", "noatime"]),
            ("c", &["rbind", "rro", "nosymfollow"]),
            ("d", &["bind", "strictatime", "nodiratime", "rprivate"]),
        ] {
            add_mount(
                &mut bundle,
                json!({"destination": format!("/data/{name}"), "type": "bind", "source": source, "options": options}),
            );
        }
        add_mount(
            &mut bundle,
            json!({"destination": "/data/t", "type": "tmpfs", "source": "t", "options": ["size=64k", "mode=711", "ro", "noexec"]}),
        );
        add_mount(
            &mut bundle,
            json!({"destination": "/data/a", "options": ["remount", "noexec", "ro"]}),
        );
        let text = bundle.output();
        let has = |place: &str, words: &[&str]| {
            let line = text
                .lines()
                .find(|line| line.contains(&format!(" /data/{place} ")))
                .unwrap_or_else(|| panic!("{place}: {text}"));
            let options = line.split(' ').nth(5).expect("options");
            assert!(
                words
                    .iter()
                    .all(|word| options.split(',').any(|option| option == *word)),
                "{place}: {line}"
            );
        };
        has("a", &["ro", "noexec"]);
        has("b", &["rw", "nosuid", "nodev", "noexec", "noatime"]);
        has("c", &["ro", "nosymfollow"]);
        has("d", &["nodiratime"]);
        has("t", &["ro", "noexec"]);
        assert!(!text.contains("shared:"), "{text}");
    }
}

fn masks_and_read_only() {
    let script = "cat /proc/kcore | head -c 1; ls /sys/firmware; echo x > /proc/sys/kernel/hostname; echo x > /dev/null && touch /x; touch /data/y && echo wrote";
    for mut bundle in both(&["sh", "-c", script]) {
        bundle.spec["root"]["readonly"] = json!(true);
        add_mount(
            &mut bundle,
            json!({"destination": "/data", "type": "tmpfs", "source": "t"}),
        );
        let text = bundle.output();
        assert!(
            text.contains("/x: Read-only file system")
                && text.contains("hostname: Read-only file system"),
            "{text}"
        );
        assert!(
            text.ends_with("wrote\n") && text.lines().count() <= 4,
            "{text}"
        );
    }
}

fn devices() {
    let script = "for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done; for l in ptmx fd stdin; do readlink /dev/$l; done; \
                  head -c 2 /dev/zero > /dev/null && echo usable; stat -c '%n %t:%T %a %u' /dev/pipe";
    for mut bundle in both(&["sh", "-c", script]) {
        bundle.spec["linux"]["devices"] =
            json!([{"path": "/dev/pipe", "type": "p", "fileMode": 0o640, "uid": 3}]);
        let text = bundle.output();
        for line in [
            "/dev/null 1:3 666",
            "/dev/tty 5:0 666",
            "pts/ptmx\n/proc/self/fd\n/proc/self/fd/0\n",
            "usable",
            "/dev/pipe 0:0 640 3",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
    let mut bundle = Bundle::with_user_namespace(&["true"]);
    bundle.spec["linux"]["devices"] =
        json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 5}]);
    assert!(bundle.failure().contains("make the device /dev/null"));
}

fn tmpfs_copies_up() {
    for mut bundle in both(&[
        "sh",
        "-c",
        "cat /etc/secret; stat -c '%a %u' /etc/secret; touch /etc/new; ls /etc",
    ]) {
        let options = json!(["tmpcopyup", "mode=755"]);
        add_mount(
            &mut bundle,
            json!({"destination": "/etc", "type": "tmpfs", "source": "t", "options": options}),
        );
        assert_eq!(bundle.output(), "secret\n600 0\nnew\npasswd\nsecret\n");
        assert!(!bundle.path.join("rootfs/etc/new").exists());
    }
}

fn binds_are_mapped() {
    let mut bundle = Bundle::with_user_namespace(&[
        "sh",
        "-c",
        "stat -c %u /data/a/f /data/b/f /data/c/f; touch /data/a/g /data/c/h",
    ]);
    let source = bundle.path.join("source");
    fs::create_dir_all(&source).expect("is made");
    fs::write(source.join("f"), "").expect("is written");
    let other = json!([{"containerID": 0, "hostID": BASE + 5, "size": 10}]);
    add_mount(
        &mut bundle,
        json!({"destination": "/data/a", "type": "bind", "source": source, "options": ["rbind", "idmap"]}),
    );
    add_mount(
        &mut bundle,
        json!({"destination": "/data/b", "type": "bind", "source": source, "options": ["rbind"]}),
    );
    add_mount(
        &mut bundle,
        json!({"destination": "/data/c", "type": "bind", "source": source, "options": ["bind"], "uidMappings": other, "gidMappings": other}),
    );
    let (code, text) = bundle.run().expect("runs");
    assert!(
        code != 0 && text.starts_with("0\n65534\n5\n"),
        "{code} {text}"
    );
    let owner = |name: &str| {
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(source.join(name)).expect("was made"))
    };
    assert_eq!(owner("g"), 0);
    let mut bundle = Bundle::new(&["true"]);
    add_mount(
        &mut bundle,
        json!({"destination": "/data", "type": "bind", "source": "/tmp", "options": ["rbind", "idmap"]}),
    );
    assert!(
        bundle
            .failure()
            .contains("the container has no user namespace")
    );
}

fn cgroups_are_shown() {
    for mut bundle in both(&[
        "sh",
        "-c",
        "stat -c %F /sys/fs/cgroup; grep cgroup /proc/self/mountinfo",
    ]) {
        let options = json!(["nosuid", "noexec", "nodev", "ro"]);
        add_mount(
            &mut bundle,
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}),
        );
        assert!(bundle.output().starts_with("directory\n"));
    }
}

fn refusals_name_the_option() {
    let failure = |mount: serde_json::Value| {
        let mut bundle = Bundle::new(&["true"]);
        add_mount(&mut bundle, mount);
        bundle.failure()
    };
    let text = failure(
        json!({"destination": "/data", "type": "tmpfs", "source": "t", "options": ["sizzle=1"]}),
    );
    assert!(
        text.contains("mount /data of type tmpfs") && text.contains("sizzle"),
        "{text}"
    );
    let text = failure(json!({"destination": "/data", "type": "nofs", "source": "t"}));
    assert!(text.contains("no file system \"nofs\""), "{text}");
    let text =
        failure(json!({"destination": "/data", "type": "bind", "source": "/nowhere/at/all"}));
    assert!(
        text.contains("/nowhere/at/all") && text.contains("No such file"),
        "{text}"
    );
    let text = failure(json!({"destination": "/proc/self/attr", "type": "tmpfs", "source": "t"}));
    assert!(text.contains("the container's /proc"), "{text}");
}

/// The rootfs list of `stockade do`: a cached tree, the host's /usr over it, and the caller's directory.
fn view(bundle: &Bundle) -> Vec<RootfsMount> {
    let path = |name: &str| bundle.path.join(name).display().to_string();
    let layers = |name: &str| -> Vec<String> {
        let make = |kind: &str| {
            let path = bundle.path.join("layers").join(name).join(kind);
            fs::create_dir_all(&path).expect("is made");
            std::os::unix::fs::chown(&path, Some(BASE), Some(BASE)).expect("is given");
            format!("{kind}dir={}", path.display())
        };
        vec![make("upper"), make("work"), "volatile".into()]
    };
    let mount = |kind: &str, source: &str, target: &str, options: Vec<String>| RootfsMount {
        kind: kind.into(),
        source: source.into(),
        target: target.into(),
        options,
    };
    let map = |map: &str| vec![format!("uidmap={map}"), format!("gidmap={map}")];
    let with = |first: &str, more: Vec<String>| [vec![first.to_owned()], more].concat();
    vec![
        mount(
            "bind",
            &path("rootfs"),
            "",
            [
                vec!["ro".into(), "rbind".into()],
                map(&format!("0:{BASE}:65536")),
            ]
            .concat(),
        ),
        mount(
            "format/overlay",
            "overlay",
            "",
            with("lowerdir={{ mount 0 }}", layers("root")),
        ),
        mount(
            "format/overlay",
            "overlay",
            "usr",
            with(
                &format!("lowerdir={{{{ mount 0 }}}}/usr:{}", path("host-usr")),
                layers("usr"),
            ),
        ),
        mount(
            "bind",
            &path("project"),
            "",
            [vec!["rbind".into()], map(&format!("1234:{BASE}:1"))].concat(),
        ),
        mount(
            "format/overlay",
            "overlay",
            "home/user/project",
            with("lowerdir={{ mount 3 }}", layers("cwd")),
        ),
    ]
}

fn a_view_is_assembled() {
    let script = "cat /etc/secret; stat -c '%u %n' /etc /usr /usr/share /home/user/project; touch /usr/new /etc/new /home/user/project/new && ls /usr | head -1; \
                  ls /home/user/project; cat /usr/share/private";
    let mut bundle = Bundle::new(&["sh", "-c", script]);
    bundle.add_user_namespace();
    let (host, project) = (bundle.path.join("host-usr"), bundle.path.join("project"));
    fs::create_dir_all(host.join("share")).expect("is made");
    fs::create_dir_all(bundle.path.join("rootfs/usr/share")).expect("is made");
    fs::write(host.join("share/private"), "no").expect("is written");
    fs::set_permissions(
        host.join("share/private"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .expect("is set");
    fs::create_dir_all(&project).expect("is made");
    fs::write(project.join("mine"), "").expect("is written");
    std::os::unix::fs::chown(project.join("mine"), Some(1234), Some(1234)).expect("is given");
    std::os::unix::fs::chown(&project, Some(1234), Some(1234)).expect("is given");
    bundle.rootfs = view(&bundle);
    let (code, text) = bundle
        .run()
        .unwrap_or_else(|error| panic!("{}", told(&error)));
    assert!(
        text.contains("secret\n0 /etc\n0 /usr\n0 /usr/share\n0 /home/user/project\n"),
        "{code} {text}"
    );
    assert!(
        text.contains("mine\nnew\n") && text.contains("/usr/share/private': Permission denied"),
        "{text}"
    );
    assert!(bundle.path.join("layers/cwd/upper/new").exists() && !project.join("new").exists());
}

fn long_overlays() {
    let mut bundle = Bundle::new(&["ls", "/data"]);
    let mut lower = vec![bundle.path.join("rootfs").display().to_string()];
    for number in 0..100 {
        let path = bundle
            .path
            .join(format!("a-rather-long-name-of-a-layer,with:signs-{number}"));
        fs::create_dir_all(path.join(format!("data/{number}"))).expect("is made");
        lower.insert(0, path.display().to_string().replace(':', "\\:"));
    }
    bundle.rootfs = vec![RootfsMount {
        kind: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options: vec![format!("lowerdir={}", lower.join(":"))],
    }];
    bundle.spec["mounts"] = json!([]);
    bundle.spec["linux"]["maskedPaths"] = json!([]);
    bundle.spec["linux"]["readonlyPaths"] = json!([]);
    // Nothing can be made in a root without an upper layer.
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        fs::write(bundle.path.join("rootfs/dev").join(name), "").expect("is written");
    }
    let text = bundle.failure();
    assert!(text.contains("make the device /dev/null"), "{text}");
    bundle.spec["mounts"] = json!([{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}]);
    assert_eq!(bundle.output().lines().count(), 100);
}

/// `/` of the machine is private, or, as systemd has it, shared: then too nothing of the container's arrives there.
fn root_propagation() {
    sys::unshare(libc::CLONE_NEWNS as u64).expect("a mount namespace of its own");
    for machine in [
        MountPropagationFlags::PRIVATE,
        MountPropagationFlags::SHARED,
    ] {
        mount_change("/", machine | MountPropagationFlags::REC).expect("changes");
        let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("reads");
        let before = mounts();
        for (word, shared) in [("shared", true), ("private", false), ("rslave", false)] {
            let mut bundle = Bundle::new(&["head", "-1", "/proc/self/mountinfo"]);
            bundle.spec["linux"]["rootfsPropagation"] = json!(word);
            assert_eq!(bundle.output().contains(" shared:"), shared, "{word}");
            assert_eq!(mounts(), before, "{word}");
        }
    }
}

fn without_pivot() {
    for mut bundle in both(&["sh", "-c", "ls / | head -2; hostname"]) {
        bundle.options.no_pivot = true;
        assert_eq!(bundle.output(), "bin\ndata\njailed\n");
    }
}

fn mounts_stay_inside() {
    let before = fs::read_to_string("/proc/self/mountinfo").expect("reads");
    for bundle in both(&["mount"]) {
        let text = bundle.output();
        assert!(
            !text.contains("stockade-jail-")
                || text.lines().all(|line| !line.contains(" on /tmp/stockade")),
            "{text}"
        );
    }
    assert_eq!(
        fs::read_to_string("/proc/self/mountinfo").expect("reads"),
        before
    );
}

/// A layer on a file system whose ids the kernel does not map is refused, with the name of that file system.
fn layers_that_cannot_be_mapped() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.rootfs = vec![RootfsMount {
        kind: "bind".into(),
        source: "/proc/sys".into(),
        target: String::new(),
        options: vec![
            "rbind".into(),
            format!("uidmap=0:{BASE}:65536"),
            format!("gidmap=0:{BASE}:65536"),
        ],
    }];
    let told = bundle.failure();
    assert!(
        told.contains("/proc/sys, a file system of type proc; remove the mapping"),
        "{told}"
    );
}
