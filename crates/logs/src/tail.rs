//! Where the last entries begin: newlines counted from the end, through older files if the newest has too few.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memrchr_iter;

use crate::Result;
use crate::chain::{Chain, Piece};
use crate::read::failed;

const BLOCK: u64 = 64 * 1024;

/// The file and the offset in it from which on there are `count` whole lines, or fewer when there are no more.
pub fn find(chain: &Chain, newest: Piece, count: u64) -> Result<(Piece, u64)> {
    let (mut piece, mut left) = (newest, count);
    loop {
        let found = last_lines(&piece.file, left).map_err(failed)?;
        match found {
            Found::At(offset) => return Ok((piece, offset)),
            Found::Only(lines) => left -= lines,
        }
        match chain.before(&piece)? {
            Some(older) => piece = older,
            None => return Ok((piece, 0)),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    At(u64),
    /// The file has fewer lines.
    Only(u64),
}

fn last_lines(file: &File, count: u64) -> io::Result<Found> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; BLOCK as usize];
    let mut newlines = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let part = &mut block[..(end - start) as usize];
        match file.read_exact_at(part, start) {
            // Emptied by its writer meanwhile: what it holds now is the end.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Found::At(0)),
            read => read?,
        }
        for place in memrchr_iter(b'\n', part) {
            if newlines == count {
                return Ok(Found::At(start + place as u64 + 1));
            }
            newlines += 1;
        }
        end = start;
    }
    Ok(if newlines == count {
        Found::At(0)
    } else {
        Found::Only(newlines)
    })
}
