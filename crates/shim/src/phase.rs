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
    let allowed: &[Phase] = match verb {
        Verb::Start => &[Created],
        Verb::Pause | Verb::Exec => &[Running],
        Verb::Resume => &[Paused],
        Verb::Kill | Verb::Update | Verb::Resize => &[Created, Running, Paused],
        Verb::Delete => &[Created, Stopped],
    };
    if allowed.contains(&phase) {
        return Ok(());
    }
    let code = match (verb, phase) {
        // Engines take this for success: it is what they wanted.
        (Verb::Kill, _) => Code::NotFound,
        _ => Code::FailedPrecondition,
    };
    Err(Refusal::new(code, format!("{who}: {}", words(verb, phase))))
}

/// The words of a refusal; some of them are looked for by engines.
fn words(verb: Verb, phase: Phase) -> String {
    let why = match (verb, phase) {
        (Verb::Kill, _) => return "process already finished".into(),
        (Verb::Pause | Verb::Resume, Phase::Created | Phase::Stopped) => "container not running",
        (Verb::Resume, Phase::Running) => "it is not paused",
        (_, Phase::Created) => "it was not started yet",
        (_, Phase::Running) => "it is still running",
        (_, Phase::Paused) => "it is paused",
        (_, Phase::Stopped) => "process already finished",
    };
    let what = match verb {
        Verb::Start => "be started",
        Verb::Pause => "be paused",
        Verb::Resume => "be resumed",
        Verb::Exec => "run another process",
        Verb::Delete => "be deleted",
        Verb::Update => "be updated",
        Verb::Resize => "be resized",
        Verb::Kill => "be signalled",
    };
    format!("cannot {what}: {why}")
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
