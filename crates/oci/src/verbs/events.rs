//! `events`: what a container uses, once or as a stream, and when it ran out of memory.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use cgroup::{Counter, IoEntry, Stats};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use spec::Status;

use super::{PLAIN, id};
use crate::args::{Args, Flag};
use crate::cli::{Context, Verb, print};
use crate::error::Error;
use crate::store::Container;

pub const EVENTS: Verb = Verb {
    name: "events",
    about: "print what a container uses, and when it runs out of memory, as JSON lines",
    flags: &[
        Flag::switch("stats", "once, then return"),
        Flag::value(
            "interval",
            "DURATION",
            "between two lines: 500ms, 5s, 1m (5s)",
        ),
    ],
    run: events,
    ..PLAIN
};

fn events(context: &Context, args: &Args) -> Result<u8, Error> {
    let interval =
        duration(args.text("interval")?.unwrap_or("5s")).filter(|interval| !interval.is_zero());
    let interval = interval.ok_or(Error::Refused("duration interval must be greater than 0"))?;
    let container = context.store()?.find(&id(args))?;
    if container.status() == Status::Stopped {
        return Err(Error::NoStats(container.record.id));
    }
    if args.has("stats") {
        return print_stats(&container);
    }
    stream(&container, interval)
}

/// How long the kernel's count may lag behind its event, and how often it is looked at meanwhile.
const LAG: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

/// Ends with the container.
fn stream(container: &Container, interval: Duration) -> Result<u8, Error> {
    let Some(init) = container.record.init else {
        return Err(Error::NoStats(container.record.id.clone()));
    };
    let Some(pidfd) = init.open() else {
        return Ok(0);
    };
    let watch = container.record.cgroup.oom()?;
    let mut kills = watch.count()?;
    let mut next = Instant::now();
    let mut lagging = next;
    while init.alive() {
        let now = Instant::now();
        if now >= next {
            print_stats(container)?;
            next = now + interval;
        }
        let time = next.saturating_duration_since(Instant::now());
        let time = if now < lagging { time.min(LOOK) } else { time };
        if wait(pidfd.as_fd(), watch.as_fd(), time)? {
            lagging = Instant::now() + LAG;
        }
        let count = match watch.count() {
            // The cgroup went with the container.
            Err(_) if !init.alive() => break,
            count => count?,
        };
        if count > kills {
            (kills, lagging) = (count, now);
            print_line(&json!({"type": "oom", "id": container.record.id}))?;
        }
    }
    Ok(0)
}

/// Waits for the container's end, its want of memory or the time; says whether it was memory.
fn wait(end: BorrowedFd<'_>, oom: BorrowedFd<'_>, time: Duration) -> Result<bool, Error> {
    let timeout = Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    };
    let mut fds = [
        PollFd::from_borrowed_fd(end, PollFlags::IN),
        PollFd::from_borrowed_fd(oom, PollFlags::IN | PollFlags::PRI),
    ];
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => Ok(!fds[1].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(Error::System("poll", error.into())),
    }
}

fn print_stats(container: &Container) -> Result<u8, Error> {
    let data = document(&container.record.cgroup.stats()?);
    print_line(&json!({"type": "stats", "id": container.record.id, "data": data}))
}

fn print_line(line: &Value) -> Result<u8, Error> {
    print(&format!("{line}\n"))
}

/// runc's document (its `types/events.go`); kernel and user stand as runc has them.
fn document(stats: &Stats) -> Value {
    let cpu = &stats.cpu;
    json!({
        "cpu": {
            "usage": {
                "total": cpu.total_ns,
                "percpu": cpu.percpu_ns,
                "percpu_kernel": cpu.percpu_system_ns,
                "percpu_user": cpu.percpu_user_ns,
                "kernel": cpu.system_ns,
                "user": cpu.user_ns,
            },
            "throttling": {"periods": cpu.periods, "throttledPeriods": cpu.throttled_periods, "throttledTime": cpu.throttled_ns},
        },
        "cpuset": cpuset(stats),
        "memory": {
            "cache": stats.memory.cache,
            "usage": counter(&stats.memory.usage),
            "swap": counter(&stats.memory.memory_and_swap),
            "kernel": counter(&stats.memory.kernel),
            "kernelTCP": counter(&stats.memory.kernel_tcp),
            "raw": stats.memory.raw,
        },
        "pids": {"current": stats.pids.current, "limit": unlimited_is_zero(stats.pids.limit)},
        "blkio": blkio(stats),
        "hugetlb": hugetlb(stats),
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

fn cpuset(stats: &Stats) -> Value {
    let set = &stats.cpuset;
    json!({
        "cpus": set.cpus,
        "cpu_exclusive": set.cpu_exclusive,
        "mems": set.mems,
        "mem_hardwall": set.mem_hardwall,
        "mem_exclusive": set.mem_exclusive,
        "memory_migrate": set.memory_migrate,
        "memory_spread_page": set.memory_spread_page,
        "memory_spread_slab": set.memory_spread_slab,
        "memory_pressure": set.memory_pressure,
        "sched_load_balance": set.sched_load_balance,
        "sched_relax_domain_level": set.sched_relax_domain_level,
    })
}

fn counter(counter: &Counter) -> Value {
    json!({"limit": counter.limit, "usage": counter.usage, "max": counter.peak, "failcnt": counter.failures})
}

fn unlimited_is_zero(limit: u64) -> u64 {
    if limit == u64::MAX { 0 } else { limit }
}

fn blkio(stats: &Stats) -> Value {
    let io = &stats.io;
    let mut lists = serde_json::Map::new();
    for (name, list) in [
        ("ioServiceBytesRecursive", &io.service_bytes),
        ("ioServicedRecursive", &io.serviced),
        ("ioQueueRecursive", &io.queued),
        ("ioServiceTimeRecursive", &io.service_time),
        ("ioWaitTimeRecursive", &io.wait_time),
        ("ioMergedRecursive", &io.merged),
        ("ioTimeRecursive", &io.time),
        ("sectorsRecursive", &io.sectors),
    ] {
        if !list.is_empty() {
            lists.insert(name.into(), list.iter().map(io_entry).collect());
        }
    }
    lists.into()
}

fn io_entry(entry: &IoEntry) -> Value {
    json!({"major": entry.major, "minor": entry.minor, "op": entry.op, "value": entry.value})
}

fn hugetlb(stats: &Stats) -> Value {
    let sizes = stats.hugetlb.iter();
    let one = |(size, pages): (&String, &cgroup::HugetlbStats)| {
        (
            size.clone(),
            json!({"usage": pages.usage, "max": pages.peak, "failcnt": pages.failures}),
        )
    };
    sizes
        .map(one)
        .collect::<serde_json::Map<String, Value>>()
        .into()
}

/// Go's durations, whole numbers only: `500ms`, `5s`, `1m30s`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => Duration::from_nanos(1),
            "us" | "µs" => Duration::from_micros(1),
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return None,
        };
        rest = &rest[end..];
        total = total.checked_add(unit.checked_mul(u32::try_from(number).ok()?)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (text, millis) in [("500ms", 500), ("5s", 5_000), ("1m30s", 90_000), ("0s", 0)] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["5", "s", "1x", "-1s", "99999999999999999999s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
