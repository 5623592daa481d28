//! `ps`: the container's processes as the host sees them.

use std::process::{Command, Stdio};

use super::query::user_name;
use super::{PLAIN, id};
use crate::args::{Args, Flag, Order, operand};
use crate::cli::{Context, Verb, print};
use crate::error::Error;
use crate::process;

pub const PS: Verb = Verb {
    name: "ps",
    operands: "<container-id> [options of ps(1)]",
    about: "list a container's processes",
    teach: "Options of ps(1) need that program on the host; without them, and with -ef, the table is read from /proc.",
    flags: &[Flag::value("format", "table|json", "how").short('f')],
    count: (1, usize::MAX),
    order: Order::BeforeOperands,
    run: ps,
    ..PLAIN
};

fn ps(context: &Context, args: &Args) -> Result<u8, Error> {
    let container = context.store()?.find(&id(args))?;
    let mut pids = container.record.cgroup.pids();
    if let (true, Some(init)) = (
        pids.is_empty(),
        container.record.init.filter(|init| init.alive()),
    ) {
        // Without a cgroup of its own only init is known to be the container's.
        pids.push(init.pid);
    }
    pids.sort_unstable();
    let options: Vec<String> = args.operands[1..]
        .iter()
        .map(|word| operand(word))
        .collect();
    match args.text("format")?.unwrap_or("table") {
        "json" => print(&format!("{pids:?}\n").replace(' ', "")),
        "table" if options.is_empty() || options == ["-ef"] => print(&table(&pids)),
        "table" => print(&foreign(&pids, &options)?),
        _ => Err(Error::Refused("invalid format option")),
    }
}

/// What `ps -ef` prints.
fn table(pids: &[i32]) -> String {
    let mut text = String::from("UID          PID    PPID  C STIME TTY          TIME CMD\n");
    let (now, boot) = (uptime(), boot_time());
    for pid in pids {
        text.extend(row(*pid, now, boot));
    }
    text
}

/// `None` when the process is gone by now.
fn row(pid: i32, uptime: f64, boot: u64) -> Option<String> {
    let stat = process::stat(pid).ok()?;
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{pid}")).ok()?);
    let user = user_name(uid)
        .filter(|name| name.len() <= 8)
        .unwrap_or_else(|| uid.to_string());
    let hertz = rustix::param::clock_ticks_per_second();
    let (used, began) = (stat.ticks / hertz, stat.start_time / hertz);
    let lived = (uptime - began as f64).max(1.0);
    let percent = (used as f64 * 100.0 / lived).min(99.0) as u64;
    let (hour, minute) = ((boot + began) / 3600 % 24, (boot + began) / 60 % 60);
    let parent = stat.parent;
    let time = format!("{:02}:{:02}:{:02}", used / 3600, used / 60 % 60, used % 60);
    Some(format!(
        "{user:<8} {pid:>7} {parent:>7} {percent:>2} {hour:02}:{minute:02} {:<8} {time:>8} {}\n",
        tty(stat.tty),
        command(pid)
    ))
}

/// The device number of tty_nr (proc_pid_stat(5), field 7) by the names of the kernel's devices list.
fn tty(number: u32) -> String {
    let (major, minor) = (
        (number >> 8) & 0xfff,
        (number & 0xff) | ((number >> 12) & 0xfff00),
    );
    match major {
        0 => "?".into(),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => format!("{major}:{minor}"),
    }
}

/// The command line, or its name in brackets for what has none; a container cannot break the table with it.
fn command(pid: i32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line)
        .trim_end_matches('\0')
        .replace('\0', " ");
    let line = if line.is_empty() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("[{}]", name.trim_end())
    } else {
        line
    };
    line.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

fn uptime() -> f64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0)
}

/// Seconds since 1970, UTC.
fn boot_time() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// The host's ps(1) with its options, and of its lines the header and those of the container.
fn foreign(pids: &[i32], options: &[String]) -> Result<String, Error> {
    let output = Command::new("ps")
        .args(options)
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(|source| Error::System("execute ps", source))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(Error::Refused("ps(1) failed"));
    }
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head
        .split_whitespace()
        .position(|word| word == "PID")
        .ok_or(Error::Refused("couldn't find PID field in ps output"))?;
    let ours = |line: &&str| {
        line.split_whitespace()
            .nth(column)
            .and_then(|word| word.parse().ok())
            .is_some_and(|pid: i32| pids.contains(&pid))
    };
    Ok(std::iter::once(head)
        .chain(lines.filter(ours))
        .map(|line| format!("{line}\n"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_have_names() {
        for (number, name) in [
            (0, "?"),
            (0x0403, "tty3"),
            (0x0441, "ttyS1"),
            (0x8800, "pts/0"),
            (0x8805, "pts/5"),
        ] {
            assert_eq!(tty(number), name);
        }
    }

    #[test]
    fn one_self_has_a_row() {
        let row = row(std::process::id() as i32, uptime(), boot_time()).unwrap();
        assert!(
            row.split_whitespace().nth(1) == Some(&std::process::id().to_string()),
            "{row}"
        );
    }
}
