//! The specification's resources as settings of cgroup v2 (kernel: Documentation/admin-guide/cgroup-v2.rst).

use spec::{BlockIo, Cpu, Memory, Resources};

use crate::setting::Setting;
use crate::v1::{io_weight, limit_or_max, page_size, pids};
use crate::{Error, Warning};

/// The period of cpu.max when nobody says another, microseconds.
const PERIOD: u64 = 100_000;

/// Every setting but the device rules; `held` answers the quota and period in force.
pub(crate) fn settings(
    resources: &Resources,
    held: impl FnOnce() -> Result<String, Error>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Setting>, Error> {
    let mut list = Vec::new();
    if let Some(settings) = &resources.cpu {
        cpu(settings, held, &mut list)?;
    }
    if let Some(settings) = &resources.memory {
        memory(settings, &mut list, warnings)?;
    }
    list.extend(pids(resources));
    if let Some(settings) = &resources.block_io {
        block_io(settings, &mut list)?;
    }
    for limit in &resources.hugepage_limits {
        let size = page_size(limit)?;
        let what = format!("hugepage limit {size}");
        list.push(Setting::new(
            &what,
            "hugetlb",
            &format!("hugetlb.{size}.max"),
            limit.limit,
        ));
        list.push(
            Setting::new(
                &what,
                "hugetlb",
                &format!("hugetlb.{size}.rsvd.max"),
                limit.limit,
            )
            .needless_if_absent(),
        );
    }
    let network = resources.network.as_ref();
    if network.is_some_and(|network| {
        network.class_id.is_some_and(|class| class != 0) || !network.priorities.is_empty()
    }) {
        return Err(absent("network classID and priorities", "net_cls"));
    }
    for (name, value) in &resources.unified {
        list.push(unified(name, value)?);
    }
    Ok(list)
}

fn absent(what: &str, controller: &'static str) -> Error {
    Error::NoController {
        what: what.to_owned(),
        controller,
        state: "v1's and not part of cgroup v2",
    }
}

/// cpu.weight for cpu.shares: 2, 1024 and 262144 become 1, 100 and 10000, with a quadratic of the logarithm in between
/// (the conversion that runc, crun and Kubernetes share since 2025, so that the default stays the default).
pub(crate) fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            10f64
                .powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0)
                .ceil() as u64
        }
    }
}

fn cpu(
    cpu: &Cpu,
    held: impl FnOnce() -> Result<String, Error>,
    list: &mut Vec<Setting>,
) -> Result<(), Error> {
    if cpu.realtime_period.is_some_and(|value| value != 0)
        || cpu.realtime_runtime.is_some_and(|value| value != 0)
    {
        return Err(absent("cpu realtime period and runtime", "cpu"));
    }
    if let Some(idle) = cpu.idle {
        list.push(Setting::new("cpu idle", "cpu", "cpu.idle", idle));
    }
    // The kernel refuses a weight for an idle cgroup.
    if let Some(shares) = cpu
        .shares
        .filter(|shares| *shares != 0 && cpu.idle != Some(1))
    {
        list.push(Setting::new(
            "cpu shares",
            "cpu",
            "cpu.weight",
            weight(shares),
        ));
    }
    let (quota, period) = (
        cpu.quota.filter(|quota| *quota != 0),
        cpu.period.filter(|period| *period != 0),
    );
    if quota.is_some() || period.is_some() {
        let held = held()?;
        let (held_quota, held_period) = held.split_once(' ').unwrap_or(("max", ""));
        let quota = quota.map_or(held_quota.to_owned(), limit_or_max);
        let period = period.unwrap_or(held_period.parse().unwrap_or(PERIOD));
        list.push(Setting::new(
            "cpu quota",
            "cpu",
            "cpu.max",
            format!("{quota} {period}"),
        ));
    }
    if let Some(burst) = cpu.burst {
        list.push(Setting::new("cpu burst", "cpu", "cpu.max.burst", burst));
    }
    for (what, file, text) in [
        ("cpuset cpus", "cpuset.cpus", &cpu.cpus),
        ("cpuset mems", "cpuset.mems", &cpu.mems),
    ] {
        if !text.is_empty() {
            list.push(Setting::new(what, "cpuset", file, text));
        }
    }
    Ok(())
}

