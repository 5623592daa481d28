//! The life of a process as a table: which verb is allowed in which phase, and the words of each refusal.
//!
//! ```text
//!            Start            Pause
//! Created ──────────▶ Running ─────▶ Paused
//!    │                 │   ◀────────   │
//!    │ died            │ died  Resume  │ killed
//!    └────────────────▶└──▶ Stopped ◀──┘ ──Delete──▶ gone
//! ```
//! A process of Exec begins as Created too, without a pid. Only a container's init is ever Paused.

use crate::ttrpc::{Code, Refusal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Created,
    Running,
    Paused,
    Stopped,
}

/// What a caller asks of a process (or, of the init, of its container).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Start,
    Pause,
    Resume,
    Kill,
    Exec,
    Delete,
    Update,
    Resize,
}

/// Says whether `verb` may be done to a process in `phase`; `who` names it in the refusal.
pub fn admit(verb: Verb, phase: Phase, who: &str) -> Result<(), Refusal> {
    use Phase::*;
    let (code, words) = match (verb, phase) {
        (Verb::Start, Created)
        | (Verb::Pause, Running)
        | (Verb::Resume, Paused)
        | (Verb::Kill, Created | Running | Paused)
        | (Verb::Exec, Running)
        | (Verb::Delete, Stopped | Created)
        | (Verb::Update, Created | Running | Paused)
        | (Verb::Resize, Created | Running | Paused) => return Ok(()),
        (Verb::Start, Running | Paused) => (
            Code::FailedPrecondition,
            "cannot be started: it is already running",
        ),
        (Verb::Start, Stopped) => (
            Code::FailedPrecondition,
            "cannot be started: process already finished",
        ),
        (Verb::Pause, Paused) => (
            Code::FailedPrecondition,
            "cannot be paused: it is already paused",
        ),
        (Verb::Pause, _) => (
            Code::FailedPrecondition,
            "cannot be paused: container not running",
        ),
        (Verb::Resume, Running) => (
            Code::FailedPrecondition,
            "cannot be resumed: it is not paused",
        ),
        (Verb::Resume, _) => (
            Code::FailedPrecondition,
            "cannot be resumed: container not running",
        ),
        (Verb::Kill, Stopped) => (Code::NotFound, "process already finished"),
        (Verb::Exec, Paused) => (
            Code::FailedPrecondition,
            "cannot run another process: it is paused",
        ),
        (Verb::Exec, Created) => (
            Code::FailedPrecondition,
            "cannot run another process: it was not started yet",
        ),
        (Verb::Exec, Stopped) => (
            Code::FailedPrecondition,
            "cannot run another process: process already finished",
        ),
        (Verb::Delete, _) => (
            Code::FailedPrecondition,
            "cannot be deleted: it is still running",
        ),
        (Verb::Update, Stopped) => (
            Code::FailedPrecondition,
            "cannot be updated: process already finished",
        ),
        (Verb::Resize, Stopped) => (
            Code::FailedPrecondition,
            "cannot be resized: process already finished",
        ),
    };
    Err(Refusal::new(code, format!("{who}: {words}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        use Phase::*;
        let cases: [(Verb, &[Phase]); 8] = [
            (Verb::Start, &[Created]),
            (Verb::Pause, &[Running]),
            (Verb::Resume, &[Paused]),
            (Verb::Kill, &[Created, Running, Paused]),
            (Verb::Exec, &[Running]),
            (Verb::Delete, &[Created, Stopped]),
            (Verb::Update, &[Created, Running, Paused]),
            (Verb::Resize, &[Created, Running, Paused]),
        ];
        for (verb, allowed) in cases {
            for phase in [Created, Running, Paused, Stopped] {
                let answer = admit(verb, phase, "container c");
                assert_eq!(
                    answer.is_ok(),
                    allowed.contains(&phase),
                    "{verb:?} in {phase:?}"
                );
            }
        }
    }

    #[test]
    fn a_signal_to_the_dead_is_not_found() {
        let refusal = admit(Verb::Kill, Phase::Stopped, "container c").unwrap_err();
        assert_eq!(
            refusal,
            Refusal::new(Code::NotFound, "container c: process already finished")
        );
    }
}
