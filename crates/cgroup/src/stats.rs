//! What a cgroup tells of its processes: one set of values for v1 and v2. A value that the layout does not count is
//! zero or absent. "No limit" is what the kernel prints: on v2 and for pids `u64::MAX`, for v1 memory its largest number of pages.

use std::collections::BTreeMap;

/// All counters of one container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    pub cpu: CpuStats,
    pub cpuset: CpusetStats,
    pub memory: MemoryStats,
    pub pids: PidsStats,
    pub io: IoStats,
    /// By page size, as `2MB`.
    pub hugetlb: BTreeMap<String, HugetlbStats>,
}

/// Nanoseconds, periods.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CpuStats {
    pub total_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    /// By processor; v1 only.
    pub percpu_ns: Vec<u64>,
    pub percpu_user_ns: Vec<u64>,
    pub percpu_system_ns: Vec<u64>,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
    pub bursts: u64,
    pub burst_ns: u64,
    pub pressure: Option<Pressure>,
}

/// Lists of numbers as the kernel prints them; v1's extras are zero on v2.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CpusetStats {
    pub cpus: Vec<u16>,
    pub mems: Vec<u16>,
    pub cpu_exclusive: u64,
    pub mem_exclusive: u64,
    pub mem_hardwall: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryStats {
    pub usage: Counter,
    /// Memory and swap together (v1's memsw; on v2 the sum of both, as runc prints it).
    pub memory_and_swap: Counter,
    /// Swap alone; v2 only.
    pub swap: Counter,
    pub kernel: Counter,
    pub kernel_tcp: Counter,
    /// Page cache.
    pub cache: u64,
    pub use_hierarchy: bool,
    /// Every line of `memory.stat`.
    pub raw: BTreeMap<String, u64>,
    /// v2's `memory.events` (low, high, max, oom, oom_kill).
    pub events: BTreeMap<String, u64>,
    /// Processes that the kernel killed because a limit of this container was reached.
    pub oom_kills: u64,
    /// v1: whether processes are waiting for memory right now.
    pub under_oom: bool,
    pub pressure: Option<Pressure>,
}

/// One counted thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    pub usage: u64,
    pub peak: u64,
    pub limit: u64,
    pub failures: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PidsStats {
    pub current: u64,
    pub limit: u64,
    /// Forks that the limit refused; `None` where the kernel does not count them (v1 before 4.3).
    pub refused: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct IoStats {
    pub service_bytes: Vec<IoEntry>,
    pub serviced: Vec<IoEntry>,
    pub queued: Vec<IoEntry>,
    pub service_time: Vec<IoEntry>,
    pub wait_time: Vec<IoEntry>,
    pub merged: Vec<IoEntry>,
    pub time: Vec<IoEntry>,
    pub sectors: Vec<IoEntry>,
    pub pressure: Option<Pressure>,
}

/// One number of one device; `op` as the kernel's word (`Read`, `Write`, `Total`…) and empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoEntry {
    pub major: u64,
    pub minor: u64,
    pub op: String,
    pub value: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HugetlbStats {
    pub usage: u64,
    pub peak: u64,
    pub limit: u64,
    pub failures: u64,
}

/// Pressure stall information; v2 only.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    pub some: Stall,
    pub full: Stall,
}

/// Percent over 10, 60 and 300 seconds; microseconds since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total_us: u64,
}
