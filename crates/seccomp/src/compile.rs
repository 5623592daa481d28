//! The program: architecture, then number, then arguments.

use crate::arch::{Arch, X32_BIT};
use crate::assemble::{Assembler, Position, Test};
use crate::rules::{Comparison, Condition, Decision, Rule, decisions};
use crate::{Action, Error, Filter, features};

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;
const ARM_PRIVATE: u32 = 0xf_0000;
/// `BPF_MAXINSNS`.
const LONGEST: usize = 4096;

/// Compiles `linux.seccomp` for the machine that this program runs on: an architecture that its kernel cannot execute
/// needs no code.
///
/// Errors name the first action, operator, architecture or flag that is not known, and the uses of
/// `SCMP_ACT_NOTIFY` that cannot work.
pub fn compile(spec: &spec::Seccomp) -> Result<Filter, Error> {
    compile_for(spec, Arch::executed_here)
}

/// The same with code for every architecture that the profile names: what can be compared with libseccomp's.
#[doc(hidden)]
pub fn compile_everywhere(spec: &spec::Seccomp) -> Result<Filter, Error> {
    compile_for(spec, |_| true)
}

fn compile_for(spec: &spec::Seccomp, wanted: fn(&Arch) -> bool) -> Result<Filter, Error> {
    let default = Action::parse(&spec.default_action, spec.default_errno_ret)?;
    let rules = spec
        .syscalls
        .iter()
        .map(Rule::read)
        .collect::<Result<Vec<_>, _>>()?;
    let notify = check_notify(spec, &rules, default)?;
    let flags = features::flags(&spec.flags, notify)?;
    let mut archs = architectures(&spec.architectures)?;
    archs.retain(wanted);
    let mut assembler = Assembler::default();
    let mut next = assembler.ret(Action::BAD_ARCH.0);
    while let Some(arch) = archs.pop() {
        // x32 shares its audit number with x86_64: both stand in one section.
        if arch == Arch::X32 && archs.contains(&Arch::X86_64) {
            continue;
        }
        let x32 = spec
            .architectures
            .iter()
            .any(|name| name == "SCMP_ARCH_X32");
        let section = section(&mut assembler, arch, x32, &rules, default);
        next = assembler.jump(Test::Equal, arch.audit(), section, next);
    }
    let first = assembler.load(ARCH, next);
    let program = assembler.finish(first);
    if program.len() > LONGEST {
        return Err(Error::TooLong(program.len()));
    }
    Ok(Filter {
        program,
        flags,
        notify,
    })
}

fn check_notify(spec: &spec::Seccomp, rules: &[Rule], default: Action) -> Result<bool, Error> {
    if default.notifies() {
        return Err(Error::NotifyDefault);
    }
    let notify = rules.iter().any(|rule| rule.action.notifies());
    if notify && spec.listener_path.is_empty() {
        return Err(Error::NoListenerPath);
    }
    Ok(notify)
}

/// The native architecture is always among them, as in libseccomp; the likeliest stands first.
fn architectures(names: &[String]) -> Result<Vec<Arch>, Error> {
    let mut archs = vec![Arch::native()];
    for name in names {
        let arch = Arch::parse(name).ok_or_else(|| Error::Unknown {
            what: "architecture",
            value: name.clone(),
        })?;
        archs.extend(arch.filter(|arch| !archs.contains(arch)));
    }
    Ok(archs)
}

/// The code for one architecture (x86_64: and its x32 calls).
fn section(
    assembler: &mut Assembler,
    arch: Arch,
    x32: bool,
    rules: &[Rule],
    default: Action,
) -> Position {
    let tree = match arch {
        Arch::X86_64 | Arch::X32 if x32 => {
            let above = search(
                assembler,
                Arch::X32,
                &numbers(Arch::X32, rules, default),
                default,
            );
            let below = match arch {
                Arch::X32 => assembler.ret(Action::BAD_ARCH.0),
                _ => search(assembler, arch, &numbers(arch, rules, default), default),
            };
            assembler.jump(Test::GreaterOrEqual, X32_BIT, above, below)
        }
        Arch::X86_64 => search(
            assembler,
            arch,
            &without_x32(numbers(arch, rules, default), default),
            default,
        ),
        _ => search(assembler, arch, &numbers(arch, rules, default), default),
    };
    assembler.load(NUMBER, tree)
}

/// x32's numbers are a foreign architecture's where the profile does not name it, unless they already answer ENOSYS
/// as all numbers above the profile's newest do. The last number is no call: a tracer sets it to have none made.
fn without_x32(mut ranges: Ranges, default: Action) -> Ranges {
    let open = Decision::Always(Action::NO_SUCH_CALL);
    if ranges.last().is_none_or(|(_, last)| *last != open) {
        ranges.push((X32_BIT, Decision::Always(Action::BAD_ARCH)));
        ranges.push((u32::MAX, Decision::Always(default)));
    }
    ranges
}

/// Ranges by their first number; each goes on to the next one's.
type Ranges = Vec<(u32, Decision)>;

fn numbers(arch: Arch, rules: &[Rule], default: Action) -> Ranges {
    let calls = decisions(arch, rules, default);
    let mut ranges: Ranges = vec![(0, Decision::Always(default))];
    let mut end = 0;
    for (number, decision) in calls {
        if number != end {
            push(&mut ranges, end, Decision::Always(default));
        }
        push(&mut ranges, number, decision);
        end = number + 1;
    }
    push(&mut ranges, end, Decision::Always(default));
    if !default.permissive()
        && let Some(newest) = newest_named(arch, rules)
    {
        no_such_call(&mut ranges, newest + 1);
    }
    ranges
}

