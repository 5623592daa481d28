//! Limits of a running container change.

use spec::Resources;

use crate::create::make;
use crate::setting::Setting;
use crate::{Cgroup, Dir, Error, Layout, Warning, devices, file};

impl Cgroup {
    /// Writes what `resources` says and leaves the rest as it is; device rules are replaced when there are any.
    pub fn update(&self, resources: &Resources) -> Result<Vec<Warning>, Error> {
        let mut warnings = Vec::new();
        self.check_usage(resources)?;
        let rules = if resources.devices.is_empty() {
            None
        } else {
            Some(devices::rules(&resources.devices)?)
        };
        let settings = self.settings(resources, false, &mut warnings)?;
        if let (Layout::Absent, Some(setting)) = (self.layout, settings.first()) {
            return Err(Error::NoHierarchy(setting.what.clone()));
        }
        for dir in self.all().filter(|dir| !dir.exists()) {
            if let Some(setting) = settings
                .iter()
                .find(|setting| self.holder(setting.controller) == Some(dir))
            {
                self.make_late(dir, setting, &mut warnings)?;
            }
        }
        self.write_in_order(settings)?;
        if let Some(rules) = rules {
            self.write_devices(&rules, &mut warnings)?;
        }
        Ok(warnings)
    }

    /// checkBeforeUpdate: on v2 a limit below the usage would kill.
    fn check_usage(&self, resources: &Resources) -> Result<(), Error> {
        let Some(memory) = resources
            .memory
            .as_ref()
            .filter(|memory| memory.check_before_update == Some(true))
        else {
            return Ok(());
        };
        let Some(limit) = memory.limit.filter(|limit| *limit > 0) else {
            return Ok(());
        };
        let Some(path) = self.file("memory", "memory.usage_in_bytes", "memory.current") else {
            return Ok(());
        };
        match file::number(&path)? {
            usage if usage > limit as u64 => Err(Error::BelowUsage { limit, usage }),
            _ => Ok(()),
        }
    }

    /// A hierarchy that no limit needed so far: the container's processes move in.
    fn make_late(
        &self,
        dir: &Dir,
        setting: &Setting,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), Error> {
        let pids = self.pids();
        make(dir, Some(setting), warnings)?;
        let procs = dir.dir().join("cgroup.procs");
        for pid in pids {
            match file::write(&procs, &pid.to_string()) {
                // It ended meanwhile.
                Err(Error::Write { source, .. }) if source.raw_os_error() == Some(3) => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// The kernel checks a cpu quota, period and burst against each other at every write, so a change of several may
    /// have to be written in another order: what was refused is tried once more after the rest.
    fn write_in_order(&self, settings: Vec<Setting>) -> Result<(), Error> {
        let mut refused = Vec::new();
        for setting in settings {
            match self.apply(&setting) {
                Err(Error::Write { source, .. })
                    if setting.controller == "cpu" && source.raw_os_error() == Some(22) =>
                {
                    refused.push(setting);
                }
                done => done?,
            }
        }
        refused.iter().try_for_each(|setting| self.apply(setting))
    }
}
