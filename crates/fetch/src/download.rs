//! From one source into the spool: whole or in ranges side by side, gone on with after a cut.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::Uri;
use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::client::{self, Answer, Client};
use crate::error::Error;
use crate::range::{self, Held};
use crate::report;
use crate::spool::Spool;
use crate::tries::{Next, Tries};

/// From this size on a blob is asked for in ranges.
const LARGE: u64 = 16 << 20;
/// What one request asks for then.
const RANGE: u64 = 8 << 20;
const CONNECTIONS: usize = 4;
const BUFFER: usize = 256 * 1024;
/// How long a wait goes on after it became pointless.
const STEP: Duration = Duration::from_millis(100);
/// Fewer bytes than this within twice the stall limit are a stall, too.
const TRICKLE: u64 = 32 * 1024;

/// One source, and where its bytes go.
pub struct Download<'a> {
    pub client: &'a Client,
    pub spool: &'a Spool,
    /// None: not known.
    pub size: Option<u64>,
    pub max_bytes: u64,
    pub media_type: &'a str,
    /// Whether a digest tells that parts belong together.
    pub checked: bool,
    pub stall: Duration,
    pub last_source: bool,
    /// Where a redirect led to; asked first, as long as it answers.
    pub settled: Mutex<Option<Uri>>,
    pub stopped: AtomicBool,
}

/// A run of bytes that is still missing; `to` None: up to the end.
#[derive(Debug, Clone, Copy)]
struct Run {
    from: u64,
    to: Option<u64>,
}

/// How an answer's body relates to what was asked.
enum Body {
    /// Exactly the bytes from there on.
    Part,
    /// The whole blob: the server knows no ranges.
    Whole,
}

