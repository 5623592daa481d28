//! The config.json that a foreign program reads: the bundle's, with the root in its place. Pure.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use spec::IdMapping;

/// Programs of Debian 12 refuse documents of later versions, though these only add fields.
const VERSION: &str = "1.0.2";
/// The machines whose calls this kernel may be asked for; older programs do not know all others that a filter may name.
const MACHINES: &[&str] = if cfg!(target_arch = "x86_64") {
    &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
} else {
    &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
};

/// Containers that have one of these in common share a containerd shim.
const GROUPS: [&str; 2] = [
    "io.containerd.runc.v2.group",
    "io.kubernetes.cri.sandbox-id",
];

/// A bind with mapped ids, which older programs cannot make: this shim makes it, and they bind the result.
#[derive(Debug, PartialEq)]
pub struct Mapped {
    pub source: PathBuf,
    pub recursive: bool,
    pub maps: (Vec<IdMapping>, Vec<IdMapping>),
    pub place: PathBuf,
}

/// What differs from the bundle's document.
pub struct Changes<'a> {
    pub bundle: &'a Path,
    /// Absolute.
    pub root: &'a Path,
    pub terminal: bool,
    /// Another shim is to hold this container alone.
    pub alone: bool,
    /// What there is of capabilities; the commands fail on any other, where our own wall says so and goes on.
    pub attainable: &'a [&'a str],
    /// Where a document that names no cgroup has it.
    pub cgroup: &'a str,
    /// Where binds with mapped ids are put, by their number.
    pub binds: &'a Path,
}

/// The document and the binds that it counts on; `None` when the text is none.
pub fn derive(text: &[u8], changes: &Changes<'_>) -> Option<(Vec<u8>, Vec<Mapped>)> {
    let mut document: Value = serde_json::from_slice(text).ok()?;
    let top = document.as_object_mut()?;
    top.insert("ociVersion".into(), json!(VERSION));
    let root = top.entry("root").or_insert_with(|| json!({}));
    root.as_object_mut()?
        .insert("path".into(), json!(changes.root));
    if let Some(process) = top.get_mut("process").and_then(Value::as_object_mut) {
        process.insert("terminal".into(), json!(changes.terminal));
        limit(process, changes.attainable);
    }
    if let Some(Value::Object(annotations)) = top.get_mut("annotations").filter(|_| changes.alone) {
        annotations.retain(|name, _| !GROUPS.contains(&name.as_str()));
    }
    let linux = top
        .entry("linux")
        .or_insert_with(|| json!({}))
        .as_object_mut()?;
    let path = linux.entry("cgroupsPath").or_insert_with(|| json!(""));
    if path.as_str().is_none_or(str::is_empty) {
        *path = json!(changes.cgroup);
    }
    let filter = linux
        .get_mut("seccomp")
        .and_then(|filter| filter.get_mut("architectures"));
    if let Some(Value::Array(machines)) = filter {
        machines.retain(|name| MACHINES.iter().any(|known| name == known));
    }
    let own = maps(linux.get("uidMappings")).zip(maps(linux.get("gidMappings")));
    let mut mapped = Vec::new();
    let mounts = top.get_mut("mounts").and_then(Value::as_array_mut);
    for (number, mount) in mounts.into_iter().flatten().enumerate() {
        let place = changes.binds.join(number.to_string());
        mapped.extend(map_mount(mount, changes.bundle, own.as_ref(), place));
    }
    Some((serde_json::to_vec(&document).ok()?, mapped))
}

/// Leaves a process the capabilities that can be had.
pub fn limit(process: &mut Map<String, Value>, attainable: &[&str]) {
    let sets = process
        .get_mut("capabilities")
        .and_then(Value::as_object_mut);
    let sets = sets.into_iter().flat_map(Map::values_mut);
    for set in sets.filter_map(Value::as_array_mut) {
        set.retain(|name| attainable.iter().any(|known| name == known));
    }
}

