//! Log files that the shim writes itself: entries by [`lines`], into a file that rotates.
//!
//! A log never blocks the workload and never fails it: what the disk does not take is dropped and counted, and the file
//! keeps only whole entries.

mod escape;
mod lines;
mod stamp;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use lines::{Format, Stream};
pub use stamp::rfc3339;

use lines::Lines;
use stamp::Stamp;

/// The bytes of entries that are gathered before they are written.
const BATCH: usize = 256 * 1024;

/// When a file is renamed away: above `max_size` bytes, keeping `max_files` files in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    pub max_size: u64,
    pub max_files: u32,
}

/// One log file with the state of both streams that may write to it.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    rotation: Option<Rotation>,
    streams: [Lines; 2],
    stamp: Stamp,
    dropped: u64,
}

impl Log {
    /// `attrs` is a JSON object that each entry of a JSON log has; empty: none.
    pub fn open(
        path: &Path,
        format: Format,
        rotation: Option<Rotation>,
        attrs: &str,
    ) -> io::Result<Log> {
        let file = open(path)?;
        let size = file.metadata()?.len();
        let streams = [
            Lines::new(format, Stream::Stdout, attrs),
            Lines::new(format, Stream::Stderr, attrs),
        ];
        Ok(Log {
            path: path.to_owned(),
            file,
            size,
            rotation,
            streams,
            stamp: Stamp::default(),
            dropped: 0,
        })
    }

    /// Bytes of output that no file took.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Writes what a stream produced; `out` is scratch space.
    pub fn write(&mut self, stream: Stream, mut data: &[u8], now: SystemTime, out: &mut Vec<u8>) {
        while !data.is_empty() {
            out.clear();
            let limit = self.room().min(BATCH);
            let stamp = self.stamp.of(now);
            let taken = self.streams[stream as usize].push(data, stamp, out, limit);
            self.put(out);
            data = &data[taken..];
        }
    }

    /// Writes what waits for its newline: the stream has ended.
    pub fn finish(&mut self, stream: Stream, now: SystemTime) {
        let mut out = Vec::new();
        let stamp = self.stamp.of(now);
        self.streams[stream as usize].finish(stamp, &mut out);
        self.put(&out);
    }

    /// Begins the file at the log's path anew: somebody renamed the old one.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }

    /// How many bytes the file takes before it is full.
    fn room(&self) -> usize {
        match self.rotation {
            Some(rotation) => usize::try_from(rotation.max_size.saturating_sub(self.size).max(1))
                .unwrap_or(usize::MAX),
            None => usize::MAX,
        }
    }

    /// Appends whole entries, after a rotation if the file is full; on failure the file is as before.
    fn put(&mut self, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        if self
            .rotation
            .is_some_and(|rotation| self.size >= rotation.max_size)
        {
            self.rotate();
        }
        match self.file.write_all(entries) {
            Ok(()) => self.size += entries.len() as u64,
            Err(_) => {
                self.dropped += entries.len() as u64;
                // A half written entry would spoil the next one; where even this fails, the reader sees one bad line.
                let _ = self.file.set_len(self.size);
            }
        }
    }

    /// Renames `path` to `path.1`, `path.1` to `path.2`… and begins anew. A step that fails keeps the file: it grows, nothing is lost.
    fn rotate(&mut self) {
        let files = self.rotation.map_or(1, |rotation| rotation.max_files);
        if files <= 1 {
            if self.file.set_len(0).is_ok() {
                self.size = 0;
            }
            return;
        }
        for number in (1..files - 1).rev() {
            let _ = std::fs::rename(self.numbered(number), self.numbered(number + 1));
        }
        if std::fs::rename(&self.path, self.numbered(1)).is_ok() && self.reopen().is_err() {
            let _ = std::fs::rename(self.numbered(1), &self.path);
        }
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

/// Opens for appending; a FIFO without a reader at this path is refused instead of waited for.
fn open(path: &Path) -> io::Result<File> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(nonblock)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path =
                std::env::temp_dir().join(format!("stockade-log-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn write(log: &mut Log, text: &str) {
        log.write(Stream::Stdout, text.as_bytes(), UNIX_EPOCH, &mut Vec::new());
    }

    #[test]
    fn a_full_file_is_renamed_and_the_oldest_goes() {
        let dir = Scratch::new("rotate");
        let path = dir.0.join("log");
        let entry = "1970-01-01T00:00:00.000000000Z stdout F 0\n".len() as u64;
        let mut log = Log::open(
            &path,
            Format::Cri,
            Some(Rotation {
                max_size: 2 * entry,
                max_files: 3,
            }),
            "",
        )
        .unwrap();
        write(&mut log, "0\n1\n2\n3\n4\n5\n6\n7\n8\n");
        let last = |name: &str| {
            let text = std::fs::read_to_string(dir.0.join(name)).unwrap();
            text.lines()
                .map(|line| line.chars().last().unwrap())
                .collect::<String>()
        };
        assert_eq!(
            (last("log.2"), last("log.1"), last("log")),
            ("45".into(), "67".into(), "8".into())
        );
        assert!(!dir.0.join("log.3").exists());
    }

    #[test]
    fn one_file_is_truncated() {
        let dir = Scratch::new("truncate");
        let path = dir.0.join("log");
        let mut log = Log::open(
            &path,
            Format::Json,
            Some(Rotation {
                max_size: 10,
                max_files: 1,
            }),
            "",
        )
        .unwrap();
        write(&mut log, "one\ntwo\n");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("two") && !text.contains("one"), "{text}");
    }

    #[test]
    fn a_renamed_file_is_begun_anew_on_demand() {
        let dir = Scratch::new("reopen");
        let path = dir.0.join("log");
        let mut log = Log::open(&path, Format::Raw, None, "").unwrap();
        write(&mut log, "before");
        std::fs::rename(&path, dir.0.join("old")).unwrap();
        log.reopen().unwrap();
        write(&mut log, "after");
        assert_eq!(
            std::fs::read_to_string(dir.0.join("old")).unwrap(),
            "before"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after");
    }

    #[test]
    fn a_full_disk_drops_and_counts() {
        let mut log = Log::open(Path::new("/dev/full"), Format::Raw, None, "").unwrap();
        write(&mut log, "lost");
        assert_eq!(log.dropped(), 4);
    }
}
