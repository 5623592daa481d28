//! Finds the keys by which a person leaves an attached container in what they type. Pure.

/// Watches for one sequence; bytes that may be its beginning are held back until that is decided.
#[derive(Debug, Clone, Default)]
pub struct DetachKeys {
    sequence: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// An empty sequence is never found.
    pub fn new(sequence: &str) -> DetachKeys {
        DetachKeys {
            sequence: sequence.as_bytes().to_vec(),
            matched: 0,
        }
    }

    /// Appends to `out` what the program is to get of `typed`; true when the sequence is complete (what follows it is lost).
    pub fn filter(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        if self.sequence.is_empty() {
            out.extend_from_slice(typed);
            return false;
        }
        for &byte in typed {
            while self.sequence[self.matched] != byte && self.matched > 0 {
                self.release(out);
            }
            if self.sequence[self.matched] != byte {
                out.push(byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.sequence.len() {
                self.matched = 0;
                return true;
            }
        }
        false
    }

    /// Lets go of the shortest beginning after which the rest that is held may still begin the sequence.
    fn release(&mut self, out: &mut Vec<u8>) {
        let held = &self.sequence[..self.matched];
        let step = (1..=held.len())
            .find(|&step| held[step..] == self.sequence[..held.len() - step])
            .unwrap_or(held.len());
        out.extend_from_slice(&held[..step]);
        self.matched -= step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences() {
        let cases: [(&str, &[&str], &str, bool); 9] = [
            ("", &["any\x10\x11"], "any\x10\x11", false),
            ("\x10\x11", &["ab\x10\x11cd"], "ab", true),
            ("\x10\x11", &["ab\x10", "\x11"], "ab", true),
            ("\x10\x11", &["\x10x\x11"], "\x10x\x11", false),
            ("\x10\x11", &["\x10\x10\x11"], "\x10", true),
            ("\x10\x11", &["end\x10"], "end", false),
            ("aab", &["aaab"], "a", true),
            ("abac", &["ababac"], "ab", true),
            ("a", &["xa"], "x", true),
        ];
        for (sequence, typed, expected, detached) in cases {
            let mut keys = DetachKeys::new(sequence);
            let mut out = Vec::new();
            let seen = typed
                .iter()
                .any(|typed| keys.filter(typed.as_bytes(), &mut out));
            assert_eq!(
                (String::from_utf8(out).unwrap().as_str(), seen),
                (expected, detached),
                "{sequence:?} in {typed:?}"
            );
        }
    }
}
