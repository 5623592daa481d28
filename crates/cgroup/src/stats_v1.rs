//! Reading the counters of v1.

use std::path::{Path, PathBuf};

use crate::stats::*;
use crate::{Cgroup, Error, file, oom};

/// Clock ticks a second, in which cpuacct.stat counts (USER_HZ is 100 on every architecture served).
const TICK_NS: u64 = 10_000_000;

impl Cgroup {
    pub(crate) fn stats_v1(&self) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        let dir = |controller: &str| self.v1_dir(controller);
        if let Some(dir) = dir("cpuacct") {
            cpuacct(&dir, &mut stats.cpu)?;
        }
        if let Some(dir) = dir("cpu") {
            throttling(&dir, &mut stats.cpu)?;
        }
        if let Some(dir) = dir("cpuset") {
            stats.cpuset = cpuset(&dir)?;
        }
        if let Some(dir) = dir("memory") {
            stats.memory = memory(&dir)?;
        }
        if let Some(dir) = dir("pids") {
            stats.pids = pids(&dir)?;
        }
        if let Some(dir) = dir("blkio") {
            stats.io = blkio(&dir)?;
        }
        if let Some(dir) = dir("hugetlb") {
            hugetlb(&dir, &mut stats)?;
        }
        Ok(stats)
    }

    /// The container's directory in the hierarchy of a controller.
    pub(crate) fn v1_dir(&self, controller: &str) -> Option<PathBuf> {
        let mut dirs = self.v1.iter();
        dirs.find(|dir| dir.controllers.iter().any(|name| name == controller))
            .map(|dir| dir.dir())
    }
}

fn cpuacct(dir: &Path, cpu: &mut CpuStats) -> Result<(), Error> {
    (cpu.total_ns, cpu.user_ns, cpu.system_ns) = spent(dir)?;
    cpu.percpu_ns = file::numbers(&dir.join("cpuacct.usage_percpu"))?;
    cpu.percpu_user_ns = file::numbers(&dir.join("cpuacct.usage_percpu_user"))?;
    cpu.percpu_system_ns = file::numbers(&dir.join("cpuacct.usage_percpu_sys"))?;
    Ok(())
}

/// All, user and system time, in nanoseconds.
pub(crate) fn spent(dir: &Path) -> Result<(u64, u64, u64), Error> {
    let number = |name: &str| file::number(&dir.join(format!("cpuacct.{name}")));
    let (total, user, system) = (
        number("usage")?,
        number("usage_user")?,
        number("usage_sys")?,
    );
    if user + system > 0 {
        return Ok((total, user, system));
    }
    // The precise pair where the kernel has it (4.6), else ticks.
    let ticks = file::keyed(&dir.join("cpuacct.stat"))?;
    let ns = |key: &str| ticks.get(key).copied().unwrap_or_default() * TICK_NS;
    Ok((total, ns("user"), ns("system")))
}

fn throttling(dir: &Path, cpu: &mut CpuStats) -> Result<(), Error> {
    let stat = file::keyed(&dir.join("cpu.stat"))?;
    let value = |key: &str| stat.get(key).copied().unwrap_or_default();
    cpu.periods = value("nr_periods");
    cpu.throttled_periods = value("nr_throttled");
    cpu.throttled_ns = value("throttled_time");
    cpu.bursts = value("nr_bursts");
    cpu.burst_ns = value("burst_time");
    Ok(())
}

fn cpuset(dir: &Path) -> Result<CpusetStats, Error> {
    let number = |name: &str| file::number(&dir.join(format!("cpuset.{name}")));
    let level = file::optional(&dir.join("cpuset.sched_relax_domain_level"))?;
    Ok(CpusetStats {
        cpus: list(&dir.join("cpuset.cpus"))?,
        mems: list(&dir.join("cpuset.mems"))?,
        cpu_exclusive: number("cpu_exclusive")?,
        mem_exclusive: number("mem_exclusive")?,
        mem_hardwall: number("mem_hardwall")?,
        memory_migrate: number("memory_migrate")?,
        memory_spread_page: number("memory_spread_page")?,
        memory_spread_slab: number("memory_spread_slab")?,
        memory_pressure: number("memory_pressure")?,
        sched_load_balance: number("sched_load_balance")?,
        sched_relax_domain_level: level.and_then(|text| text.parse().ok()).unwrap_or_default(),
    })
}

/// A list as `0-3,5`.
pub(crate) fn list(path: &Path) -> Result<Vec<u16>, Error> {
    let text = file::optional(path)?.unwrap_or_default();
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let bound = |text: &str| {
            text.parse::<u16>().map_err(|_| Error::Content {
                path: path.to_owned(),
                content: text.to_owned(),
            })
        };
        numbers.extend(bound(first)?..=bound(last)?);
    }
    Ok(numbers)
}

