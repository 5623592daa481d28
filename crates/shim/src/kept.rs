//! A container's configuration between the moments that ask for it.
//!
//! A shim idles for hours beside thousands of others. The tree of a configuration — a filter names hundreds of system calls —
//! lies on ten times the pages that its text does, so the text is kept and read again for an exec or a hook.

use spec::{NamespaceKind, Spec, State, Status};

use crate::process::Container;

#[derive(Debug)]
pub struct Kept {
    text: Box<[u8]>,
    own_pids: bool,
    hooks: bool,
}

impl Kept {
    /// Keeps `text`, of which `spec` was read.
    pub fn new(text: Vec<u8>, spec: &Spec) -> Kept {
        let mut namespaces = spec.linux.iter().flat_map(|linux| &linux.namespaces);
        let own_pids = namespaces
            .any(|namespace| namespace.kind == NamespaceKind::Pid && namespace.path.is_none());
        let hooks = spec
            .hooks
            .as_ref()
            .is_some_and(|hooks| !hooks.poststart.is_empty() || !hooks.poststop.is_empty());
        Kept {
            text: text.into(),
            own_pids,
            hooks,
        }
    }

    /// Whether the container's processes end with its init by the kernel's hand.
    pub fn has_own_pids(&self) -> bool {
        self.own_pids
    }

    /// Leaves the hooks to a wall that runs them itself.
    pub fn without_hooks(self) -> Kept {
        Kept {
            hooks: false,
            ..self
        }
    }

    pub fn read(&self) -> Spec {
        serde_json::from_slice(&self.text).expect("it was read before")
    }
}

/// Runs the hooks that follow a start or an end. Their failure is told, and changes nothing else (runtime-spec, "Lifecycle").
pub fn run_hooks(container: &Container, stage: jail::HookStage) -> Result<(), jail::Error> {
    if !container.spec.hooks {
        return Ok(());
    }
    let spec = container.spec.read();
    let hooks = spec.hooks.unwrap_or_default();
    let (hooks, status) = match stage {
        jail::HookStage::Poststart => (hooks.poststart, Status::Running),
        _ => (hooks.poststop, Status::Stopped),
    };
    if hooks.is_empty() {
        return Ok(());
    }
    let state = State {
        oci_version: spec.oci_version,
        id: container.id.clone(),
        status,
        pid: if status == Status::Stopped {
            0
        } else {
            container.wall.pid()
        },
        bundle: container.bundle.clone(),
        annotations: spec.annotations,
    };
    jail::run_hooks(stage, &hooks, &state)
}
