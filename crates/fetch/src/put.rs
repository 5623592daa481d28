//! `put`: an upload is begun, filled and named by its digest (OCI distribution-spec, "Pushing a blob in chunks").

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use ureq::http::header::{self, HeaderMap, HeaderValue};
use ureq::http::{Method, Response, Uri};
use ureq::{Body, SendBody};

use crate::client::{self, Client};
use crate::error::Error;
use crate::get::Failed;
use crate::gzip::Gzip;
use crate::location;
use crate::report::{self, Done, Line, Ticker};
use crate::request::{Compress, Put};
use crate::tries::{Next, Tries};

const REDIRECTS: usize = 5;

#[derive(Debug, Serialize)]
struct Sent {
    size: u64,
    digest: String,
}

pub fn run(request: &Put) -> Result<(), Failed> {
    let stall = Duration::from_secs(request.stall.clamp(1, 3600));
    let client = Client::new(&request.target, &request.user_agent, stall)?;
    let (file, size) = open(request)?;
    let passed = Arc::new(AtomicU64::new(0));
    let ticker = watch(passed.clone());
    let upload = Upload {
        client: &client,
        request,
        file,
        size,
        passed,
    };
    let mut tries = Tries::new(true);
    let mut left = None;
    let sent = loop {
        let error = match upload.once(&mut left, &mut tries) {
            Ok(sent) => break Ok(sent),
            Err(error) => error,
        };
        match tries.next(&error) {
            Next::GiveUp => break Err(error),
            Next::Wait(time) => {
                report::waiting(time, &error)?;
                thread::sleep(time);
            }
        }
    };
    ticker.stop();
    Ok(report::put(&Done { done: sent? })?)
}

fn open(request: &Put) -> Result<(File, u64), Error> {
    let fail = |source| Error::File {
        what: "open",
        path: request.source.clone(),
        source,
    };
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let file = File::options()
        .read(true)
        .custom_flags(flags)
        .open(&request.source)
        .map_err(fail)?;
    let found = file.metadata().map_err(fail)?;
    if !found.is_file() {
        return Err(fail(io::Error::other("it is no regular file")));
    }
    Ok((file, found.len()))
}

fn watch(passed: Arc<AtomicU64>) -> Ticker {
    let mut told = 0;
    Ticker::start(move || {
        let now = passed.load(Ordering::Relaxed);
        if now == told {
            return Vec::new();
        }
        told = now;
        vec![Line::Sent(now)]
    })
}

/// An upload that was cut.
struct Left {
    url: Uri,
    /// What the server was known to have.
    bytes: u64,
}

struct Upload<'a> {
    client: &'a Client,
    request: &'a Put,
    file: File,
    size: u64,
    passed: Arc<AtomicU64>,
}

