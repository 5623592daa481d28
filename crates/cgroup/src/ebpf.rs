//! Device rules as a program of extended BPF, which cgroup v2 asks for each open and mknod of a device (linux/bpf.h,
//! `struct bpf_cgroup_dev_ctx`).

use sys::BpfInsn;

use crate::devices::{ALL, Kind, Rule};

/// Registers: the answer, the context, then what is read from it.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_EQUAL: u8 = 0x16;
const JUMP_NOT_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

const BLOCK: i32 = 1;
const CHAR: i32 = 2;

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> BpfInsn {
    BpfInsn {
        code,
        registers: to | from << 4,
        offset,
        immediate,
    }
}

/// The last rule that matches decides, so the program asks from the last to the first; without a match it refuses.
pub(crate) fn program(rules: &[Rule]) -> Vec<BpfInsn> {
    let mut code = vec![
        instruction(LOAD_WORD, TYPE, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, ACCESS, TYPE, 0, 0),
        instruction(AND, TYPE, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        code.extend(block(rule));
        if rule.kind == Kind::Any {
            return code;
        }
    }
    code.extend(answer(false));
    code
}

fn answer(allow: bool) -> [BpfInsn; 2] {
    [
        instruction(MOVE, ANSWER, 0, 0, i32::from(allow)),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// Answers when the rule matches, falls through to the next block when not.
fn block(rule: &Rule) -> Vec<BpfInsn> {
    let mut tests = Vec::new();
    match rule.kind {
        Kind::Any => {}
        Kind::Char => tests.push(instruction(JUMP_NOT_EQUAL, TYPE, 0, 0, CHAR)),
        Kind::Block => tests.push(instruction(JUMP_NOT_EQUAL, TYPE, 0, 0, BLOCK)),
    }
    if rule.access != ALL {
        // To allow, everything asked must be in the rule; to refuse, any of it suffices.
        let (mask, jump) = if rule.allow {
            (ALL & !rule.access, JUMP_NOT_EQUAL)
        } else {
            (rule.access, JUMP_EQUAL)
        };
        tests.push(instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
        tests.push(instruction(AND, SCRATCH, 0, 0, i32::from(mask)));
        tests.push(instruction(jump, SCRATCH, 0, 0, 0));
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(number) = number {
            // A 32-bit comparison: the immediate's sign does not matter.
            tests.push(instruction(JUMP_NOT_EQUAL, register, 0, 0, number as i32));
        }
    }
    tests.extend(answer(rule.allow));
    let end = tests.len();
    for (at, test) in tests.iter_mut().enumerate() {
        if test.code == JUMP_EQUAL || test.code == JUMP_NOT_EQUAL {
            test.offset = (end - at - 1) as i16;
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::{MKNOD, READ, WRITE};

    /// Runs the few instructions that are used here.
    fn run(code: &[BpfInsn], kind: i32, access: u8, major: u32, minor: u32) -> bool {
        let context = [(u32::from(access) << 16 | kind as u32), major, minor];
        let (mut registers, mut at) = ([0u64; 7], 0usize);
        loop {
            let BpfInsn {
                code: operation,
                registers: pair,
                offset,
                immediate,
            } = code[at];
            let (to, from) = ((pair & 15) as usize, (pair >> 4) as usize);
            at += 1;
            match operation {
                LOAD_WORD => registers[to] = context[offset as usize / 4].into(),
                MOVE => registers[to] = immediate as u64,
                MOVE_REGISTER => registers[to] = registers[from],
                AND => registers[to] &= immediate as u64,
                SHIFT_RIGHT => registers[to] >>= immediate,
                JUMP_EQUAL if registers[to] as u32 == immediate as u32 => at += offset as usize,
                JUMP_NOT_EQUAL if registers[to] as u32 != immediate as u32 => at += offset as usize,
                JUMP_EQUAL | JUMP_NOT_EQUAL => {}
                EXIT => return registers[0] != 0,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn rule(allow: bool, kind: Kind, numbers: (Option<u32>, Option<u32>), access: u8) -> Rule {
        Rule {
            allow,
            kind,
            major: numbers.0,
            minor: numbers.1,
            access,
        }
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let code = program(&[
            rule(false, Kind::Any, (None, None), ALL),
            rule(true, Kind::Char, (Some(10), None), READ | WRITE),
            rule(false, Kind::Char, (Some(10), Some(200)), WRITE),
            rule(true, Kind::Block, (None, None), MKNOD),
        ]);
        assert!(run(&code, CHAR, READ | WRITE, 10, 1));
        assert!(
            !run(&code, CHAR, READ | MKNOD, 10, 1),
            "more was asked than the rule gives"
        );
        assert!(!run(&code, CHAR, READ | WRITE, 10, 200) && run(&code, CHAR, READ, 10, 200));
        assert!(run(&code, BLOCK, MKNOD, 8, 0) && !run(&code, BLOCK, READ, 8, 0));
        assert!(!run(&code, CHAR, READ, 1, 1));
    }

    #[test]
    fn everything_and_nothing() {
        assert!(run(
            &program(&[rule(true, Kind::Any, (None, None), ALL)]),
            BLOCK,
            ALL,
            8,
            1
        ));
        assert!(!run(&program(&[]), CHAR, READ, 1, 3));
        let high = program(&[rule(true, Kind::Char, (Some(u32::MAX), None), ALL)]);
        assert!(run(&high, CHAR, READ, u32::MAX, 0));
    }
}
