//! Reading the counters of v2.

use std::path::Path;

use crate::stats::*;
use crate::stats_v1::{list, page_sizes, pids};
use crate::{Cgroup, Error, Layout, file};

impl Cgroup {
    /// Every counter of the container; without a directory all are zero.
    pub fn stats(&self) -> Result<Stats, Error> {
        match (self.layout, &self.v2) {
            (Layout::V2, Some(dir)) => stats(&dir.dir()),
            _ => self.stats_v1(),
        }
    }
}

fn stats(dir: &Path) -> Result<Stats, Error> {
    let mut stats = Stats {
        cpu: cpu(dir)?,
        memory: memory(dir)?,
        pids: pids(dir)?,
        io: io(dir)?,
        ..Stats::default()
    };
    stats.cpuset.cpus = list(&dir.join("cpuset.cpus.effective"))?;
    stats.cpuset.mems = list(&dir.join("cpuset.mems.effective"))?;
    for size in page_sizes(dir, ".max") {
        let number = |name: &str| file::number(&dir.join(format!("hugetlb.{size}.{name}")));
        let failures = file::keyed(&dir.join(format!("hugetlb.{size}.events")))?
            .get("max")
            .copied()
            .unwrap_or_default();
        let pages = HugetlbStats {
            usage: number("current")?,
            peak: 0,
            limit: number("max")?,
            failures,
        };
        stats.hugetlb.insert(size, pages);
    }
    Ok(stats)
}

fn cpu(dir: &Path) -> Result<CpuStats, Error> {
    let stat = file::keyed(&dir.join("cpu.stat"))?;
    let value = |key: &str| stat.get(key).copied().unwrap_or_default();
    let ns = |key: &str| value(key).saturating_mul(1000);
    Ok(CpuStats {
        total_ns: ns("usage_usec"),
        user_ns: ns("user_usec"),
        system_ns: ns("system_usec"),
        periods: value("nr_periods"),
        throttled_periods: value("nr_throttled"),
        throttled_ns: ns("throttled_usec"),
        bursts: value("nr_bursts"),
        burst_ns: ns("burst_usec"),
        pressure: pressure(&dir.join("cpu.pressure"))?,
        ..CpuStats::default()
    })
}

fn memory(dir: &Path) -> Result<MemoryStats, Error> {
    let raw = file::keyed(&dir.join("memory.stat"))?;
    let events = file::keyed(&dir.join("memory.events"))?;
    let event = |key: &str| events.get(key).copied().unwrap_or_default();
    let counter = |name: &str, failures| -> Result<Counter, Error> {
        let number = |file: &str| file::number(&dir.join(format!("{name}.{file}")));
        Ok(Counter {
            usage: number("current")?,
            peak: number("peak")?,
            limit: number("max")?,
            failures,
        })
    };
    let swap_events = file::keyed(&dir.join("memory.swap.events"))?;
    let usage = counter("memory", event("max"))?;
    let swap = counter(
        "memory.swap",
        swap_events.get("max").copied().unwrap_or_default(),
    )?;
    let both = |a: u64, b: u64| a.saturating_add(b);
    Ok(MemoryStats {
        memory_and_swap: Counter {
            usage: both(usage.usage, swap.usage),
            peak: 0,
            limit: both(usage.limit, swap.limit),
            failures: 0,
        },
        usage,
        swap,
        kernel: Counter {
            usage: raw.get("kernel").copied().unwrap_or_default(),
            ..Counter::default()
        },
        kernel_tcp: Counter {
            usage: raw.get("sock").copied().unwrap_or_default(),
            ..Counter::default()
        },
        cache: raw.get("file").copied().unwrap_or_default(),
        use_hierarchy: true,
        oom_kills: event("oom_kill"),
        under_oom: false,
        pressure: pressure(&dir.join("memory.pressure"))?,
        raw,
        events,
    })
}

/// Lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
fn io(dir: &Path) -> Result<IoStats, Error> {
    let path = dir.join("io.stat");
    let text = file::optional(&path)?.unwrap_or_default();
    let mut stats = IoStats {
        pressure: pressure(&dir.join("io.pressure"))?,
        ..IoStats::default()
    };
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else {
            continue;
        };
        let (major, minor) = (file::parse(&path, major)?, file::parse(&path, minor)?);
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut stats.service_bytes, "Read"),
                "wbytes" => (&mut stats.service_bytes, "Write"),
                "dbytes" => (&mut stats.service_bytes, "Discard"),
                "rios" => (&mut stats.serviced, "Read"),
                "wios" => (&mut stats.serviced, "Write"),
                "dios" => (&mut stats.serviced, "Discard"),
                _ => continue,
            };
            list.push(IoEntry {
                major,
                minor,
                op: op.to_owned(),
                value: file::parse(&path, value)?,
            });
        }
    }
    Ok(stats)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and the same with `full`; `None` where the kernel keeps none.
fn pressure(path: &Path) -> Result<Option<Pressure>, Error> {
    let Some(text) = file::optional(path)? else {
        return Ok(None);
    };
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let stall = if kind == "some" {
            &mut pressure.some
        } else {
            &mut pressure.full
        };
        for (key, value) in rest.split(' ').filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => stall.avg10 = value.parse().unwrap_or_default(),
                "avg60" => stall.avg60 = value.parse().unwrap_or_default(),
                "avg300" => stall.avg300 = value.parse().unwrap_or_default(),
                "total" => stall.total_us = file::parse(path, value)?,
                _ => {}
            }
        }
    }
    Ok(Some(pressure))
}
