//! Classic BPF, written from its end to its beginning: every jump then knows its target, equal returns are shared, and a
//! target further than a conditional jump reaches gets an unconditional one in between.

use sys::SockFilter;

const LD_ABS: u16 = 0x20;
const AND: u16 = 0x54;
const JA: u16 = 0x05;
const RET: u16 = 0x06;
/// The longest distance of a conditional jump, less the two jumps that may be put in between.
const REACH: usize = 253;

/// A comparison of the accumulator with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Test {
    Equal = 0x15,
    Greater = 0x25,
    GreaterOrEqual = 0x35,
}

/// An instruction that was already written, counted from the program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position(usize);

#[derive(Default)]
pub(crate) struct Assembler {
    reversed: Vec<SockFilter>,
    /// The latest return of each value; a filter has a handful.
    returns: Vec<(u32, Position)>,
}

impl Assembler {
    fn emit(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Position {
        self.reversed.push(SockFilter { code, jt, jf, k });
        Position(self.reversed.len() - 1)
    }

    fn distance(&self, to: Position) -> usize {
        self.reversed.len() - to.0 - 1
    }

    /// A return of `value` that is near enough for any jump.
    pub(crate) fn ret(&mut self, value: u32) -> Position {
        let slot = self.returns.iter().position(|(known, _)| *known == value);
        if let Some((_, known)) = slot.map(|slot| self.returns[slot])
            && self.distance(known) < REACH
        {
            return known;
        }
        let fresh = self.emit(RET, 0, 0, value);
        match slot {
            Some(slot) => self.returns[slot].1 = fresh,
            None => self.returns.push((value, fresh)),
        }
        fresh
    }

    fn near(&mut self, to: Position) -> Position {
        let distance = self.distance(to);
        if distance <= REACH {
            to
        } else {
            self.emit(JA, 0, 0, distance as u32)
        }
    }

    /// Jumps to `yes` or `no` by what `test` says of the accumulator and `k`.
    pub(crate) fn jump(&mut self, test: Test, k: u32, yes: Position, no: Position) -> Position {
        if yes == no {
            return yes;
        }
        let (yes, no) = (self.near(yes), self.near(no));
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.emit(test as u16, jt, jf, k)
    }

    /// Loads the word at `offset` of `struct seccomp_data`, then goes on at `next`.
    pub(crate) fn load(&mut self, offset: u32, next: Position) -> Position {
        self.fall_into(next);
        self.emit(LD_ABS, 0, 0, offset)
    }

    pub(crate) fn and(&mut self, mask: u32, next: Position) -> Position {
        self.fall_into(next);
        self.emit(AND, 0, 0, mask)
    }

    fn fall_into(&mut self, next: Position) {
        let distance = self.distance(next);
        if distance != 0 {
            self.emit(JA, 0, 0, distance as u32);
        }
    }

    /// The program that begins with the last instruction written.
    pub(crate) fn finish(mut self, first: Position) -> Vec<SockFilter> {
        self.fall_into(first);
        self.reversed.reverse();
        self.reversed
    }
}
