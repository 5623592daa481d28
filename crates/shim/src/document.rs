//! OCI documents that come with a request to a container that runs: an engine of a newer release may have sent them.
//!
//! A member that nobody here knows is refused by its path. In config.json it is skipped, as runtime-spec's config.md
//! ("Extensibility") demands; there the engine has just started this very program.

use serde::de::DeserializeOwned;

use crate::ttrpc::{Code, Refusal};

/// Reads a document, `what` in messages.
pub fn read<T: DeserializeOwned>(what: &str, text: &[u8]) -> Result<T, Refusal> {
    let invalid = |error: serde_json::Error| {
        Refusal::new(
            Code::InvalidArgument,
            format!("{what} cannot be read: {error}"),
        )
    };
    let mut unknown = None;
    let mut document = serde_json::Deserializer::from_slice(text);
    let found = serde_ignored::deserialize(&mut document, |path| {
        // "?" stands for the value in an Option.
        unknown.get_or_insert_with(|| path.to_string().replace(".?", ""));
    });
    let found = found.map_err(invalid)?;
    document.end().map_err(invalid)?;
    match unknown {
        None => Ok(found),
        Some(member) => Err(Refusal::new(
            Code::Unimplemented,
            format!("{what}: this release knows no member {member}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_refused_by_its_path() {
        let refused = |text: &str| {
            read::<spec::Resources>("resources", text.as_bytes()).map_err(|refusal| refusal.text)
        };
        assert!(
            refused(r#"{"memory":{"limit":1},"unified":{"any.thing":"1"},"devices":null}"#).is_ok()
        );
        for (text, expected) in [
            (
                r#"{"memory":{"limit":1,"colour":2}}"#,
                "no member memory.colour",
            ),
            (r#"{"later":{}}"#, "no member later"),
            (r#"{"memory":7}"#, "cannot be read"),
            (r#"{} {}"#, "cannot be read"),
        ] {
            let said = refused(text).expect_err(text);
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