fn memory(
    memory: &Memory,
    list: &mut Vec<Setting>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    let given = |limit: Option<i64>| limit.filter(|limit| *limit != 0);
    for (name, limit) in [("kernel", memory.kernel), ("kernelTCP", memory.kernel_tcp)] {
        if given(limit).is_some() {
            warnings.push(Warning::KernelMemory(name));
        }
    }
    if memory.swappiness.is_some() {
        return Err(absent("memory swappiness", "memory"));
    }
    if memory.disable_oom_killer == Some(true) {
        return Err(absent("memory disableOOMKiller", "memory"));
    }
    let (limit, swap) = (given(memory.limit), given(memory.swap));
    if let Some(value) = swap_alone(limit, swap)? {
        let setting = Setting::new("memory swap", "memory", "memory.swap.max", &value);
        // Without swap accounting there is no swap to limit: only a real number cannot be held.
        list.push(if value == "max" || value == "0" {
            setting.needless_if_absent()
        } else {
            setting
        });
    }
    if let Some(limit) = limit {
        list.push(Setting::new(
            "memory limit",
            "memory",
            "memory.max",
            limit_or_max(limit),
        ));
    }
    if let Some(limit) = given(memory.reservation) {
        list.push(Setting::new(
            "memory reservation",
            "memory",
            "memory.low",
            limit_or_max(limit),
        ));
    }
    Ok(())
}

/// v2 counts swap alone, the specification memory and swap together.
fn swap_alone(limit: Option<i64>, swap: Option<i64>) -> Result<Option<String>, Error> {
    let refuse = |swap: i64, why| {
        Err(Error::Value {
            what: "memory swap".into(),
            value: swap.to_string(),
            why,
        })
    };
    match (limit, swap) {
        (Some(-1), None) | (_, Some(-1)) => Ok(Some("max".to_owned())),
        (_, None) => Ok(None),
        (None | Some(-1), Some(swap)) => refuse(
            swap,
            "it counts memory and swap together, so it needs a memory limit beside it",
        ),
        (Some(limit), Some(swap)) if swap < limit => refuse(
            swap,
            "it counts memory and swap together, so it cannot be below the memory limit",
        ),
        (Some(limit), Some(swap)) => Ok(Some((swap - limit).to_string())),
    }
}

fn block_io(io: &BlockIo, list: &mut Vec<Setting>) -> Result<(), Error> {
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        list.push(weight_setting("", io_weight(weight)?));
    }
    if io.leaf_weight.is_some_and(|weight| weight != 0)
        || io
            .weight_device
            .iter()
            .any(|device| device.leaf_weight.is_some())
    {
        return Err(absent("blockIO leafWeight", "io"));
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight {
            list.push(weight_setting(
                &format!("{}:{} ", device.major, device.minor),
                io_weight(weight)?,
            ));
        }
    }
    let throttles = [
        (
            "blockIO throttleReadBpsDevice",
            "rbps",
            &io.throttle_read_bps_device,
        ),
        (
            "blockIO throttleWriteBpsDevice",
            "wbps",
            &io.throttle_write_bps_device,
        ),
        (
            "blockIO throttleReadIOPSDevice",
            "riops",
            &io.throttle_read_iops_device,
        ),
        (
            "blockIO throttleWriteIOPSDevice",
            "wiops",
            &io.throttle_write_iops_device,
        ),
    ];
    for (what, key, devices) in throttles {
        for device in devices {
            let rate = if device.rate == 0 {
                "max".to_owned()
            } else {
                device.rate.to_string()
            };
            list.push(Setting::new(
                what,
                "io",
                "io.max",
                format!("{}:{} {key}={rate}", device.major, device.minor),
            ));
        }
    }
    Ok(())
}

