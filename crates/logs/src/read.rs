//! The loop: where to begin, what comes next, when it is over.

use std::io;
use std::os::fd::BorrowedFd;

use crate::args::Options;
use crate::chain::{Chain, Piece};
use crate::choice::Verdict;
use crate::entry::Entry;
use crate::lines::Lines;
use crate::sink::Sink;
use crate::watch::Watch;
use crate::{Error, Result, tail};

/// Reads the log as `options` say, to descriptors for what was printed to stdout and to stderr.
pub fn read(options: &Options, outputs: [BorrowedFd<'_>; 2]) -> Result<()> {
    let mut watch = match options.follow {
        true => Some(Watch::new(options, outputs)?),
        false => None,
    };
    let mut reader = Reader {
        options,
        chain: Chain::new(&options.path),
        lines: Lines::new(),
        sink: Sink::new(&options.form, outputs),
        offset: 0,
        end: None,
    };
    let mut piece = reader.begin(options.follow)?;
    loop {
        let over = watch.as_ref().is_none_or(Watch::is_over);
        let ended = reader.exhaust(&mut piece, watch.as_mut())?;
        reader.sink.flush()?;
        match &mut watch {
            Some(watch) if !over && !ended => watch.wait()?,
            _ => return Ok(()),
        }
    }
}

struct Reader<'a> {
    options: &'a Options,
    chain: Chain,
    lines: Lines,
    sink: Sink<'a>,
    /// Up to where the present file is read.
    offset: u64,
    /// Without --follow: the newest file and its size as they were at the start. A busy writer has no end.
    end: Option<(Piece, u64)>,
}

impl Reader<'_> {
    /// The file to begin with.
    fn begin(&mut self, follow: bool) -> Result<Option<Piece>> {
        if !follow && let Some(newest) = self.chain.newest()? {
            let size = newest.size().map_err(failed)?;
            self.end = Some((newest, size));
        }
        let Some(count) = self.options.tail else {
            return self.chain.oldest();
        };
        let Some(newest) = self.chain.newest()? else {
            return Ok(None);
        };
        let (piece, offset) = tail::find(&self.chain, newest, count)?;
        self.offset = offset;
        Ok(Some(piece))
    }

    /// Reads all there is; says whether nothing of what follows is wanted.
    fn exhaust(
        &mut self,
        piece: &mut Option<Piece>,
        mut watch: Option<&mut Watch<'_>>,
    ) -> Result<bool> {
        loop {
            if let Some(piece) = piece {
                if let Some(watch) = &mut watch {
                    watch.on(&piece.file)?;
                }
                if self.piece(piece)? {
                    return Ok(true);
                }
            }
            let Some(next) = self.after(piece.as_ref())? else {
                return Ok(false);
            };
            // What was written before it was renamed.
            if let Some(piece) = piece
                && self.piece(piece)?
            {
                return Ok(true);
            }
            self.lines.restart();
            self.offset = 0;
            *piece = Some(next);
        }
    }

    /// The file that comes after this one.
    fn after(&self, piece: Option<&Piece>) -> Result<Option<Piece>> {
        let Some(piece) = piece else {
            return match self.options.follow {
                true => self.chain.oldest(),
                false => Ok(None),
            };
        };
        if self.end.as_ref().is_some_and(|(end, _)| end.is(piece)) {
            return Ok(None);
        }
        let next = self.chain.after(piece)?;
        match &self.end {
            // Rotated away while somebody read slowly: it is open still.
            Some((end, _)) if !self.chain.has(end)? => end.again().map(Some).map_err(failed),
            _ => Ok(next),
        }
    }

    /// Reads a file to its end; says whether nothing of what follows is wanted.
    fn piece(&mut self, piece: &Piece) -> Result<bool> {
        let limit = match &self.end {
            Some((end, size)) if end.is(piece) => *size,
            _ => u64::MAX,
        };
        loop {
            let count = self
                .lines
                .fill(&piece.file, self.offset, limit)
                .map_err(failed)?;
            self.offset += count as u64;
            if count == 0 {
                if piece.size().map_err(failed)? >= self.offset {
                    return Ok(false);
                }
                // The only file of a log that keeps one: emptied, and begun anew.
                self.lines.restart();
                self.offset = 0;
            }
            while let Some(line) = self.lines.next() {
                let Some(entry) = Entry::parse(line) else {
                    continue;
                };
                match self.options.choice.judge(&entry) {
                    Verdict::Show => self.sink.put(&entry, line)?,
                    Verdict::Skip => {}
                    Verdict::Over => return Ok(true),
                }
            }
        }
    }
}

