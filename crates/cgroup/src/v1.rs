//! The specification's resources as settings of cgroup v1 (kernel: Documentation/admin-guide/cgroup-v1/).
//!
//! In the specification 0 means "not set" wherever 0 would be no limit at all; -1 lifts a limit.

use spec::{BlockIo, Cpu, HugepageLimit, Memory, Network, Resources};

use crate::setting::Setting;
use crate::{Error, Warning};

/// Every setting but the pair of memory limits, whose order depends on what the kernel holds ([`memory_pair`]), and the
/// device rules.
pub(crate) fn settings(
    resources: &Resources,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Setting>, Error> {
    if let Some(key) = resources.unified.keys().next() {
        let what = format!("linux.resources.unified.{key}");
        return Err(Error::NoController {
            what,
            controller: "unified",
            state: "cgroup v2's, and this host's limits are v1's",
        });
    }
    let mut list = Vec::new();
    if let Some(settings) = &resources.cpu {
        cpu(settings, &mut list);
    }
    if let Some(settings) = &resources.memory {
        memory(settings, &mut list, warnings)?;
    }
    list.extend(pids(resources));
    if let Some(settings) = &resources.block_io {
        block_io(settings, &mut list)?;
    }
    for limit in &resources.hugepage_limits {
        hugepages(limit, &mut list)?;
    }
    if let Some(settings) = &resources.network {
        network(settings, &mut list);
    }
    Ok(list)
}

/// The same in both versions.
pub(crate) fn pids(resources: &Resources) -> Option<Setting> {
    let limit = resources.pids.as_ref()?.limit?;
    Some(Setting::new(
        "pids limit",
        "pids",
        "pids.max",
        limit_or_max(limit),
    ))
}

pub(crate) fn limit_or_max(limit: i64) -> String {
    if limit > 0 {
        limit.to_string()
    } else {
        "max".to_owned()
    }
}

fn cpu(cpu: &Cpu, list: &mut Vec<Setting>) {
    let mut set = |what: &str, file: &str, value: Option<String>| {
        if let Some(value) = value {
            list.push(Setting::new(
                what,
                if file.starts_with("cpuset") {
                    "cpuset"
                } else {
                    "cpu"
                },
                file,
                value,
            ));
        }
    };
    let number = |value: Option<u64>| {
        value
            .filter(|value| *value != 0)
            .map(|value| value.to_string())
    };
    let signed = |value: Option<i64>| {
        value
            .filter(|value| *value != 0)
            .map(|value| value.to_string())
    };
    set("cpu shares", "cpu.shares", number(cpu.shares));
    set(
        "cpu realtime period",
        "cpu.rt_period_us",
        number(cpu.realtime_period),
    );
    set(
        "cpu realtime runtime",
        "cpu.rt_runtime_us",
        signed(cpu.realtime_runtime),
    );
    set("cpu period", "cpu.cfs_period_us", number(cpu.period));
    set("cpu quota", "cpu.cfs_quota_us", signed(cpu.quota));
    set(
        "cpu burst",
        "cpu.cfs_burst_us",
        cpu.burst.map(|burst| burst.to_string()),
    );
    set(
        "cpu idle",
        "cpu.idle",
        cpu.idle.map(|idle| idle.to_string()),
    );
    set(
        "cpuset cpus",
        "cpuset.cpus",
        Some(cpu.cpus.clone()).filter(|text| !text.is_empty()),
    );
    set(
        "cpuset mems",
        "cpuset.mems",
        Some(cpu.mems.clone()).filter(|text| !text.is_empty()),
    );
}

fn memory(
    memory: &Memory,
    list: &mut Vec<Setting>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    if memory.kernel.is_some_and(|limit| limit != 0) {
        warnings.push(Warning::KernelMemory("kernel"));
    }
    if let Some(limit) = memory.reservation.filter(|limit| *limit != 0) {
        list.push(Setting::new(
            "memory reservation",
            "memory",
            "memory.soft_limit_in_bytes",
            limit,
        ));
    }
    if let Some(limit) = memory.kernel_tcp.filter(|limit| *limit != 0) {
        list.push(Setting::new(
            "memory kernelTCP",
            "memory",
            "memory.kmem.tcp.limit_in_bytes",
            limit,
        ));
    }
    if let Some(value) = memory.swappiness {
        if value > 100 {
            return Err(Error::Value {
                what: "memory swappiness".into(),
                value: value.to_string(),
                why: "it goes from 0 to 100",
            });
        }
        list.push(Setting::new(
            "memory swappiness",
            "memory",
            "memory.swappiness",
            value,
        ));
    }
    if memory.disable_oom_killer == Some(true) {
        list.push(Setting::new(
            "memory disableOOMKiller",
            "memory",
            "memory.oom_control",
            1,
        ));
    }
    Ok(())
}

/// The limits of memory and of memory with swap. The kernel refuses whichever write would put the first above the
/// second, so that with both given the order follows from `held`, the limit of memory with swap in force.
pub(crate) fn memory_pair(
    memory: &Memory,
    held: impl FnOnce() -> Result<u64, Error>,
) -> Result<Vec<Setting>, Error> {
    let given = |limit: Option<i64>| limit.filter(|limit| *limit != 0);
    let limit = given(memory.limit);
    // Lifting the limit of memory alone would be refused while that with swap stands.
    let swap = given(memory.swap).or(limit.filter(|limit| *limit == -1));
    let one = Setting::new(
        "memory limit",
        "memory",
        "memory.limit_in_bytes",
        limit.unwrap_or_default(),
    );
    let both = Setting::new(
        "memory swap",
        "memory",
        "memory.memsw.limit_in_bytes",
        swap.unwrap_or_default(),
    );
    let both = if memory.swap.is_none_or(|swap| swap <= 0) {
        both.needless_if_absent()
    } else {
        both
    };
    Ok(match (limit, swap) {
        (None, None) => Vec::new(),
        (Some(_), None) => vec![one],
        (None, Some(_)) => vec![both],
        (Some(limit), Some(swap)) if swap != -1 && (limit == -1 || swap < limit) => {
            let (what, value) = ("memory swap".to_owned(), swap.to_string());
            return Err(Error::Value {
                what,
                value,
                why: "it counts memory and swap together, so it cannot be below the memory limit",
            });
        }
        (Some(_), Some(swap)) if swap == -1 || held()? < swap as u64 => vec![both, one],
        (Some(_), Some(_)) => vec![one, both],
    })
}

fn block_io(io: &BlockIo, list: &mut Vec<Setting>) -> Result<(), Error> {
    let weight = |file: &str, value: String| {
        let setting = Setting::new("blockIO weight", "blkio", &format!("blkio.{file}"), value);
        setting.or_file(&format!("blkio.bfq.{file}"))
    };
    if let Some(value) = io.weight.filter(|value| *value != 0) {
        list.push(weight("weight", io_weight(value)?.to_string()));
    }
    if let Some(value) = io.leaf_weight.filter(|value| *value != 0) {
        list.push(Setting::new(
            "blockIO leafWeight",
            "blkio",
            "blkio.leaf_weight",
            value,
        ));
    }
    for device in &io.weight_device {
        let at = format!("{}:{}", device.major, device.minor);
        if let Some(value) = device.weight {
            list.push(weight(
                "weight_device",
                format!("{at} {}", io_weight(value)?),
            ));
        }
        if let Some(value) = device.leaf_weight {
            list.push(Setting::new(
                "blockIO leafWeight",
                "blkio",
                "blkio.leaf_weight_device",
                format!("{at} {value}"),
            ));
        }
    }
    throttles(io, list);
    Ok(())
}

fn throttles(io: &BlockIo, list: &mut Vec<Setting>) {
    let throttles = [
        (
            "ReadBpsDevice",
            "read_bps_device",
            &io.throttle_read_bps_device,
        ),
        (
            "WriteBpsDevice",
            "write_bps_device",
            &io.throttle_write_bps_device,
        ),
        (
            "ReadIOPSDevice",
            "read_iops_device",
            &io.throttle_read_iops_device,
        ),
        (
            "WriteIOPSDevice",
            "write_iops_device",
            &io.throttle_write_iops_device,
        ),
    ];
    for (what, file, devices) in throttles {
        let (what, file) = (
            format!("blockIO throttle{what}"),
            format!("blkio.throttle.{file}"),
        );
        for device in devices {
            let value = format!("{}:{} {}", device.major, device.minor, device.rate);
            list.push(Setting::new(&what, "blkio", &file, value));
        }
    }
}

pub(crate) fn io_weight(weight: u16) -> Result<u16, Error> {
    match weight {
        10..=1000 => Ok(weight),
        _ => Err(Error::Value {
            what: "blockIO weight".into(),
            value: weight.to_string(),
            why: "it goes from 10 to 1000",
        }),
    }
}

fn hugepages(limit: &HugepageLimit, list: &mut Vec<Setting>) -> Result<(), Error> {
    let size = page_size(limit)?;
    let what = format!("hugepage limit {size}");
    list.push(Setting::new(
        &what,
        "hugetlb",
        &format!("hugetlb.{size}.limit_in_bytes"),
        limit.limit,
    ));
    let reserved = format!("hugetlb.{size}.rsvd.limit_in_bytes");
    list.push(Setting::new(&what, "hugetlb", &reserved, limit.limit).needless_if_absent());
    Ok(())
}

/// The size as the files' names have it, checked because it becomes part of a name.
pub(crate) fn page_size(limit: &HugepageLimit) -> Result<&str, Error> {
    let size = limit.page_size.as_str();
    let digits = ["KB", "MB", "GB"]
        .iter()
        .find_map(|unit| size.strip_suffix(unit));
    match digits {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(size)
        }
        _ => Err(Error::Value {
            what: "hugepage size".into(),
            value: size.to_owned(),
            why: "a size is written as 64KB, 2MB or 1GB",
        }),
    }
}

