//! ttrpc's frames: bytes in, requests and faults out; nothing here reads or writes a descriptor.
//!
//! A frame is a header of ten bytes (length and stream as big-endian numbers, type, flags) and a message. The peer is not
//! trusted: a message above 4 MiB is skipped and refused, a length above 16 MiB ends the connection.

use prost::Message;

use crate::api::ttrpc::{Request, Response, Status};

/// The protocol's bound of a message, in bytes.
pub const MAX_MESSAGE: usize = 4 << 20;
const HEADER: usize = 10;
/// A first byte that is not zero: no peer that speaks the protocol sends it.
const ABSURD: usize = 1 << 24;

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
/// The flag of a request whose sender will stream more data.
const REMOTE_OPEN: u8 = 2;

/// gRPC's codes, as far as a shim answers or reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    Unknown = 2,
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Unavailable = 14,
}

/// Why a request is answered by an error: the code that the caller acts on and one sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    pub code: Code,
    pub text: String,
}

impl Refusal {
    pub fn new(code: Code, text: impl Into<String>) -> Refusal {
        Refusal {
            code,
            text: text.into(),
        }
    }
}

/// One thing that a peer sent.
#[derive(Debug, PartialEq)]
pub enum Incoming {
    Request {
        stream: u32,
        request: Request,
    },
    Response {
        stream: u32,
        response: Response,
    },
    /// To be answered by this refusal; the connection stays usable.
    Refused {
        stream: u32,
        refusal: Refusal,
    },
}

/// The peer does not speak ttrpc; the connection cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame claims to hold {0} bytes: not ttrpc")]
pub struct NotTtrpc(pub usize);

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of an oversized message that are still to be thrown away.
    skip: usize,
}

impl Decoder {
    /// Takes what arrived, in pieces of any size.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if self.skip > 0 {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    pub fn next(&mut self) -> Result<Option<Incoming>, NotTtrpc> {
        while let Some(header) = self.buffer.first_chunk::<HEADER>().copied() {
            let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let stream = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            if length >= ABSURD {
                return Err(NotTtrpc(length));
            }
            if length > MAX_MESSAGE {
                self.skip_message(length);
                let text = format!("message of {length} bytes exceeds the limit of {MAX_MESSAGE}");
                return Ok(Some(refused(stream, Code::ResourceExhausted, text)));
            }
            if self.buffer.len() < HEADER + length {
                return Ok(None);
            }
            let incoming = read(
                header[8],
                header[9],
                stream,
                &self.buffer[HEADER..HEADER + length],
            );
            self.consume(HEADER + length);
            if incoming.is_some() {
                return Ok(incoming);
            }
        }
        Ok(None)
    }

    fn skip_message(&mut self, length: usize) {
        let here = (self.buffer.len() - HEADER).min(length);
        self.consume(HEADER + here);
        self.skip = length - here;
    }

    /// Forgets `count` bytes; an empty buffer is given back to the system, since idle shims are many.
    fn consume(&mut self, count: usize) {
        if count == self.buffer.len() {
            self.buffer = Vec::new();
        } else {
            self.buffer.drain(..count);
        }
    }
}

/// Reads one message; `None` for types that this side has no use for (stream data), which the protocol lets it ignore.
fn read(kind: u8, flags: u8, stream: u32, message: &[u8]) -> Option<Incoming> {
    match kind {
        REQUEST if stream.is_multiple_of(2) => Some(refused(
            stream,
            Code::InvalidArgument,
            "a client's stream numbers are odd".into(),
        )),
        REQUEST if flags & REMOTE_OPEN != 0 => Some(refused(
            stream,
            Code::Unimplemented,
            "streaming requests are not served".into(),
        )),
        REQUEST => Some(match Request::decode(message) {
            Ok(request) => Incoming::Request { stream, request },
            Err(error) => refused(
                stream,
                Code::InvalidArgument,
                format!("request cannot be read: {error}"),
            ),
        }),
        RESPONSE => Some(match Response::decode(message) {
            Ok(response) => Incoming::Response { stream, response },
            Err(error) => refused(
                stream,
                Code::InvalidArgument,
                format!("response cannot be read: {error}"),
            ),
        }),
        _ => None,
    }
}

fn refused(stream: u32, code: Code, text: String) -> Incoming {
    Incoming::Refused {
        stream,
        refusal: Refusal { code, text },
    }
}

