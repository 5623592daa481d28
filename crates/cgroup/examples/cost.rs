//! What a container's cgroups cost, step by step, and what each hierarchy's directory costs: medians of many rounds.
//!
//!     cargo run --release -p stockade-cgroup --example cost

use std::time::{Duration, Instant};

use cgroup::Cgroup;

const ROUNDS: usize = 200;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let resources: spec::Resources = serde_json::from_str(
        r#"{"memory":{"limit":67108864,"swap":67108864},"cpu":{"quota":50000,"period":100000,"shares":512},"pids":{"limit":100}}"#,
    )?;
    let names = [
        "plan",
        "create",
        "entry",
        "join and leave",
        "stats",
        "remove",
    ];
    let mut times = vec![Vec::new(); names.len()];
    for round in 0..ROUNDS {
        let mut laps = Vec::new();
        let mut began = Instant::now();
        let mut lap = || laps.push(std::mem::replace(&mut began, Instant::now()).elapsed());
        let cgroup = Cgroup::plan(
            &format!("/stockade-cost/{}-{round}", std::process::id()),
            "cost",
        )?;
        lap();
        cgroup.create(&resources)?;
        lap();
        let entry = cgroup.entry()?;
        lap();
        std::thread::scope(|scope| scope.spawn(|| entry.join()).join())
            .expect("joining does not panic")?;
        lap();
        cgroup.stats()?;
        lap();
        cgroup.remove()?;
        lap();
        times
            .iter_mut()
            .zip(laps)
            .for_each(|(times, lap)| times.push(lap));
    }
    for (name, times) in names.iter().zip(times) {
        println!("{name:>16}  {:?}", median(times));
    }
    hierarchies()?;
    let _ = std::fs::remove_dir("/sys/fs/cgroup/stockade-cost");
    Ok(())
}

/// What a directory costs in each hierarchy.
fn hierarchies() -> std::io::Result<()> {
    for entry in std::fs::read_dir("/sys/fs/cgroup")?.flatten() {
        let parent = entry.path().join("stockade-cost");
        if entry.file_type()?.is_dir() && parent.is_dir() {
            let round = |name: usize| -> std::io::Result<(Duration, Duration)> {
                let path = parent.join(name.to_string());
                let began = Instant::now();
                std::fs::create_dir(&path)?;
                let made = began.elapsed();
                std::fs::remove_dir(&path)?;
                Ok((made, began.elapsed() - made))
            };
            let (made, removed) = (0..ROUNDS)
                .map(round)
                .collect::<Result<(Vec<_>, Vec<_>), _>>()?;
            println!(
                "{:>16}  mkdir {:?}, rmdir {:?}",
                entry.file_name().to_string_lossy(),
                median(made),
                median(removed)
            );
        }
        let _ = std::fs::remove_dir(parent);
    }
    Ok(())
}
