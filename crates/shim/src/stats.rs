//! A cgroup's counters as the messages that containerd's clients read: `io.containerd.cgroups.v1.Metrics` or v2's. Pure.

use cgroup::{Counter, IoEntry, Layout, Pressure, Stall, Stats};
use prost::Message;

use crate::api::google::protobuf::Any;
use crate::api::io::containerd::cgroups::{v1, v2};

pub fn metrics(stats: &Stats, layout: Layout) -> Any {
    match layout {
        Layout::V2 => Any {
            type_url: "io.containerd.cgroups.v2.Metrics".into(),
            value: unified(stats).encode_to_vec(),
        },
        _ => Any {
            type_url: "io.containerd.cgroups.v1.Metrics".into(),
            value: legacy(stats).encode_to_vec(),
        },
    }
}

fn legacy(stats: &Stats) -> v1::Metrics {
    let hugetlb = stats.hugetlb.iter().map(|(size, counter)| v1::HugetlbStat {
        usage: counter.usage,
        max: counter.peak,
        failcnt: counter.failures,
        pagesize: size.clone(),
    });
    v1::Metrics {
        hugetlb: hugetlb.collect(),
        pids: Some(v1::PidsStat {
            current: stats.pids.current,
            limit: bounded(stats.pids.limit),
        }),
        cpu: Some(v1::CpuStat {
            usage: Some(v1::CpuUsage {
                total: stats.cpu.total_ns,
                kernel: stats.cpu.system_ns,
                user: stats.cpu.user_ns,
                per_cpu: stats.cpu.percpu_ns.clone(),
            }),
            throttling: Some(v1::Throttle {
                periods: stats.cpu.periods,
                throttled_periods: stats.cpu.throttled_periods,
                throttled_time: stats.cpu.throttled_ns,
            }),
        }),
        memory: Some(legacy_memory(stats)),
        blkio: Some(legacy_io(stats)),
        memory_oom_control: Some(v1::MemoryOomControl {
            oom_kill_disable: 0,
            under_oom: stats.memory.under_oom.into(),
            oom_kill: stats.memory.oom_kills,
        }),
        ..v1::Metrics::default()
    }
}

/// Where there is no limit of pids containerd's messages say 0.
fn bounded(limit: u64) -> u64 {
    if limit == u64::MAX { 0 } else { limit }
}

fn entry(counter: Counter) -> Option<v1::MemoryEntry> {
    Some(v1::MemoryEntry {
        limit: counter.limit,
        usage: counter.usage,
        max: counter.peak,
        failcnt: counter.failures,
    })
}

fn legacy_memory(stats: &Stats) -> v1::MemoryStat {
    let raw = |name: &str| stats.memory.raw.get(name).copied().unwrap_or(0);
    v1::MemoryStat {
        cache: raw("cache"),
        rss: raw("rss"),
        rss_huge: raw("rss_huge"),
        mapped_file: raw("mapped_file"),
        dirty: raw("dirty"),
        writeback: raw("writeback"),
        pg_pg_in: raw("pgpgin"),
        pg_pg_out: raw("pgpgout"),
        pg_fault: raw("pgfault"),
        pg_maj_fault: raw("pgmajfault"),
        inactive_anon: raw("inactive_anon"),
        active_anon: raw("active_anon"),
        inactive_file: raw("inactive_file"),
        active_file: raw("active_file"),
        unevictable: raw("unevictable"),
        hierarchical_memory_limit: raw("hierarchical_memory_limit"),
        hierarchical_swap_limit: raw("hierarchical_memsw_limit"),
        total_cache: raw("total_cache"),
        total_rss: raw("total_rss"),
        total_rss_huge: raw("total_rss_huge"),
        total_mapped_file: raw("total_mapped_file"),
        total_dirty: raw("total_dirty"),
        total_writeback: raw("total_writeback"),
        total_pg_pg_in: raw("total_pgpgin"),
        total_pg_pg_out: raw("total_pgpgout"),
        total_pg_fault: raw("total_pgfault"),
        total_pg_maj_fault: raw("total_pgmajfault"),
        total_inactive_anon: raw("total_inactive_anon"),
        total_active_anon: raw("total_active_anon"),
        total_inactive_file: raw("total_inactive_file"),
        total_active_file: raw("total_active_file"),
        total_unevictable: raw("total_unevictable"),
        usage: entry(stats.memory.usage),
        swap: entry(stats.memory.memory_and_swap),
        kernel: entry(stats.memory.kernel),
        kernel_tcp: entry(stats.memory.kernel_tcp),
    }
}

