//! Whole lines out of a file that may still grow, with one buffer.
//!
//! A line that is longer than the buffer is passed over: no line of a log is, and none may cost more memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memchr;

use crate::entry::LONGEST;

#[derive(Debug)]
pub struct Lines {
    buffer: Box<[u8]>,
    /// The bytes that wait: `start..end`.
    start: usize,
    end: usize,
    /// The line that waits has lost its beginning.
    torn: bool,
}

impl Lines {
    pub fn new() -> Lines {
        Lines {
            buffer: vec![0; LONGEST].into_boxed_slice(),
            start: 0,
            end: 0,
            torn: false,
        }
    }

    /// Reads on at `offset`, no further than `limit`; says how many bytes came, 0 at the present end.
    pub fn fill(&mut self, file: &File, offset: u64, limit: u64) -> io::Result<usize> {
        self.make_room();
        let wanted = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        let room = (self.buffer.len() - self.end).min(wanted);
        let count = file.read_at(&mut self.buffer[self.end..self.end + room], offset)?;
        self.end += count;
        Ok(count)
    }

    /// The next whole line, without its newline.
    pub fn next(&mut self) -> Option<&[u8]> {
        loop {
            let length = memchr(b'\n', &self.buffer[self.start..self.end])?;
            let from = self.start;
            self.start += length + 1;
            if !std::mem::take(&mut self.torn) {
                return Some(&self.buffer[from..from + length]);
            }
        }
    }

    /// Forgets a line that will never end: another file comes next.
    pub fn restart(&mut self) {
        (self.start, self.end, self.torn) = (0, 0, false);
    }

    fn make_room(&mut self) {
        if self.start == 0 && self.end == self.buffer.len() {
            (self.end, self.torn) = (0, true);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_line_of_a_hostile_size_costs_only_itself() {
        let path = std::env::temp_dir().join(format!("stockade-lines-{}", std::process::id()));
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        let longest = vec![b'x'; LONGEST - 1];
        file.write_all(b"before\n").unwrap();
        file.write_all(&vec![b'y'; 5 * LONGEST + 3]).unwrap();
        file.write_all(b"\nafter\n").unwrap();
        file.write_all(&longest).unwrap();
        file.write_all(b"\nhalf").unwrap();
        let (mut lines, mut offset, mut found) = (Lines::new(), 0, Vec::new());
        loop {
            while let Some(line) = lines.next() {
                found.push(line.to_vec());
            }
            match lines.fill(&file, offset, u64::MAX).unwrap() {
                0 => break,
                count => offset += count as u64,
            }
        }
        assert_eq!(found, [b"before".to_vec(), b"after".to_vec(), longest]);
    }
}
