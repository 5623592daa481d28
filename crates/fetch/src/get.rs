//! `get`: the sources one after the other fill the spool, while the blob is digested and unpacked from it in order.

use std::io::Read;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use layer::unpack::{self, Options};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::client::Client;
use crate::download::Download;
use crate::error::Error;
use crate::report::{self, Done, Line, Ticker};
use crate::request::{Digest, Get, Unpack};
use crate::spool::{Reader, Spool};

const BUFFER: usize = 256 * 1024;

/// A failure, and the source that it is of.
#[derive(Debug)]
pub struct Failed {
    pub error: Error,
    pub source: Option<usize>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed {
            error,
            source: None,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Unpacked {
        #[serde(flatten)]
        answer: unpack::Answer,
        resumed: u64,
    },
    Kept {
        size: u64,
        digest: String,
        resumed: u64,
    },
}

pub fn run(request: Get) -> Result<(), Failed> {
    if request.sources.is_empty() {
        return Err(Error::Usage("there is no source".to_owned()).into());
    }
    let unpacking = request.unpack.as_ref().map(prepare).transpose()?;
    let spool = Arc::new(Spool::open(&request.blob, request.size())?);
    let resumed = spool.frontier();
    let ticker = watch(spool.clone(), unpacking.is_some());
    let request = Arc::new(request);
    let download = start(request.clone(), spool.clone());
    let taken = match unpacking {
        Some((directory, options)) => {
            let options = Options {
                expect_digest: request.digest.as_ref().map(|one| one.as_str().to_owned()),
                ..options
            };
            unpack::unpack(Box::new(spool.reader()), directory, &options)
                .map(|answer| Outcome::Unpacked { answer, resumed })
                .map_err(Error::Layer)
        }
        None => {
            digest(spool.reader(), request.digest.as_ref()).map(|(size, digest)| Outcome::Kept {
                size,
                digest,
                resumed,
            })
        }
    };
    // A layer that cannot be unpacked is read to its end all the same: then it is known whether it is the layer.
    let downloaded = download.join().expect("a panic aborts the program");
    ticker.stop();
    let first = downloaded?;
    let outcome = taken.map_err(|error| blame(error, &spool, request.digest.as_ref()));
    let outcome = outcome.map_err(|error| {
        spool.remove();
        let spoiled = error.kind() == "digest";
        Failed {
            error,
            source: first.filter(|_| spoiled),
        }
    })?;
    if request.sync {
        spool.sync()?;
    }
    Ok(report::put(&Done { done: outcome })?)
}

type Unpacking = (std::os::fd::OwnedFd, Options);

/// Opens the directories of an unpack.
fn prepare(unpack: &Unpack) -> Result<Unpacking, Error> {
    let open = |path: &std::path::PathBuf| {
        layer::disk::root(path).map_err(|source| Error::Directory {
            path: path.clone(),
            source,
        })
    };
    let mut options = Options::default();
    let limits = &mut options.limits;
    limits.bytes = unpack.max_bytes.unwrap_or(limits.bytes);
    limits.entries = unpack.max_entries.unwrap_or(limits.entries);
    limits.ratio = unpack.max_ratio.unwrap_or(limits.ratio);
    options.lowers = unpack.lowers.iter().map(open).collect::<Result<_, _>>()?;
    options.expect_diff_id = unpack.diff_id.as_ref().map(|id| id.as_str().to_owned());
    Ok((open(&unpack.directory)?, options))
}

fn watch(spool: Arc<Spool>, unpacks: bool) -> Ticker {
    let (mut received, mut unpacked) = (0, 0);
    Ticker::start(move || {
        let (frontier, taken) = (spool.frontier(), spool.taken());
        let mut lines = Vec::new();
        if frontier > received {
            lines.push(Line::Received(frontier));
            received = frontier;
        }
        if unpacks && taken > unpacked {
            lines.push(Line::Unpacked(taken));
            unpacked = taken;
        }
        lines
    })
}

/// Downloads on a thread of its own.
fn start(request: Arc<Get>, spool: Arc<Spool>) -> JoinHandle<Result<Option<usize>, Failed>> {
    thread::spawn(move || {
        let outcome = download(&request, &spool);
        match outcome {
            Ok(_) => spool.whole(),
            Err(_) => spool.give_up(),
        }
        outcome
    })
}

/// From the first source that has it; what one gave before it failed the next need not give again. The first that gave
/// anything.
fn download(request: &Get, spool: &Spool) -> Result<Option<usize>, Failed> {
    let stall = Duration::from_secs(request.stall.clamp(1, 3600));
    let mut first = None;
    let mut giver = None;
    for (number, source) in request.sources.iter().enumerate() {
        let before = spool.frontier();
        let outcome = Client::new(source, &request.user_agent, stall).and_then(|client| {
            Download {
                client: &client,
                spool,
                size: request.size(),
                max_bytes: request.max_bytes,
                media_type: &request.media_type,
                checked: request.digest.is_some(),
                stall,
                last_source: number + 1 == request.sources.len(),
                settled: Mutex::default(),
                stopped: AtomicBool::new(false),
            }
            .run()
        });
        if spool.frontier() > before {
            giver.get_or_insert(number);
        }
        let Err(error) = outcome else {
            return Ok(giver);
        };
        let goes_on = error.is_of_the_source();
        let failed = Failed {
            error,
            source: Some(number),
        };
        if !goes_on {
            return Err(failed);
        }
        spool.settle();
        first.get_or_insert(failed);
    }
    Err(first.expect("there is a source, and it failed"))
}

/// Reads the blob to its end; its size and digest.
fn digest(mut reader: Reader, expected: Option<&Digest>) -> Result<(u64, String), Error> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut size = 0;
    loop {
        let bytes = reader.read(&mut buffer).map_err(|source| Error::Cut {
            url: String::new(),
            source,
        })?;
        if bytes == 0 {
            break;
        }
        sum.update(&buffer[..bytes]);
        size += bytes as u64;
    }
    let found = layer::stream::named(sum);
    match expected {
        Some(expected) if found != expected.as_str() => Err(Error::Digest {
            found,
            expected: expected.as_str().to_owned(),
        }),
        _ => Ok((size, found)),
    }
}

/// Of two reasons the one that comes first: bytes that are not the layer's explain why it cannot be unpacked.
fn blame(error: Error, spool: &Arc<Spool>, expected: Option<&Digest>) -> Error {
    if !matches!(error, Error::Layer(_)) {
        return error;
    }
    digest(spool.reader(), expected).err().unwrap_or(error)
}