fn legacy_io(stats: &Stats) -> v1::BlkIoStat {
    let list = |entries: &[IoEntry]| {
        let entry = |entry: &IoEntry| v1::BlkIoEntry {
            op: entry.op.clone(),
            device: String::new(),
            major: entry.major,
            minor: entry.minor,
            value: entry.value,
        };
        entries.iter().map(entry).collect()
    };
    v1::BlkIoStat {
        io_service_bytes_recursive: list(&stats.io.service_bytes),
        io_serviced_recursive: list(&stats.io.serviced),
        io_queued_recursive: list(&stats.io.queued),
        io_service_time_recursive: list(&stats.io.service_time),
        io_wait_time_recursive: list(&stats.io.wait_time),
        io_merged_recursive: list(&stats.io.merged),
        io_time_recursive: list(&stats.io.time),
        sectors_recursive: list(&stats.io.sectors),
    }
}

fn unified(stats: &Stats) -> v2::Metrics {
    let event = |name: &str| stats.memory.events.get(name).copied().unwrap_or(0);
    let hugetlb = stats.hugetlb.iter().map(|(size, counter)| v2::HugeTlbStat {
        current: counter.usage,
        max: counter.limit,
        pagesize: size.clone(),
        failcnt: counter.failures,
    });
    v2::Metrics {
        pids: Some(v2::PidsStat {
            current: stats.pids.current,
            limit: bounded(stats.pids.limit),
        }),
        cpu: Some(v2::CpuStat {
            usage_usec: stats.cpu.total_ns / 1000,
            user_usec: stats.cpu.user_ns / 1000,
            system_usec: stats.cpu.system_ns / 1000,
            nr_periods: stats.cpu.periods,
            nr_throttled: stats.cpu.throttled_periods,
            throttled_usec: stats.cpu.throttled_ns / 1000,
            psi: stats.cpu.pressure.map(psi),
            nr_bursts: stats.cpu.bursts,
            burst_usec: stats.cpu.burst_ns / 1000,
        }),
        memory: Some(unified_memory(stats)),
        io: Some(v2::IoStat {
            usage: unified_io(stats),
            psi: stats.io.pressure.map(psi),
        }),
        hugetlb: hugetlb.collect(),
        memory_events: Some(v2::MemoryEvents {
            low: event("low"),
            high: event("high"),
            max: event("max"),
            oom: event("oom"),
            oom_kill: event("oom_kill"),
            oom_group_kill: event("oom_group_kill"),
        }),
        ..v2::Metrics::default()
    }
}

