//! What Create carries beside the bundle: containerd's options, our annotations. Decided here, done elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use prost::Message;

use crate::api::containerd::runc::v1::Options as RuncOptions;
use crate::api::google::protobuf::Any;
use crate::duration;
use crate::ttrpc::{Code, Refusal};

/// A Go duration from Start; at its end everything in the container is killed.
pub const TIME_LIMIT: &str = "dev.stockade.time-limit";
/// `connection`: the container lives as long as the connection that made it.
pub const LIFELINE: &str = "dev.stockade.lifeline";
/// Of the engine's own making: our wall serves it, others would not see it.
pub const INIT: &str = "dev.stockade.init";
pub const STDIN: &str = "dev.stockade.stdin";
const OURS: &str = "dev.stockade.";
const KNOWN: [&str; 4] = [TIME_LIMIT, LIFELINE, INIT, STDIN];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Somebody else's wall: a runc-compatible command, or a shim.
    pub program: Option<PathBuf>,
    /// Where that command keeps its states.
    pub root: Option<PathBuf>,
    pub no_pivot_root: bool,
    pub no_new_keyring: bool,
    /// Who owns the pipes of stdio.
    pub io: (u32, u32),
}

impl Options {
    /// Reads the options of containerd's runc runtime, which its clients pass to other runtimes too. One that would be
    /// ignored is refused by its name.
    pub fn read(any: Option<&Any>) -> Result<Options, Refusal> {
        let Some(any) = any.filter(|any| !any.value.is_empty()) else {
            return Ok(Options::default());
        };
        if !any.type_url.ends_with("containerd.runc.v1.Options") {
            let text = format!("options of type {:?} are not served", any.type_url);
            return Err(Refusal::new(Code::Unimplemented, text));
        }
        let options = RuncOptions::decode(&*any.value).map_err(|error| {
            Refusal::new(
                Code::InvalidArgument,
                format!("options cannot be read: {error}"),
            )
        })?;
        let unserved = [
            ("ShimCgroup", !options.shim_cgroup.is_empty()),
            ("SystemdCgroup", options.systemd_cgroup),
            ("CriuImagePath", !options.criu_image_path.is_empty()),
            ("CriuWorkPath", !options.criu_work_path.is_empty()),
        ];
        if let Some((name, _)) = unserved.iter().find(|(_, set)| *set) {
            return Err(Refusal::new(
                Code::Unimplemented,
                format!("option {name} is not served"),
            ));
        }
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        Ok(Options {
            program: path(&options.binary_name),
            root: path(&options.root),
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            io: (options.io_uid, options.io_gid),
        })
    }
}

/// What our annotations of the bundle ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    pub time_limit: Option<Duration>,
    pub lifeline: bool,
    /// The program's input stays open though nobody gives any.
    pub open_stdin: bool,
}

impl Wishes {
    pub fn read(annotations: &BTreeMap<String, String>) -> Result<Wishes, Refusal> {
        let invalid = |name: &str, value: &str, hint: &str| {
            Refusal::new(
                Code::InvalidArgument,
                format!("annotation {name} = {value:?}: must be {hint}"),
            )
        };
        let ours = annotations
            .keys()
            .find(|name| name.starts_with(OURS) && !KNOWN.contains(&name.as_str()));
        if let Some(name) = ours {
            let text = format!("annotation {name}: this release does not know it");
            return Err(Refusal::new(Code::Unimplemented, text));
        }
        let mut wishes = Wishes::default();
        if let Some(value) = annotations.get(TIME_LIMIT) {
            let limit = duration::parse(value).filter(|limit| !limit.is_zero());
            wishes.time_limit = Some(
                limit.ok_or_else(|| invalid(TIME_LIMIT, value, "a duration as 30s or 500ms"))?,
            );
        }
        if let Some(value) = annotations.get(LIFELINE) {
            if value != "connection" {
                return Err(invalid(LIFELINE, value, "\"connection\""));
            }
            wishes.lifeline = true;
        }
        if let Some(value) = annotations.get(STDIN) {
            if value != "open" {
                return Err(invalid(STDIN, value, "\"open\""));
            }
            wishes.open_stdin = true;
        }
        Ok(wishes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(options: &RuncOptions) -> Any {
        Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: options.encode_to_vec(),
        }
    }

    #[test]
    fn options_are_served_or_refused_by_name() {
        let served = RuncOptions {
            no_pivot_root: true,
            io_uid: 7,
            root: "/run/x".into(),
            ..RuncOptions::default()
        };
        let expected = Options {
            no_pivot_root: true,
            io: (7, 0),
            root: Some("/run/x".into()),
            ..Options::default()
        };
        assert_eq!(Options::read(Some(&any(&served))), Ok(expected));
        assert_eq!(Options::read(None), Ok(Options::default()));
        let refused = RuncOptions {
            systemd_cgroup: true,
            ..RuncOptions::default()
        };
        let refusal = Options::read(Some(&any(&refused))).unwrap_err();
        assert_eq!(
            refusal,
            Refusal::new(Code::Unimplemented, "option SystemdCgroup is not served")
        );
        let foreign = Any {
            type_url: "runtimeoptions.v1.Options".into(),
            value: vec![1],
        };
        assert_eq!(
            Options::read(Some(&foreign)).unwrap_err().code,
            Code::Unimplemented
        );
    }

    #[test]
    fn annotations() {
        let read = |pairs: &[(&str, &str)]| {
            Wishes::read(
                &pairs
                    .iter()
                    .map(|(key, value)| (key.to_string(), value.to_string()))
                    .collect(),
            )
        };
        let limit = Some(Duration::from_millis(500));
        assert_eq!(
            read(&[(TIME_LIMIT, "500ms")]),
            Ok(Wishes {
                time_limit: limit,
                ..Wishes::default()
            })
        );
        assert_eq!(
            read(&[(LIFELINE, "connection")]),
            Ok(Wishes {
                lifeline: true,
                ..Wishes::default()
            })
        );
        assert!(read(&[(STDIN, "open")]).unwrap().open_stdin);
        assert_eq!(
            read(&[(STDIN, "kept")]).unwrap_err().code,
            Code::InvalidArgument
        );
        assert!(read(&[(TIME_LIMIT, "soon")]).is_err() && read(&[(TIME_LIMIT, "0s")]).is_err());
        assert!(read(&[(LIFELINE, "yes")]).is_err());
        assert!(read(&[(INIT, "true"), ("org.other.thing", "x")]).is_ok());
        assert_eq!(
            read(&[("dev.stockade.later", "x")]).unwrap_err().code,
            Code::Unimplemented
        );
    }
}