impl Upload<'_> {
    /// One try: a whole upload, or the rest of the one that the last try left.
    fn once(&self, left: &mut Option<Left>, tries: &mut Tries) -> Result<Sent, Error> {
        self.passed.store(0, Ordering::Relaxed);
        let before = left.take();
        let there = before.as_ref().and_then(|left| self.standing(left));
        let Left { url, bytes } = match there {
            Some(there) => {
                tries.came(there.bytes - before.map_or(0, |left| left.bytes));
                there
            }
            None => {
                let (url, response) = self.begin()?;
                let url = self.client.follow(&url, &response)?;
                Left { url, bytes: 0 }
            }
        };
        *left = Some(Left {
            url: url.clone(),
            bytes,
        });
        let (url, sent) = self.fill(&url, bytes)?;
        *left = None;
        let expected = self.request.digest.as_ref();
        if let Some(expected) = expected.filter(|expected| expected.as_str() != sent.digest) {
            // Nobody will name this upload; where the server does not let go of it, it does so later.
            let _ = self.small(&Method::DELETE, &url);
            return Err(Error::Digest {
                found: sent.digest,
                expected: expected.as_str().to_owned(),
            });
        }
        self.name(&url, &sent.digest)?;
        Ok(sent)
    }

    fn small(&self, method: &Method, url: &Uri) -> Result<Response<Body>, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        self.client.send(method, url, &headers, SendBody::none())
    }

    /// How much of an upload the server has, if it still knows it and has more than before (distribution-spec, "Pushing a
    /// blob in chunks": GET answers 204 with the last byte's number). Else the upload begins anew.
    fn standing(&self, left: &Left) -> Option<Left> {
        let response = self.small(&Method::GET, &left.url).ok()?;
        if response.status().as_u16() != 204 {
            return None;
        }
        let last = client::text(response.headers(), header::RANGE)?;
        let last = last.trim_start_matches("bytes=").strip_prefix("0-")?;
        // Of nothing servers say 0-0, which means one byte as well: that one is sent again by beginning anew.
        let last: u64 = last.parse().ok().filter(|last| *last > 0)?;
        let bytes = last.checked_add(1).filter(|bytes| *bytes > left.bytes)?;
        let fits = self.request.compress.is_some() || bytes < self.size;
        let url = match response.headers().get(header::LOCATION) {
            Some(_) => self.client.follow(&left.url, &response).ok()?,
            None => left.url.clone(),
        };
        fits.then_some(Left { url, bytes })
    }

    /// The first POST that is no redirect.
    fn begin(&self) -> Result<(Uri, Response<Body>), Error> {
        let mut url = self.client.url.clone();
        for _ in 0..=REDIRECTS {
            let response = self.small(&Method::POST, &url)?;
            if !matches!(response.status().as_u16(), 307 | 308) {
                let response = self.client.good(&url, response)?;
                return Ok((url, response));
            }
            url = self.client.follow(&url, &response)?;
        }
        Err(Error::Redirect {
            url: self.client.url.to_string(),
            why: format!("more than {REDIRECTS} redirects"),
        })
    }

    /// The bytes from there on; where the upload goes on. What is there already is made again, for the digest.
    fn fill(&self, url: &Uri, from: u64) -> Result<(Uri, Sent), Error> {
        let file = self.file.try_clone();
        let file = file.map_err(|source| self.unreadable(source))?;
        let mut headers = HeaderMap::new();
        let octets = HeaderValue::from_static("application/octet-stream");
        headers.insert(header::CONTENT_TYPE, octets);
        let source: Box<dyn Read> = match self.request.compress {
            Some(Compress::Gzip) => Box::new(Gzip::new(file, self.size)),
            None => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.size - from));
                if from > 0 {
                    let range = format!("{from}-{}", self.size - 1);
                    let range = HeaderValue::try_from(range).expect("digits and a dash are one");
                    headers.insert(header::CONTENT_RANGE, range);
                }
                Box::new(Part::new(file, self.size))
            }
        };
        let mut tally = Tally {
            source,
            sum: Sha256::new(),
            passed: &self.passed,
        };
        let skipped = io::copy(&mut tally.by_ref().take(from), &mut io::sink());
        if skipped.map_err(|source| self.unreadable(source))? < from {
            return Err(Error::Answer {
                url: location::shown(url),
                why: format!(
                    "the server has {from} bytes of an upload, which are more than there are"
                ),
            });
        }
        let body = SendBody::from_reader(&mut tally);
        let response = self.client.send(&Method::PATCH, url, &headers, body)?;
        let response = self.client.good(url, response)?;
        let next = self.client.follow(url, &response)?;
        let sent = Sent {
            size: self.passed.load(Ordering::Relaxed),
            digest: layer::stream::named(tally.sum),
        };
        Ok((next, sent))
    }

    fn unreadable(&self, source: io::Error) -> Error {
        Error::File {
            what: "read",
            path: self.request.source.clone(),
            source,
        }
    }

    fn name(&self, url: &Uri, digest: &str) -> Result<(), Error> {
        let joint = if url.query().is_some() { '&' } else { '?' };
        let escaped = digest.replace(':', "%3A");
        let url = location::parse(&format!("{url}{joint}digest={escaped}"))?;
        let response = self.client.good(&url, self.small(&Method::PUT, &url)?)?;
        match response.headers().get("docker-content-digest") {
            Some(stored) if stored != digest => Err(Error::Answer {
                url: location::shown(&url),
                why: format!("the server keeps {stored:?}, not {digest}"),
            }),
            _ => Ok(()),
        }
    }
}

/// The first bytes of a file, wherever its descriptor stands.
struct Part {
    file: File,
    at: u64,
    end: u64,
}

impl Part {
    fn new(file: File, end: u64) -> Part {
        Part { file, at: 0, end }
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let bytes = self.file.read_at(&mut buffer[..most], self.at)?;
        if bytes == 0 && most > 0 {
            return Err(io::Error::other("the file became shorter"));
        }
        self.at += bytes as u64;
        Ok(bytes)
    }
}

/// Digests and counts what is sent.
struct Tally<'a> {
    source: Box<dyn Read>,
    sum: Sha256,
    passed: &'a AtomicU64,
}

impl Read for Tally<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.source.read(buffer)?;
        self.sum.update(&buffer[..bytes]);
        self.passed.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}