pub fn failed(source: io::Error) -> Error {
    Error::ReadOpen(source)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::moment::Moment;
    use crate::sink::{Form, Kind};

    static NUMBER: AtomicU32 = AtomicU32::new(0);

    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("stockade-logs-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        fn log(&self) -> PathBuf {
            self.0.join("log")
        }

        fn options(&self) -> Options {
            Options {
                path: self.log(),
                ..Options::default()
            }
        }

        fn output(&self) -> File {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            File::options()
                .create_new(true)
                .read(true)
                .append(true)
                .open(self.0.join(format!("output-{number}")))
                .unwrap()
        }

        /// What is read to both descriptors.
        fn read(&self, options: &Options) -> (String, String) {
            let (mut stdout, mut stderr) = (self.output(), self.output());
            read(options, [stdout.as_fd(), stderr.as_fd()]).unwrap();
            (text(&mut stdout), text(&mut stderr))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn text(file: &mut File) -> String {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    fn line(text: &str, second: usize, stream: &str) -> String {
        let log = serde_json::to_string(text).unwrap();
        let time = Moment {
            seconds: second as i64,
            nanos: 0,
        };
        let time = time.render();
        format!("{{\"log\":{log},\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
    }

    /// As the shim does it.
    fn rotate(path: &Path, files: u32) {
        let numbered = |number: u32| match number {
            0 => path.to_owned(),
            _ => PathBuf::from(format!("{}.{number}", path.display())),
        };
        for number in (0..files - 1).rev() {
            let _ = std::fs::rename(numbered(number), numbered(number + 1));
        }
    }

    fn append(path: &Path, bytes: &[u8]) {
        let file = File::options().create(true).append(true).open(path);
        file.unwrap().write_all(bytes).unwrap();
    }

    #[derive(Debug, Clone)]
    struct Printed {
        text: String,
        is_error: bool,
        rotates: bool,
    }

    fn printed() -> impl Strategy<Value = Vec<Printed>> {
        let one = ("[\\PC\n\t\"\\\\\u{1}]{0,40}", any::<bool>(), 0u8..5).prop_map(
            |(text, is_error, dice)| Printed {
                text,
                is_error,
                rotates: dice == 0,
            },
        );
        proptest::collection::vec(one, 0..30)
    }

    fn stream(is_error: bool) -> &'static str {
        if is_error { "stderr" } else { "stdout" }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_log_is_chosen_from_as_a_list_would_be(
            all in printed(), tail in 0usize..40, since in 0usize..30, until in 0usize..40,
        ) {
            let scratch = Scratch::new();
            for (second, one) in all.iter().enumerate() {
                if one.rotates {
                    rotate(&scratch.log(), 40);
                }
                append(&scratch.log(), line(&one.text, second, stream(one.is_error)).as_bytes());
            }
            append(&scratch.log(), b"{\"log\":\"being wri");
            let mut options = scratch.options();
            options.tail = Some(tail as u64);
            options.choice.since = Moment::parse(&since.to_string());
            options.choice.until = Moment::parse(&until.to_string());
            let mut wanted = (String::new(), String::new());
            for (second, one) in all.iter().enumerate().skip(all.len().saturating_sub(tail)) {
                if second >= since && second <= until {
                    let target = if one.is_error { &mut wanted.1 } else { &mut wanted.0 };
                    target.push_str(&one.text);
                }
            }
            prop_assert_eq!(scratch.read(&options), wanted);
        }

        #[test]
        fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let scratch = Scratch::new();
            append(&scratch.log(), &bytes);
            append(&scratch.log(), b"\n");
            append(&scratch.log(), line("last\n", 1, "stdout").as_bytes());
            prop_assert!(scratch.read(&scratch.options()).0.ends_with("last\n"));
        }

        #[test]
        fn frames_hold_what_was_printed(all in printed()) {
            let scratch = Scratch::new();
            for one in &all {
                append(&scratch.log(), line(&one.text, 0, stream(one.is_error)).as_bytes());
            }
            let options = Options {
                form: Form { kind: Kind::Framed, ..Form::default() },
                ..scratch.options()
            };
            let mut output = scratch.output();
            read(&options, [output.as_fd(), output.as_fd()]).unwrap();
            let mut wanted = Vec::new();
            for one in &all {
                wanted.extend([if one.is_error { 2 } else { 1 }, 0, 0, 0]);
                wanted.extend((one.text.len() as u32).to_be_bytes());
                wanted.extend(one.text.as_bytes());
            }
            let mut found = Vec::new();
            output.rewind().unwrap();
            output.read_to_end(&mut found).unwrap();
            prop_assert_eq!(found, wanted);
        }
    }

    /// A writer that tears its writes and rotates, and a reader beside it: nothing is lost, doubled or out of order.
    #[test]
    fn a_followed_log_is_whole_through_rotations() {
        const LINES: usize = 20_000;
        let scratch = Scratch::new();
        let path = scratch.log();
        let bundle = scratch.0.join("bundle");
        std::fs::create_dir(&bundle).unwrap();
        let options = Options {
            follow: true,
            until_exit: Some(bundle.clone()),
            ..scratch.options()
        };
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..LINES {
                    // No more files than lines would be lost in: the reader may be slow.
                    if number % 97 == 0 {
                        rotate(&path, 400);
                    }
                    let line = line(&format!("{number}\n"), number, "stdout");
                    let (one, other) = line.as_bytes().split_at(number % line.len());
                    append(&path, one);
                    append(&path, other);
                }
                File::create(bundle.join("exit.json.new")).unwrap();
                std::fs::rename(bundle.join("exit.json.new"), bundle.join("exit.json")).unwrap();
            });
            scratch.read(&options).0
        });
        let wanted: String = (0..LINES).map(|number| format!("{number}\n")).collect();
        assert!(found == wanted, "{} of {} bytes", found.len(), wanted.len());
    }

    #[test]
    fn a_log_of_one_file_is_read_on_when_it_is_emptied() {
        let scratch = Scratch::new();
        let bundle = scratch.0.join("bundle");
        std::fs::create_dir(&bundle).unwrap();
        append(
            &scratch.log(),
            line("a long first entry\n", 0, "stdout").as_bytes(),
        );
        let options = Options {
            follow: true,
            until_exit: Some(bundle.clone()),
            ..scratch.options()
        };
        let (mut pipe, output) = io::pipe().unwrap();
        let found = std::thread::scope(|scope| {
            let reader = scope.spawn(|| read(&options, [output.as_fd(), output.as_fd()]));
            let mut first = [0; 19];
            pipe.read_exact(&mut first).unwrap();
            File::options()
                .write(true)
                .truncate(true)
                .open(scratch.log())
                .unwrap();
            append(&scratch.log(), line("b\n", 0, "stdout").as_bytes());
            let mut second = [0; 2];
            pipe.read_exact(&mut second).unwrap();
            std::fs::remove_dir(&bundle).unwrap();
            reader.join().unwrap().unwrap();
            second
        });
        assert_eq!(&found, b"b\n");
    }

    #[test]
    fn a_hole_that_a_killed_writer_left_hides_nothing() {
        let scratch = Scratch::new();
        for (name, text) in [("log.3", "a\n"), ("log.1", "b\n"), ("log", "c\n")] {
            append(&scratch.0.join(name), line(text, 0, "stdout").as_bytes());
        }
        assert_eq!(scratch.read(&scratch.options()).0, "a\nb\nc\n");
        let options = Options {
            tail: Some(3),
            ..scratch.options()
        };
        assert_eq!(scratch.read(&options).0, "a\nb\nc\n");
    }

    #[test]
    fn times_and_attributes_stand_before() {
        let scratch = Scratch::new();
        append(
            &scratch.log(),
            b"{\"log\":\"x\\n\",\"stream\":\"stdout\",\"attrs\":{\"k\":\"v w\"},\"time\":\"2026-01-01T02:00:00.5+02:00\"}\n",
        );
        let mut options = scratch.options();
        (options.form.timestamps, options.form.details) = (true, true);
        assert_eq!(
            scratch.read(&options).0,
            "2026-01-01T00:00:00.500000000Z k=v+w x\n"
        );
    }
}
