//! A container runs, says how it ended, and sees what it should.

use crate::Test;
use crate::ground::{Bundle, exec};
use serde_json::json;

pub const TESTS: &[Test] = &[
    ("runs", runs),
    ("runs_in_a_user_namespace", runs_in_a_user_namespace),
    ("executes_beside", executes_beside),
];

fn runs() {
    assert_eq!(Bundle::new(&["echo", "hello"]).output(), "hello\n");
    assert_eq!(
        Bundle::new(&["sh", "-c", "exit 7"]).run().expect("runs").0,
        7
    );
    assert_eq!(
        Bundle::new(&["sh", "-c", "kill -9 $$; sleep 9"])
            .run()
            .expect("runs")
            .0,
        0
    );
}

fn runs_in_a_user_namespace() {
    let bundle = Bundle::with_user_namespace(&[
        "sh",
        "-c",
        "id -u; cat /proc/self/uid_map; cat /etc/secret; stat -c %u /etc/secret; touch /new; hostname",
    ]);
    let text = bundle.output();
    assert!(
        text.contains("400000      65536") && text.ends_with("secret\n0\njailed\n"),
        "{text}"
    );
    let made = std::fs::metadata(bundle.path.join("upper/new")).expect("was made");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 400_000);
}

fn executes_beside() {
    for bundle in [
        Bundle::new(&["sleep", "60"]),
        Bundle::with_user_namespace(&["sleep", "60"]),
    ] {
        let running = bundle.idle();
        let script = "hostname; id -u; id -g; ps -o pid,comm; pwd; for n in ipc net pid uts mnt user cgroup; do readlink /proc/self/ns/$n; done";
        let process = json!({"args": ["sh", "-c", script], "cwd": "/tmp", "env": ["PATH=/bin"], "user": {"uid": 7, "gid": 8}, "capabilities": {}});
        let (code, text) = exec(&bundle, &running, process).expect("runs");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            (code, &lines[..3]),
            (0, &["jailed", "7", "8"][..]),
            "{text}"
        );
        assert!(text.contains("sleep") && text.contains("/tmp"), "{text}");
        for (name, link) in ["ipc", "net", "pid", "uts", "mnt", "user", "cgroup"]
            .iter()
            .zip(&lines[lines.len() - 7..])
        {
            let inits = std::fs::read_link(format!("/proc/{}/ns/{name}", running.0.pid))
                .expect("a namespace");
            assert_eq!(inits.to_str(), Some(*link), "{text}");
        }
    }
}