fn push(ranges: &mut Ranges, start: u32, decision: Decision) {
    if ranges.last().is_some_and(|(last, _)| *last == start) {
        ranges.pop();
    }
    if ranges.last().is_none_or(|(_, last)| *last != decision) {
        ranges.push((start, decision));
    }
}

/// Numbers from `start` on that no rule decides do not exist; only Arm's private calls can stand above it.
fn no_such_call(ranges: &mut Ranges, start: u32) {
    let above = ranges.partition_point(|(first, _)| *first < start);
    let private = ranges.split_off(above);
    push(ranges, start, Decision::Always(Action::NO_SUCH_CALL));
    for (first, decision) in private.into_iter().filter(|(first, _)| *first > start) {
        push(ranges, first, decision);
    }
}

/// The largest number among all the names of the profile, whatever their action. Arm's private calls are no sign of
/// the profile's age.
fn newest_named(arch: Arch, rules: &[Rule]) -> Option<u32> {
    let calls = rules.iter().flat_map(|rule| &rule.calls);
    let numbers = calls.flat_map(|call| {
        [
            arch.number(*call),
            call.multiplexed(arch).map(|(number, _)| number),
        ]
    });
    numbers
        .flatten()
        .filter(|number| *number & ARM_PRIVATE != ARM_PRIVATE)
        .max()
}

fn search(
    assembler: &mut Assembler,
    arch: Arch,
    ranges: &[(u32, Decision)],
    default: Action,
) -> Position {
    if let [(_, decision)] = ranges {
        return decide(assembler, arch, decision, default);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let above = search(assembler, arch, high, default);
    let below = search(assembler, arch, low, default);
    assembler.jump(Test::GreaterOrEqual, high[0].0, above, below)
}

fn decide(assembler: &mut Assembler, arch: Arch, decision: &Decision, default: Action) -> Position {
    let cases = match decision {
        Decision::Always(action) => return assembler.ret(action.0),
        Decision::Cases(cases) => cases,
    };
    let mut next = assembler.ret(default.0);
    for (conditions, action) in cases.iter().rev() {
        let mut holds = assembler.ret(action.0);
        for condition in conditions.iter().rev() {
            holds = compare(assembler, arch, *condition, holds, next);
        }
        next = holds;
    }
    next
}

/// Goes to `yes` or `no` by one condition.
fn compare(
    assembler: &mut Assembler,
    arch: Arch,
    condition: Condition,
    yes: Position,
    no: Position,
) -> Position {
    let argument = Argument {
        offset: ARGUMENTS + 8 * condition.index,
        narrow: arch.narrow(),
    };
    match condition.test {
        Comparison::Equal(value) => argument.masked(assembler, (u64::MAX, value), yes, no),
        Comparison::NotEqual(value) => argument.masked(assembler, (u64::MAX, value), no, yes),
        Comparison::MaskedEqual(mask, value) => argument.masked(assembler, (mask, value), yes, no),
        Comparison::Greater(value) => argument.ordered(assembler, (Test::Greater, value), yes, no),
        Comparison::LessOrEqual(value) => {
            argument.ordered(assembler, (Test::Greater, value), no, yes)
        }
        Comparison::GreaterOrEqual(value) => {
            argument.ordered(assembler, (Test::GreaterOrEqual, value), yes, no)
        }
        Comparison::Less(value) => {
            argument.ordered(assembler, (Test::GreaterOrEqual, value), no, yes)
        }
    }
}

/// A 64-bit argument as the two words that BPF can load; the low one stands first on every architecture served.
#[derive(Clone, Copy)]
struct Argument {
    offset: u32,
    /// Only the low word counts.
    narrow: bool,
}

impl Argument {
    fn masked(
        self,
        assembler: &mut Assembler,
        (mask, value): (u64, u64),
        yes: Position,
        no: Position,
    ) -> Position {
        let low = masked_word(assembler, self.offset, (mask as u32, value as u32), yes, no);
        if self.narrow {
            return low;
        }
        masked_word(
            assembler,
            self.offset + 4,
            ((mask >> 32) as u32, (value >> 32) as u32),
            low,
            no,
        )
    }

    fn ordered(
        self,
        assembler: &mut Assembler,
        (test, value): (Test, u64),
        yes: Position,
        no: Position,
    ) -> Position {
        let low = assembler.jump(test, value as u32, yes, no);
        let low = assembler.load(self.offset, low);
        if self.narrow {
            return low;
        }
        let high = (value >> 32) as u32;
        let not_above = assembler.jump(Test::Equal, high, low, no);
        let decided = assembler.jump(Test::Greater, high, yes, not_above);
        assembler.load(self.offset + 4, decided)
    }
}

/// Whether the word at `offset` under `mask` is `value`; a mask of nothing needs no look.
fn masked_word(
    assembler: &mut Assembler,
    offset: u32,
    (mask, value): (u32, u32),
    yes: Position,
    no: Position,
) -> Position {
    if mask == 0 {
        return if value == 0 { yes } else { no };
    }
    let test = assembler.jump(Test::Equal, value, yes, no);
    let test = if mask == u32::MAX {
        test
    } else {
        assembler.and(mask, test)
    };
    assembler.load(offset, test)
}
