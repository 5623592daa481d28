use std::io::Read;
use std::path::Path;

use causes::in_gos_words;
use spec::{BlockIo, Cpu, Memory, Pids, Resources, Status};

use super::{PLAIN, id};
use crate::args::{self, Args, Flag};
use crate::cli::{Context, Verb};
use crate::error::Error;

pub const UPDATE: Verb = Verb {
    name: "update",
    about: "change the limits of a container",
    teach: "Limits that are not named stay. Bytes may carry a unit (512M); -1 takes a limit back:\n\n    {name} update --memory 512M --pids-limit 100 mycontainer\n\n\
            --resources reads config.json's linux.resources instead, and the other flags are ignored:\n\n    \
            echo '{\"memory\": {\"limit\": 536870912}}' | {name} update --resources - mycontainer",
    flags: &[
        Flag::value(
            "resources",
            "FILE|-",
            "read the limits as JSON from a file or standard input",
        )
        .short('r'),
        Flag::value("blkio-weight", "N", "weight of block I/O, 10 to 1000"),
        Flag::value("cpu-period", "MICROSECONDS", "period of the CPU limit"),
        Flag::value("cpu-quota", "MICROSECONDS", "CPU time in a period"),
        Flag::value("cpu-burst", "MICROSECONDS", "CPU time saved up at most"),
        Flag::value("cpu-share", "N", "weight of CPU time"),
        Flag::value("cpu-shares", "N", "the same"),
        Flag::value(
            "cpu-rt-period",
            "MICROSECONDS",
            "period of the real-time limit",
        ),
        Flag::value(
            "cpu-rt-runtime",
            "MICROSECONDS",
            "real-time CPU time in a period",
        ),
        Flag::value("cpu-idle", "0|1", "run only when the CPU is idle"),
        Flag::value("cpuset-cpus", "LIST", "CPUs, as 0-3,7"),
        Flag::value("cpuset-mems", "LIST", "memory nodes"),
        Flag::value("memory", "BYTES", "memory"),
        Flag::value(
            "memory-reservation",
            "BYTES",
            "memory that is left under pressure",
        ),
        Flag::value("memory-swap", "BYTES", "memory and swap together"),
        Flag::value(
            "kernel-memory",
            "BYTES",
            "kernel memory, where the kernel has that limit",
        ),
        Flag::value(
            "kernel-memory-tcp",
            "BYTES",
            "memory of TCP, where the kernel has that limit",
        ),
        Flag::value("pids-limit", "N", "processes and threads"),
        Flag::value(
            "l3-cache-schema",
            "SCHEMA",
            "refused: Intel RDT is not served",
        ),
        Flag::value(
            "mem-bw-schema",
            "SCHEMA",
            "refused: Intel RDT is not served",
        ),
    ],
    run: update,
    ..PLAIN
};

fn update(context: &Context, args: &Args) -> Result<u8, Error> {
    let container = context.store()?.find(&id(args))?;
    if args.given("l3-cache-schema") || args.given("mem-bw-schema") {
        return Err(Error::Unsupported(
            "Intel RDT (--l3-cache-schema, --mem-bw-schema)",
            "no limit of caches is set",
        ));
    }
    let resources = match args.path("resources") {
        Some(path) => from_json(&path)?,
        None => from_flags(args)?,
    };
    if matches!(container.status(), Status::Stopped | Status::Creating) {
        return Err(Error::NotRunning);
    }
    for warning in container.record.cgroup.update(&resources)? {
        context.log.warning(&in_gos_words(&warning));
    }
    Ok(0)
}

fn from_json(path: &Path) -> Result<Resources, Error> {
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .take(spec::CONFIG_LIMIT)
            .read_to_end(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(spec::CONFIG_LIMIT).read_to_end(&mut text))
    };
    read.map_err(Error::io("read", path))?;
    serde_json::from_slice(&text).map_err(|source| Error::Malformed(path.into(), source))
}

fn from_flags(args: &Args) -> Result<Resources, Error> {
    let shares = args.number("cpu-share")?.or(args.number("cpu-shares")?);
    let cpu = Cpu {
        shares,
        quota: args.number("cpu-quota")?,
        burst: args.number("cpu-burst")?,
        period: args.number("cpu-period")?,
        realtime_runtime: args.number("cpu-rt-runtime")?,
        realtime_period: args.number("cpu-rt-period")?,
        cpus: args.text("cpuset-cpus")?.unwrap_or_default().into(),
        mems: args.text("cpuset-mems")?.unwrap_or_default().into(),
        idle: args.number("cpu-idle")?,
    };
    let memory = Memory {
        limit: bytes(args, "memory")?,
        reservation: bytes(args, "memory-reservation")?,
        swap: bytes(args, "memory-swap")?,
        kernel: bytes(args, "kernel-memory")?,
        kernel_tcp: bytes(args, "kernel-memory-tcp")?,
        ..Memory::default()
    };
    let weight = args.number("blkio-weight")?.filter(|weight| *weight != 0);
    Ok(Resources {
        cpu: (cpu != Cpu::default()).then_some(cpu),
        memory: (memory != Memory::default()).then_some(memory),
        pids: args
            .number("pids-limit")?
            .map(|limit| Pids { limit: Some(limit) }),
        block_io: weight.map(|weight| BlockIo {
            weight: Some(weight),
            ..BlockIo::default()
        }),
        ..Resources::default()
    })
}

/// A number of bytes, with a unit of 1024's powers or none.
fn bytes(args: &Args, flag: &'static str) -> Result<Option<i64>, Error> {
    let Some(text) = args.text(flag)? else {
        return Ok(None);
    };
    let invalid = || Error::Flag {
        flag,
        value: text.into(),
        reason: "not a number of bytes",
    };
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower.trim_end_matches('b').trim_end_matches('i');
    let shift = match bare.as_bytes().last() {
        Some(b'k') => 10,
        Some(b'm') => 20,
        Some(b'g') => 30,
        Some(b't') => 40,
        Some(b'p') => 50,
        _ => 0,
    };
    let digits = if shift == 0 {
        bare
    } else {
        &bare[..bare.len() - 1]
    };
    let number: i64 = args::number(flag, digits).map_err(|_| invalid())?;
    number.checked_mul(1 << shift).map(Some).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Result<Option<i64>, Error> {
        bytes(
            &Args::parse(UPDATE.flags, ["--memory".into(), text.into()], UPDATE.order).unwrap(),
            "memory",
        )
    }

    #[test]
    fn bytes_have_units() {
        for (text, number) in [
            ("1000", 1000),
            ("-1", -1),
            ("1k", 1024),
            ("2M", 2 << 20),
            ("3Gb", 3 << 30),
            ("1GiB", 1 << 30),
            ("0", 0),
        ] {
            assert_eq!(limit(text).unwrap(), Some(number), "{text}");
        }
        for text in ["", "M", "1x", "9999999P", "1.5G"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let args = Args::parse(
            UPDATE.flags,
            ["--pids-limit".into(), "7".into()],
            UPDATE.order,
        )
        .unwrap();
        let resources = from_flags(&args).unwrap();
        assert_eq!(
            resources,
            Resources {
                pids: Some(Pids { limit: Some(7) }),
                ..Resources::default()
            }
        );
    }
}
