//! From the specification's rules to one decision per system call of an architecture.

use crate::arch::{Arch, Call};
use crate::{Action, Error};

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) index: u32,
    pub(crate) test: Comparison,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Equal(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    /// Mask, then value.
    MaskedEqual(u64, u64),
}

/// What happens at a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    Always(Action),
    /// The first case all of whose conditions hold decides; none: the filter's default.
    Cases(Vec<(Vec<Condition>, Action)>),
}

/// One rule after reading: its calls, action and alternatives of conditions (none: always). Names that nobody knows are gone.
pub(crate) struct Rule {
    pub(crate) calls: Vec<Call>,
    pub(crate) action: Action,
    pub(crate) alternatives: Vec<Vec<Condition>>,
}

impl Rule {
    pub(crate) fn read(rule: &spec::SyscallRule) -> Result<Rule, Error> {
        let action = Action::parse(&rule.action, rule.errno_ret)?;
        if action.notifies() && rule.names.iter().any(|name| name == "write") {
            return Err(Error::NotifyWrite);
        }
        let conditions = rule
            .args
            .iter()
            .map(Condition::read)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Rule {
            calls: rule
                .names
                .iter()
                .filter_map(|name| Call::named(name))
                .collect(),
            action,
            alternatives: alternatives(conditions),
        })
    }
}

/// libseccomp takes one condition an argument. runc, when a rule has two on the same argument, makes every condition
/// of the rule a rule of its own; profiles rely on it, so the same is done here.
fn alternatives(conditions: Vec<Condition>) -> Vec<Vec<Condition>> {
    let mut seen = 0u8;
    let twice = conditions.iter().any(|condition| {
        let (bit, before) = (1 << condition.index, seen);
        seen |= bit;
        before & bit != 0
    });
    match (conditions.is_empty(), twice) {
        (true, _) => Vec::new(),
        (_, true) => conditions
            .into_iter()
            .map(|condition| vec![condition])
            .collect(),
        (_, false) => vec![conditions],
    }
}

impl Condition {
    fn read(arg: &spec::SyscallArg) -> Result<Condition, Error> {
        if arg.index > 5 {
            return Err(Error::Unknown {
                what: "argument index",
                value: arg.index.to_string(),
            });
        }
        let test = match arg.op.as_str() {
            "SCMP_CMP_NE" => Comparison::NotEqual(arg.value),
            "SCMP_CMP_LT" => Comparison::Less(arg.value),
            "SCMP_CMP_LE" => Comparison::LessOrEqual(arg.value),
            "SCMP_CMP_EQ" => Comparison::Equal(arg.value),
            "SCMP_CMP_GE" => Comparison::GreaterOrEqual(arg.value),
            "SCMP_CMP_GT" => Comparison::Greater(arg.value),
            "SCMP_CMP_MASKED_EQ" => Comparison::MaskedEqual(arg.value, arg.value_two),
            other => {
                return Err(Error::Unknown {
                    what: "operator",
                    value: other.to_owned(),
                });
            }
        };
        Ok(Condition {
            index: arg.index,
            test,
        })
    }
}

/// A rule's say on one number; `selector`: only for this first argument.
struct Entry<'a> {
    number: u32,
    rule: &'a Rule,
    selector: Option<u64>,
}

/// The decisions of `arch` in the order of their numbers. As in libseccomp an unconditional rule outweighs every
/// conditional one of its call, and of several unconditional ones the first counts; a rule that says what the default
/// says is no rule.
pub(crate) fn decisions(arch: Arch, rules: &[Rule], default: Action) -> Vec<(u32, Decision)> {
    let mut entries = Vec::with_capacity(512);
    for rule in rules.iter().filter(|rule| rule.action != default) {
        // A multiplexed call's arguments lie in memory, which a filter cannot read. A conditional rule therefore holds
        // for all of the call or for none of it: whichever is stricter.
        let multiplexable = rule.alternatives.is_empty() || rule.action.stricter_than(default);
        for call in &rule.calls {
            if let Some(number) = arch.number(*call) {
                entries.push(Entry {
                    number,
                    rule,
                    selector: None,
                });
            }
            if let Some((number, which)) = call.multiplexed(arch).filter(|_| multiplexable) {
                entries.push(Entry {
                    number,
                    rule,
                    selector: Some(which),
                });
            }
        }
    }
    entries.sort_by_key(|entry| entry.number);
    let groups = entries.chunk_by(|a, b| a.number == b.number);
    groups
        .map(|group| (group[0].number, decision(group)))
        .collect()
}

fn decision(group: &[Entry<'_>]) -> Decision {
    let always = group
        .iter()
        .find(|entry| entry.selector.is_none() && entry.rule.alternatives.is_empty());
    if let Some(entry) = always {
        return Decision::Always(entry.rule.action);
    }
    let mut cases: Vec<(Vec<Condition>, Action)> = Vec::new();
    for entry in group {
        let selected = entry.selector.map(|which| {
            vec![Condition {
                index: 0,
                test: Comparison::Equal(which),
            }]
        });
        let alternatives = match &selected {
            Some(selected) => std::slice::from_ref(selected),
            None => &entry.rule.alternatives,
        };
        for conditions in alternatives {
            if !cases.iter().any(|(known, _)| known == conditions) {
                cases.push((conditions.clone(), entry.rule.action));
            }
        }
    }
    Decision::Cases(cases)
}