/// BFQ takes the specification's scale of 10 to 1000 as it is. io.weight (the cost model) goes from 1 to 10000, but its
/// files exist beside BFQ's only on kernels with both, where BFQ's is the scheduler that reads it.
fn weight_setting(device: &str, weight: u16) -> Setting {
    Setting::new(
        "blockIO weight",
        "io",
        "io.bfq.weight",
        format!("{device}{weight}"),
    )
}

/// A file of `unified`. Its name must be one of a controller: the files `cgroup.*` move, freeze and kill processes.
fn unified(name: &str, value: &str) -> Result<Setting, Error> {
    const CONTROLLERS: [&str; 8] = [
        "cpu", "cpuset", "memory", "io", "pids", "hugetlb", "rdma", "misc",
    ];
    let refuse = |why| {
        Err(Error::Value {
            what: "unified".into(),
            value: name.to_owned(),
            why,
        })
    };
    if name.contains(['/', '\0']) {
        return refuse("it must be a file's name");
    }
    let prefix = name.split('.').next().unwrap_or_default();
    match CONTROLLERS
        .iter()
        .find(|controller| **controller == prefix && name.len() > prefix.len())
    {
        Some(controller) => Ok(Setting::new(
            &format!("unified {name}"),
            controller,
            name,
            value,
        )),
        None => refuse(
            "it must be a file of a controller (cpu, cpuset, memory, io, pids, hugetlb, rdma, misc)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<Vec<(String, String)>, Error> {
        let resources = serde_json::from_str(text).unwrap();
        let settings = settings(&resources, || Ok("20000 50000".to_owned()), &mut Vec::new())?;
        Ok(settings
            .into_iter()
            .map(|setting| (setting.files[0].clone(), setting.value))
            .collect())
    }

    fn one(text: &str) -> (String, String) {
        let mut list = list(text).unwrap();
        assert_eq!(list.len(), 1, "{list:?}");
        list.remove(0)
    }

    #[test]
    fn shares_keep_their_ends_and_their_default() {
        assert_eq!([2, 1024, 262_144].map(weight), [1, 100, 10_000]);
        assert!(
            (3..262_144)
                .step_by(97)
                .all(|shares| (1..=10_000).contains(&weight(shares)))
        );
    }

    #[test]
    fn quota_and_period_complete_each_other_from_what_holds() {
        let max = |text: &str| one(&format!(r#"{{"cpu":{text}}}"#)).1;
        assert_eq!(max(r#"{"quota":10000,"period":40000}"#), "10000 40000");
        assert_eq!(max(r#"{"quota":-1}"#), "max 50000");
        assert_eq!(max(r#"{"period":40000}"#), "20000 40000");
    }

    #[test]
    fn swap_is_counted_alone() {
        let swap = |limit, swap| {
            list(&format!(
                r#"{{"memory":{{"limit":{limit},"swap":{swap}}}}}"#
            ))
            .map(|list| list[0].1.clone())
        };
        assert_eq!(swap(10, 30).unwrap(), "20");
        assert_eq!(swap(10, 10).unwrap(), "0");
        assert_eq!(swap(10, -1).unwrap(), "max");
        assert!(swap(10, 5).is_err() && swap(0, 5).is_err());
    }

    #[test]
    fn what_v2_lacks_is_refused_and_unified_cannot_move_processes() {
        for text in [
            r#"{"memory":{"swappiness":60}}"#,
            r#"{"memory":{"disableOOMKiller":true}}"#,
            r#"{"cpu":{"realtimePeriod":5}}"#,
            r#"{"network":{"classID":5}}"#,
            r#"{"unified":{"cgroup.procs":"1"}}"#,
            r#"{"unified":{"../memory.max":"1"}}"#,
            r#"{"unified":{"memory":"1"}}"#,
            r#"{"blockIO":{"leafWeight":50}}"#,
            r#"{"blockIO":{"weight":5}}"#,
        ] {
            assert!(list(text).is_err(), "{text}");
        }
        assert_eq!(
            one(r#"{"unified":{"memory.high":"5"}}"#),
            ("memory.high".to_owned(), "5".to_owned())
        );
    }
}
