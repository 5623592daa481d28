//! What is told of a container at its end: a few files instead of the eighty of all counters.

use crate::{Cgroup, Error, Layout, file, oom};

/// Nanoseconds, bytes and counts, from the container's beginning on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    pub cpu_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    pub memory_peak: u64,
    pub oom_kills: u64,
    /// Forks that the pids limit refused.
    pub pids_refused: u64,
}

impl Cgroup {
    /// What [`Cgroup::stats`] says of the same; without a directory all are zero.
    pub fn account(&self) -> Result<Account, Error> {
        match (self.layout, &self.v2) {
            (Layout::V2, Some(dir)) => {
                let dir = dir.dir();
                let stat = file::keyed(&dir.join("cpu.stat"))?;
                let ns = |key: &str| stat.get(key).map_or(0, |usec| usec.saturating_mul(1000));
                Ok(Account {
                    cpu_ns: ns("usage_usec"),
                    user_ns: ns("user_usec"),
                    system_ns: ns("system_usec"),
                    memory_peak: file::number(&dir.join("memory.peak"))?,
                    oom_kills: oom::count(&dir.join("memory.events"))?,
                    pids_refused: refused(&dir)?,
                })
            }
            _ => self.account_v1(),
        }
    }

    fn account_v1(&self) -> Result<Account, Error> {
        let mut account = Account::default();
        if let Some(dir) = self.v1_dir("cpuacct") {
            (account.cpu_ns, account.user_ns, account.system_ns) = crate::stats_v1::spent(&dir)?;
        }
        if let Some(dir) = self.v1_dir("memory") {
            account.memory_peak = file::number(&dir.join("memory.max_usage_in_bytes"))?;
            account.oom_kills = oom::count(&dir.join("memory.oom_control"))?;
        }
        if let Some(dir) = self.v1_dir("pids") {
            account.pids_refused = refused(&dir)?;
        }
        Ok(account)
    }
}

/// The same file on both layouts; absent on v1 before 4.3.
fn refused(dir: &std::path::Path) -> Result<u64, Error> {
    let events = file::keyed(&dir.join("pids.events"))?;
    Ok(events.get("max").copied().unwrap_or_default())
}