fn network(network: &Network, list: &mut Vec<Setting>) {
    if let Some(class) = network.class_id.filter(|class| *class != 0) {
        list.push(Setting::new(
            "network classID",
            "net_cls",
            "net_cls.classid",
            class,
        ));
    }
    for priority in &network.priorities {
        let value = format!("{} {}", priority.name, priority.priority);
        list.push(Setting::new(
            "network priorities",
            "net_prio",
            "net_prio.ifpriomap",
            value,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[Setting]) -> Vec<(&str, &str)> {
        list.iter()
            .map(|setting| (setting.files[0].as_str(), setting.value.as_str()))
            .collect()
    }

    fn pair(
        limit: Option<i64>,
        swap: Option<i64>,
        held: u64,
    ) -> Result<Vec<(String, String)>, Error> {
        let memory = Memory {
            limit,
            swap,
            ..Memory::default()
        };
        let list = memory_pair(&memory, || Ok(held))?;
        Ok(list
            .into_iter()
            .map(|setting| {
                (
                    setting.files[0]
                        .replace("_in_bytes", "")
                        .replace("memory.", ""),
                    setting.value,
                )
            })
            .collect())
    }

    fn pairs(text: &[(&str, &str)]) -> Vec<(String, String)> {
        text.iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn the_memory_limits_are_written_in_the_order_that_the_kernel_takes() {
        assert_eq!(
            pair(Some(10), Some(20), 100).unwrap(),
            pairs(&[("limit", "10"), ("memsw.limit", "20")])
        );
        assert_eq!(
            pair(Some(10), Some(20), 15).unwrap(),
            pairs(&[("memsw.limit", "20"), ("limit", "10")])
        );
        assert_eq!(
            pair(Some(10), Some(-1), 15).unwrap(),
            pairs(&[("memsw.limit", "-1"), ("limit", "10")])
        );
        assert_eq!(
            pair(Some(-1), None, 15).unwrap(),
            pairs(&[("memsw.limit", "-1"), ("limit", "-1")])
        );
        assert_eq!(pair(Some(10), None, 15).unwrap(), pairs(&[("limit", "10")]));
        assert!(pair(Some(20), Some(10), 100).is_err());
        assert!(pair(Some(0), Some(0), 100).unwrap().is_empty());
    }

    #[test]
    fn settings_of_a_usual_container() {
        let text = r#"{"cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0-1","realtimeRuntime":0},
            "pids":{"limit":-1},"memory":{"kernel":5,"disableOOMKiller":false},
            "blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":9}]}}"#;
        let resources = serde_json::from_str(text).unwrap();
        let mut warnings = Vec::new();
        let list = settings(&resources, &mut warnings).unwrap();
        let expected = [
            ("cpu.shares", "512"),
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "50000"),
            ("cpuset.cpus", "0-1"),
            ("pids.max", "max"),
            ("blkio.throttle.read_bps_device", "8:0 9"),
        ];
        assert_eq!(files(&list), expected);
        assert_eq!(warnings, [Warning::KernelMemory("kernel")]);
    }

    #[test]
    fn names_made_of_input_are_checked() {
        for size in ["../2MB", "MB", "2", "2TB", "2 MB"] {
            assert!(
                page_size(&HugepageLimit {
                    page_size: size.into(),
                    limit: 1
                })
                .is_err(),
                "{size}"
            );
        }
    }
}
