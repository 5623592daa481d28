//! From the specification's rules to one decision per system call of an architecture.

use std::collections::BTreeMap;

use crate::arch::Arch;
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

/// One rule after reading: its calls, action and alternatives of conditions (none: always).
pub(crate) struct Rule<'a> {
    pub(crate) names: &'a [String],
    pub(crate) action: Action,
    pub(crate) alternatives: Vec<Vec<Condition>>,
}

impl<'a> Rule<'a> {
    pub(crate) fn read(rule: &'a spec::SyscallRule) -> Result<Rule<'a>, Error> {
        let action = Action::parse(&rule.action, rule.errno_ret)?;
        let conditions = rule
            .args
            .iter()
            .map(Condition::read)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Rule {
            names: &rule.names,
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

/// The decisions of `arch` by number. As in libseccomp an unconditional rule outweighs every conditional one of its
/// call, and of several unconditional ones the first counts; a rule that says what the default says is no rule.
pub(crate) fn decisions(
    arch: Arch,
    rules: &[Rule<'_>],
    default: Action,
) -> BTreeMap<u32, Decision> {
    let mut calls = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.action != default) {
        for name in rule.names {
            if let Some(number) = arch.number(name) {
                add(&mut calls, number, &rule.alternatives, rule.action);
            }
            if let Some((number, which)) = arch.multiplexed(name) {
                multiplexed(&mut calls, (number, which), rule, default);
            }
        }
    }
    calls
}

fn add(
    calls: &mut BTreeMap<u32, Decision>,
    number: u32,
    alternatives: &[Vec<Condition>],
    action: Action,
) {
    let decision = calls
        .entry(number)
        .or_insert_with(|| Decision::Cases(Vec::new()));
    match decision {
        Decision::Always(_) => {}
        decision if alternatives.is_empty() => *decision = Decision::Always(action),
        Decision::Cases(cases) => {
            for conditions in alternatives {
                if !cases.iter().any(|(known, _)| known == conditions) {
                    cases.push((conditions.clone(), action));
                }
            }
        }
    }
}

/// A multiplexed call's arguments lie in memory, which a filter cannot read. A conditional rule therefore holds for
/// all of the call or for none of it: whichever is stricter.
fn multiplexed(
    calls: &mut BTreeMap<u32, Decision>,
    (number, which): (u32, u64),
    rule: &Rule<'_>,
    default: Action,
) {
    let conditional = !rule.alternatives.is_empty();
    if conditional && !rule.action.stricter_than(default) {
        return;
    }
    let selector = Condition {
        index: 0,
        test: Comparison::Equal(which),
    };
    add(calls, number, &[vec![selector]], rule.action);
}