fn counter(dir: &Path, prefix: &str) -> Result<Counter, Error> {
    let number = |name: &str| file::number(&dir.join(format!("{prefix}.{name}")));
    Ok(Counter {
        usage: number("usage_in_bytes")?,
        peak: number("max_usage_in_bytes")?,
        limit: number("limit_in_bytes")?,
        failures: number("failcnt")?,
    })
}

fn memory(dir: &Path) -> Result<MemoryStats, Error> {
    let raw = file::keyed(&dir.join("memory.stat"))?;
    let control = file::keyed(&dir.join("memory.oom_control"))?;
    Ok(MemoryStats {
        usage: counter(dir, "memory")?,
        memory_and_swap: counter(dir, "memory.memsw")?,
        kernel: counter(dir, "memory.kmem")?,
        kernel_tcp: counter(dir, "memory.kmem.tcp")?,
        cache: raw.get("cache").copied().unwrap_or_default(),
        use_hierarchy: file::number(&dir.join("memory.use_hierarchy"))? == 1,
        raw,
        oom_kills: oom::count(&dir.join("memory.oom_control"))?,
        under_oom: control.get("under_oom") == Some(&1),
        ..MemoryStats::default()
    })
}

/// The same files on both layouts.
pub(crate) fn pids(dir: &Path) -> Result<PidsStats, Error> {
    let refused = file::keyed(&dir.join("pids.events"))?.get("max").copied();
    Ok(PidsStats {
        current: file::number(&dir.join("pids.current"))?,
        limit: file::number(&dir.join("pids.max"))?,
        refused,
    })
}

fn blkio(dir: &Path) -> Result<IoStats, Error> {
    // The scheduler's own counters where it keeps some, else those of the throttling layer, which sees everything.
    let first = |names: [&str; 3]| -> Result<Vec<IoEntry>, Error> {
        for name in names {
            let entries = io_entries(&dir.join(format!("blkio.{name}_recursive")))?;
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        Ok(Vec::new())
    };
    let of = |name: &str| first([name, &format!("bfq.{name}"), &format!("throttle.{name}")]);
    Ok(IoStats {
        service_bytes: of("io_service_bytes")?,
        serviced: of("io_serviced")?,
        queued: of("io_queued")?,
        service_time: of("io_service_time")?,
        wait_time: of("io_wait_time")?,
        merged: of("io_merged")?,
        time: of("time")?,
        sectors: of("sectors")?,
        pressure: None,
    })
}

/// Lines `8:0 Read 4096` or `8:0 12`; the line `Total 4096` sums the devices up and is left out.
fn io_entries(path: &Path) -> Result<Vec<IoEntry>, Error> {
    let text = file::optional(path)?.unwrap_or_default();
    let mut entries = Vec::new();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let (device, op, value) = match words[..] {
            [device, op, value] => (device, op, value),
            [device, value] => (device, "", value),
            _ => continue,
        };
        let Some((major, minor)) = device.split_once(':') else {
            continue;
        };
        let number = |text: &str| file::parse(path, text);
        entries.push(IoEntry {
            major: number(major)?,
            minor: number(minor)?,
            op: op.to_owned(),
            value: number(value)?,
        });
    }
    Ok(entries)
}

fn hugetlb(dir: &Path, stats: &mut Stats) -> Result<(), Error> {
    for size in page_sizes(dir, ".limit_in_bytes") {
        let Counter {
            usage,
            peak,
            limit,
            failures,
        } = counter(dir, &format!("hugetlb.{size}"))?;
        stats.hugetlb.insert(
            size,
            HugetlbStats {
                usage,
                peak,
                limit,
                failures,
            },
        );
    }
    Ok(())
}

/// The page sizes for which `dir` has limits, by the names of its files.
pub(crate) fn page_sizes(dir: &Path, suffix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| {
            Some(
                name.strip_prefix("hugetlb.")?
                    .strip_suffix(suffix)?
                    .to_owned(),
            )
        })
        .filter(|size| !size.contains('.'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_lines_are_read() {
        let dir = std::env::temp_dir().join(format!("stockade-stats-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("list"), "0-2,5\n").unwrap();
        std::fs::write(
            dir.join("io"),
            "8:0 Read 10\n8:0 Total 10\n8:16 7\nTotal 10\n",
        )
        .unwrap();
        let (list, io) = (list(&dir.join("list")), io_entries(&dir.join("io")));
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(list.unwrap(), [0, 1, 2, 5]);
        let io = io.unwrap();
        assert_eq!(io.len(), 3);
        assert_eq!(
            io[2],
            IoEntry {
                major: 8,
                minor: 16,
                op: String::new(),
                value: 7
            }
        );
    }
}