/// Appends the answer to the request of `stream`.
pub fn answer(out: &mut Vec<u8>, stream: u32, result: Result<Vec<u8>, Refusal>) {
    let response = match result {
        Ok(payload) => Response {
            status: Some(Status::default()),
            payload,
        },
        Err(refusal) => Response {
            status: Some(Status {
                code: refusal.code as i32,
                message: refusal.text,
                details: Vec::new(),
            }),
            payload: Vec::new(),
        },
    };
    frame(out, stream, RESPONSE, &response);
}

/// Appends a request; streams of a client are odd and rise.
pub fn ask(out: &mut Vec<u8>, stream: u32, service: &str, method: &str, payload: Vec<u8>) {
    let request = Request {
        service: service.into(),
        method: method.into(),
        payload,
        ..Request::default()
    };
    frame(out, stream, REQUEST, &request);
}

fn frame(out: &mut Vec<u8>, stream: u32, kind: u8, message: &impl Message) {
    let length = message.encoded_len();
    out.reserve(HEADER + length);
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&[kind, 0]);
    message.encode(out).expect("a Vec grows as needed");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(stream: u32, method: &str) -> Vec<u8> {
        let mut out = Vec::new();
        ask(&mut out, stream, "s", method, vec![1, 2, 3]);
        out
    }

    fn drain(decoder: &mut Decoder) -> Vec<Incoming> {
        std::iter::from_fn(|| decoder.next().unwrap()).collect()
    }

    #[test]
    fn frames_arrive_in_any_pieces() {
        let bytes: Vec<u8> = [request(1, "A"), request(3, "B"), request(5, "C")].concat();
        for piece in [1, 2, 7, 10, 11, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for chunk in bytes.chunks(piece) {
                decoder.push(chunk);
                seen.extend(drain(&mut decoder));
            }
            let names: Vec<_> = seen
                .iter()
                .map(|incoming| match incoming {
                    Incoming::Request { stream, request } => (*stream, request.method.as_str()),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(
                names,
                [(1, "A"), (3, "B"), (5, "C")],
                "in pieces of {piece}"
            );
            assert_eq!(decoder.buffer.capacity(), 0, "memory is given back");
        }
    }

    #[test]
    fn an_oversized_message_is_refused_and_the_next_is_read() {
        let length = MAX_MESSAGE + 1;
        let mut decoder = Decoder::default();
        decoder.push(&(length as u32).to_be_bytes());
        decoder.push(&[0, 0, 0, 9, 1, 0]);
        decoder.push(&[0; 100]);
        assert!(matches!(
            decoder.next().unwrap(),
            Some(Incoming::Refused {
                stream: 9,
                refusal: Refusal {
                    code: Code::ResourceExhausted,
                    ..
                }
            })
        ));
        decoder.push(&vec![0; length - 100]);
        assert_eq!(decoder.next(), Ok(None));
        assert!(decoder.buffer.is_empty());
        decoder.push(&request(11, "next"));
        assert!(matches!(
            decoder.next(),
            Ok(Some(Incoming::Request { stream: 11, .. }))
        ));
    }

    #[test]
    fn hostile_headers() {
        type Answer = Result<Option<Code>, NotTtrpc>;
        let cases: [(&[u8], Answer); 6] = [
            (b"GET / HTTP/1.1\r\n", Err(NotTtrpc(0x47455420))),
            (
                &[0, 0, 0, 0, 0, 0, 0, 2, 1, 0],
                Ok(Some(Code::InvalidArgument)),
            ),
            (
                &[0, 0, 0, 0, 0, 0, 0, 1, 1, 2],
                Ok(Some(Code::Unimplemented)),
            ),
            (
                &[0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0xff],
                Ok(Some(Code::InvalidArgument)),
            ),
            (&[0, 0, 0, 1, 0, 0, 0, 1, 3, 4, 0], Ok(None)),
            (&[0, 0, 0, 0, 0, 0, 0, 1, 77, 0], Ok(None)),
        ];
        for (bytes, expected) in cases {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            let seen = decoder.next().map(|incoming| {
                incoming.map(|incoming| match incoming {
                    Incoming::Refused { refusal, .. } => refusal.code,
                    other => panic!("{other:?}"),
                })
            });
            assert_eq!(seen, expected, "{bytes:?}");
        }
    }

    #[test]
    fn an_error_carries_its_code_and_text() {
        let mut out = Vec::new();
        answer(&mut out, 7, Err(Refusal::new(Code::NotFound, "no such")));
        let mut decoder = Decoder::default();
        decoder.push(&out);
        let Ok(Some(Incoming::Response {
            stream: 7,
            response,
        })) = decoder.next()
        else {
            panic!("no response")
        };
        let status = response.status.unwrap();
        assert_eq!((status.code, status.message.as_str()), (5, "no such"));
    }
}