/// Turns a bind with mapped ids into one of what this shim puts at `place`; sources are no longer relative to the bundle.
fn map_mount(
    mount: &mut Value,
    bundle: &Path,
    own: Option<&(Vec<IdMapping>, Vec<IdMapping>)>,
    place: PathBuf,
) -> Option<Mapped> {
    let mount = mount.as_object_mut()?;
    let said =
        maps(mount.remove("uidMappings").as_ref()).zip(maps(mount.remove("gidMappings").as_ref()));
    let source = mount
        .get("source")
        .and_then(Value::as_str)
        .map(|source| bundle.join(source));
    let options = mount.get_mut("options").and_then(Value::as_array_mut);
    let is_bind = has(&options, "bind") || has(&options, "rbind");
    let recursive = has(&options, "rbind");
    let mut asked = false;
    if let Some(options) = options {
        let before = options.len();
        options.retain(|word| word != "idmap" && word != "ridmap");
        asked = options.len() < before;
    }
    let maps = match said {
        Some(maps) => maps,
        None if asked => own?.clone(),
        None => {
            if let Some(source) = source.filter(|_| is_bind) {
                mount.insert("source".into(), json!(source));
            }
            return None;
        }
    };
    mount.insert("source".into(), json!(place));
    Some(Mapped {
        source: source?,
        recursive,
        maps,
        place,
    })
}

fn has(options: &Option<&mut Vec<Value>>, word: &str) -> bool {
    options
        .as_ref()
        .is_some_and(|options| options.iter().any(|other| other == word))
}

fn maps(value: Option<&Value>) -> Option<Vec<IdMapping>> {
    let maps: Vec<IdMapping> = serde_json::from_value(value?.clone()).ok()?;
    (!maps.is_empty()).then_some(maps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_the_cgroup_and_mapped_binds_are_put_in_place() {
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        let text = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs", "readonly": true},
            "process": {"args": ["sh"], "capabilities": {"bounding": ["CAP_KILL", "CAP_BPF"]}},
            "x-kept": 1,
            "annotations": {"io.kubernetes.cri.sandbox-id": "s", "mine": "m"},
            "linux": {"seccomp": {"architectures": ["SCMP_ARCH_S390X"]}},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/f", "source": "f", "options": ["bind"]},
                {"destination": "/d", "source": "/data", "options": ["rbind", "ro"], "uidMappings": map, "gidMappings": map},
            ],
        });
        let changes = Changes {
            bundle: Path::new("/b"),
            root: Path::new("/b/wall/rootfs"),
            terminal: true,
            alone: true,
            attainable: &["CAP_KILL"],
            cgroup: "/stockade/c",
            binds: Path::new("/b/wall/binds"),
        };
        let (text, mapped) = derive(text.to_string().as_bytes(), &changes).unwrap();
        let made: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            made["root"],
            json!({"path": "/b/wall/rootfs", "readonly": true})
        );
        assert_eq!(
            (&made["process"]["terminal"], &made["x-kept"]),
            (&json!(true), &json!(1))
        );
        assert_eq!(made["linux"]["seccomp"]["architectures"], json!([]));
        assert_eq!(made["annotations"], json!({"mine": "m"}));
        assert_eq!(
            made["process"]["capabilities"],
            json!({"bounding": ["CAP_KILL"]})
        );
        assert_eq!(made["ociVersion"], "1.0.2");
        assert_eq!(made["linux"]["cgroupsPath"], "/stockade/c");
        assert_eq!(
            made["mounts"][2],
            json!({"destination": "/d", "source": "/b/wall/binds/2", "options": ["rbind", "ro"]})
        );
        assert_eq!(made["mounts"][1]["source"], "/b/f");
        assert_eq!((mapped.len(), mapped[0].recursive), (1, true));
        assert_eq!(mapped[0].source, Path::new("/data"));
        assert_eq!(derive(b"[]", &changes), None);
    }
}