fn unified_memory(stats: &Stats) -> v2::MemoryStat {
    let raw = |name: &str| stats.memory.raw.get(name).copied().unwrap_or(0);
    v2::MemoryStat {
        anon: raw("anon"),
        file: raw("file"),
        kernel_stack: raw("kernel_stack"),
        slab: raw("slab"),
        sock: raw("sock"),
        shmem: raw("shmem"),
        file_mapped: raw("file_mapped"),
        file_dirty: raw("file_dirty"),
        file_writeback: raw("file_writeback"),
        anon_thp: raw("anon_thp"),
        inactive_anon: raw("inactive_anon"),
        active_anon: raw("active_anon"),
        inactive_file: raw("inactive_file"),
        active_file: raw("active_file"),
        unevictable: raw("unevictable"),
        slab_reclaimable: raw("slab_reclaimable"),
        slab_unreclaimable: raw("slab_unreclaimable"),
        pgfault: raw("pgfault"),
        pgmajfault: raw("pgmajfault"),
        workingset_refault: raw("workingset_refault_anon") + raw("workingset_refault_file"),
        workingset_activate: raw("workingset_activate_anon") + raw("workingset_activate_file"),
        workingset_nodereclaim: raw("workingset_nodereclaim"),
        pgrefill: raw("pgrefill"),
        pgscan: raw("pgscan"),
        pgsteal: raw("pgsteal"),
        pgactivate: raw("pgactivate"),
        pgdeactivate: raw("pgdeactivate"),
        pglazyfree: raw("pglazyfree"),
        pglazyfreed: raw("pglazyfreed"),
        thp_fault_alloc: raw("thp_fault_alloc"),
        thp_collapse_alloc: raw("thp_collapse_alloc"),
        usage: stats.memory.usage.usage,
        usage_limit: stats.memory.usage.limit,
        swap_usage: stats.memory.swap.usage,
        swap_limit: stats.memory.swap.limit,
        max_usage: stats.memory.usage.peak,
        swap_max_usage: stats.memory.swap.peak,
        psi: stats.memory.pressure.map(psi),
    }
}

/// One message a device, of the entries that each hold one number.
fn unified_io(stats: &Stats) -> Vec<v2::IoEntry> {
    let mut devices: Vec<v2::IoEntry> = Vec::new();
    let counted = stats.io.service_bytes.iter().map(|entry| (entry, true));
    for (entry, bytes) in counted.chain(stats.io.serviced.iter().map(|entry| (entry, false))) {
        let at = devices
            .iter()
            .position(|device| (device.major, device.minor) == (entry.major, entry.minor));
        let at = at.unwrap_or_else(|| {
            devices.push(v2::IoEntry {
                major: entry.major,
                minor: entry.minor,
                ..v2::IoEntry::default()
            });
            devices.len() - 1
        });
        let device = &mut devices[at];
        match (entry.op.to_ascii_lowercase().as_str(), bytes) {
            ("read", true) => device.rbytes = entry.value,
            ("write", true) => device.wbytes = entry.value,
            ("read", false) => device.rios = entry.value,
            ("write", false) => device.wios = entry.value,
            _ => {}
        }
    }
    devices
}

fn psi(pressure: Pressure) -> v2::PsiStats {
    let data = |stall: Stall| {
        Some(v2::PsiData {
            avg10: stall.avg10,
            avg60: stall.avg60,
            avg300: stall.avg300,
            total: stall.total_us,
        })
    };
    v2::PsiStats {
        some: data(pressure.some),
        full: data(pressure.full),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_arrive_in_both_forms() {
        let mut stats = Stats::default();
        stats.cpu.total_ns = 5_000;
        stats.pids.limit = u64::MAX;
        stats.memory.usage = Counter {
            usage: 1,
            peak: 2,
            limit: 3,
            failures: 4,
        };
        stats.memory.raw.insert("total_rss".into(), 7);
        stats.io.service_bytes.push(IoEntry {
            major: 8,
            minor: 0,
            op: "Read".into(),
            value: 9,
        });
        let old = v1::Metrics::decode(&*metrics(&stats, Layout::Hybrid).value).unwrap();
        let memory = old.memory.unwrap();
        assert_eq!((memory.total_rss, memory.usage.unwrap().max), (7, 2));
        assert_eq!(
            (
                old.cpu.unwrap().usage.unwrap().total,
                old.pids.unwrap().limit
            ),
            (5_000, 0)
        );
        let new = v2::Metrics::decode(&*metrics(&stats, Layout::V2).value).unwrap();
        assert_eq!(
            (new.cpu.unwrap().usage_usec, new.io.unwrap().usage[0].rbytes),
            (5, 9)
        );
    }
}