impl Download<'_> {
    /// Brings everything beyond the frontier.
    pub fn run(&self) -> Result<(), Error> {
        match self.size {
            Some(size) if size >= LARGE && size - self.spool.frontier() > RANGE => {
                self.ranges(size)
            }
            _ => {
                let from = self.spool.frontier();
                self.bring(
                    Run {
                        from,
                        to: self.size,
                    },
                    &mut Tries::new(self.last_source),
                )
            }
        }
    }

    /// The first range shows whether the server has ranges; then the others follow side by side.
    fn ranges(&self, size: u64) -> Result<(), Error> {
        let mut tries = Tries::new(self.last_source);
        let start = self.spool.frontier();
        let first = Run {
            from: start,
            to: Some(start + RANGE),
        };
        let (answer, body) = loop {
            match self.ask(first) {
                Ok(found) => break found,
                Err(error) => self.wait(error, &mut tries)?,
            }
        };
        if matches!(body, Body::Whole) {
            let all = Run {
                from: start,
                to: Some(size),
            };
            return self.go_on(all, (answer, body), &mut tries);
        }
        self.spool.scatter(size)?;
        let queue = Queue {
            next: AtomicU64::new(start + RANGE),
            size,
        };
        let failure = Mutex::new(None);
        let fail = |outcome: Result<(), Error>| {
            if let Err(error) = outcome {
                // First of all the reason: what the others say then comes of it.
                failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(error);
                self.stop();
            }
        };
        thread::scope(|scope| {
            for _ in 1..CONNECTIONS {
                scope.spawn(|| fail(self.serve(&queue, &mut Tries::new(self.last_source))));
            }
            fail(
                self.go_on(first, (answer, body), &mut tries)
                    .and_then(|()| self.serve(&queue, &mut tries)),
            );
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Takes ranges until there are none.
    fn serve(&self, queue: &Queue, tries: &mut Tries) -> Result<(), Error> {
        while let Some(run) = queue.take() {
            self.bring(run, tries)?;
        }
        Ok(())
    }

    /// Makes every thread of this source end soon.
    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.client.shut();
    }

    /// One run, with as many requests as it takes.
    fn bring(&self, run: Run, tries: &mut Tries) -> Result<(), Error> {
        if run.to == Some(run.from) {
            return Ok(());
        }
        loop {
            match self.ask(run) {
                Ok(found) => return self.go_on(run, found, tries),
                Err(error) => self.wait(error, tries)?,
            }
        }
    }

    /// Reads an answer, and asks for the rest when it is cut.
    fn go_on(&self, run: Run, found: (Answer, Body), tries: &mut Tries) -> Result<(), Error> {
        let mut left = run;
        let mut found = Some(found);
        loop {
            let outcome = match found.take() {
                Some(found) => self.take(&mut left, found, tries),
                None => self
                    .ask(left)
                    .and_then(|found| self.take(&mut left, found, tries)),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) => self.wait(error, tries)?,
            }
        }
    }

    /// Waits before another try, or says that there is none.
    fn wait(&self, error: Error, tries: &mut Tries) -> Result<(), Error> {
        if !self.checked && self.spool.frontier() > 0 {
            return Err(error);
        }
        let time = match tries.next(&error) {
            Next::Wait(time) if !self.is_stopped() => time,
            _ => return Err(error),
        };
        report::waiting(time, &error)?;
        let until = Instant::now() + time;
        while !self.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(STEP));
        }
        Err(error)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Asks for a run of bytes.
    fn ask(&self, run: Run) -> Result<(Answer, Body), Error> {
        let whole = run.from == 0 && run.to == self.size;
        let mut headers = HeaderMap::new();
        if !whole {
            set(
                &mut headers,
                header::RANGE,
                &range::wanted(run.from, run.to),
            );
        }
        if !self.media_type.is_empty() {
            set(
                &mut headers,
                header::ACCEPT,
                &format!("{}, */*", self.media_type),
            );
        }
        let answer = match self.request(&headers) {
            // There are servers that answer a range so.
            Err(Error::Status {
                status: 400 | 405 | 416 | 501,
                ..
            }) if !whole => {
                headers.remove(header::RANGE);
                self.request(&headers)?
            }
            other => other?,
        };
        let body = self.understand(&answer, run)?;
        Ok((answer, body))
    }

    fn request(&self, headers: &HeaderMap) -> Result<Answer, Error> {
        let settled = || self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let known = settled().clone();
        if let Some(url) = known {
            match self.client.get(&url, headers) {
                // Addresses that a redirect gives end after a while.
                Err(Error::Status { .. } | Error::Challenge { .. }) => *settled() = None,
                other => return other,
            }
        }
        let answer = self.client.get(&self.client.url, headers)?;
        if answer.url != self.client.url {
            *settled() = Some(answer.url.clone());
        }
        Ok(answer)
    }

    /// What the answer holds, if it is what was asked for.
    fn understand(&self, answer: &Answer, run: Run) -> Result<Body, Error> {
        let headers = answer.response.headers();
        let strange = |why: &str| Error::Answer {
            url: crate::location::shown(&answer.url),
            why: why.to_owned(),
        };
        let wrong = |found| Error::Size {
            url: crate::location::shown(&answer.url),
            found,
            expected: self.size.unwrap_or(self.max_bytes),
        };
        match answer.response.status().as_u16() {
            206 => {
                let held = client::text(headers, header::CONTENT_RANGE)
                    .and_then(|text| range::held(&text))
                    .ok_or_else(|| strange("the answer does not say which range it is"))?;
                let Held { from, to, total } = held;
                match (total, self.size) {
                    (Some(total), Some(size)) if total != size => return Err(wrong(total)),
                    _ => {}
                }
                // Without a size only this tells where the blob ends.
                let ends = run.to.is_some() || total == Some(to);
                if from != run.from || run.to.is_some_and(|wanted| to > wanted) || !ends {
                    return Err(strange("the answer is another range than was asked for"));
                }
                Ok(Body::Part)
            }
            200 => {
                let length = client::text(headers, header::CONTENT_LENGTH)
                    .and_then(|text| text.parse::<u64>().ok());
                match (length, self.size) {
                    (Some(length), Some(size)) if length != size => Err(wrong(length)),
                    (Some(length), None) if length > self.max_bytes => {
                        Err(Error::TooLong(self.max_bytes))
                    }
                    _ => Ok(Body::Whole),
                }
            }
            status => Err(strange(&format!("the answer {status} is no blob"))),
        }
    }

    /// Writes a body down; `left` becomes what is still missing.
    fn take(
        &self,
        left: &mut Run,
        (answer, body): (Answer, Body),
        tries: &mut Tries,
    ) -> Result<(), Error> {
        let url = answer.url;
        let says_length = answer
            .response
            .headers()
            .contains_key(header::CONTENT_LENGTH);
        let mut reader = answer.response.into_body().into_reader();
        let mut at = match body {
            Body::Part => left.from,
            Body::Whole => 0,
        };
        let mut buffer = vec![0; BUFFER];
        let mut pace = Pace::new(self.stall);
        loop {
            let most = left.to.map_or(buffer.len(), |to| {
                buffer
                    .len()
                    .min(usize::try_from(to - at).unwrap_or(usize::MAX))
            });
            if most == 0 {
                if says_length {
                    // Nothing comes any more: so its connection can be used again.
                    let _ = reader.read(&mut [0]);
                }
                return Ok(());
            }
            let bytes = reader
                .read(&mut buffer[..most])
                .map_err(|error| client::read_failed(&url, error))?;
            if bytes == 0 {
                return self.ended(*left, at, &url);
            }
            let end = at + bytes as u64;
            if self.size.is_none() && end > self.max_bytes {
                return Err(Error::TooLong(self.max_bytes));
            }
            // Of a whole body what stands already is passed over.
            if end > left.from {
                let skip = usize::try_from(left.from - at.min(left.from)).unwrap_or(bytes);
                self.spool.write(&buffer[skip..bytes], left.from.max(at))?;
                tries.came(end - left.from);
                left.from = end;
            }
            at = end;
            if self.is_stopped() || pace.is_stalled(bytes as u64) {
                return Err(Error::Stalled {
                    url: crate::location::shown(&url),
                });
            }
        }
    }

    /// The body ended at `at`.
    fn ended(&self, left: Run, at: u64, url: &Uri) -> Result<(), Error> {
        match left.to {
            None => Ok(()),
            Some(to) if at == to => Ok(()),
            Some(_) => Err(Error::Cut {
                url: crate::location::shown(url),
                source: std::io::ErrorKind::UnexpectedEof.into(),
            }),
        }
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // The values are digits, and media types that the request had.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// The ranges that nobody has taken yet.
struct Queue {
    next: AtomicU64,
    size: u64,
}

impl Queue {
    fn take(&self) -> Option<Run> {
        let from = self.next.fetch_add(RANGE, Ordering::Relaxed);
        (from < self.size).then(|| Run {
            from,
            to: Some(self.size.min(from + RANGE)),
        })
    }
}

/// Whether enough comes for it to be worth waiting.
struct Pace {
    limit: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(stall: Duration) -> Pace {
        Pace {
            limit: stall * 2,
            since: Instant::now(),
            bytes: 0,
        }
    }

    fn is_stalled(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        if self.bytes >= TRICKLE {
            self.bytes = 0;
            self.since = Instant::now();
            return false;
        }
        self.since.elapsed() > self.limit
    }
}
