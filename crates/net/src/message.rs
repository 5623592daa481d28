//! Netlink messages as bytes (netlink(7), RFC 3549): written, and read without trust in any length.

/// What a request wants (`NLM_F_*`).
pub mod flag {
    pub const REQUEST: u16 = 0x1;
    pub const ACK: u16 = 0x4;
    pub const REPLACE: u16 = 0x100;
    pub const EXCL: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    pub const DUMP: u16 = 0x300;
}

/// The bit of an attribute's type that says it holds attributes.
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;

/// One or more messages, one behind the other, as they are sent.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the message begins that is being written.
    start: usize,
}

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins a message; `header` is the fixed part that its family puts before the attributes.
    pub fn message(&mut self, kind: u16, flags: u16, sequence: u32, header: &[u8]) -> &mut Batch {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        self.finish();
        self
    }

    /// Adds an attribute to the message that was begun last.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Batch {
        self.put(kind, value);
        self.finish();
        self
    }

    /// Adds a text with its zero.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Batch {
        self.nul(kind, value.as_bytes())
    }

    /// Adds an attribute that holds what `fill` adds.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Batch)) -> &mut Batch {
        let at = self.bytes.len();
        self.put(kind | NESTED, &[]);
        fill(self);
        let length = (self.bytes.len() - at) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.finish();
        self
    }

    /// Adds bytes that are no attribute of their own: a structure before nested attributes.
    pub fn raw(&mut self, value: &[u8]) -> &mut Batch {
        self.bytes.extend_from_slice(value);
        self.pad();
        self.finish();
        self
    }

    fn nul(&mut self, kind: u16, value: &[u8]) -> &mut Batch {
        let mut with = value.to_vec();
        with.push(0);
        self.attribute(kind, &with)
    }

    fn put(&mut self, kind: u16, value: &[u8]) {
        let length = (value.len() + 4) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(&mut self) {
        self.pad();
        let length = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// A message that was received.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub kind: u16,
    pub sequence: u32,
    pub body: &'a [u8],
}

/// What a message says of the request with its number.
#[derive(Debug)]
pub enum Reply<'a> {
    Done,
    /// An errno.
    Failed(i32),
    Data(Message<'a>),
}

impl<'a> Message<'a> {
    pub fn reply(self) -> Reply<'a> {
        const NLMSG_NOOP: u16 = 1;
        const NLMSG_ERROR: u16 = 2;
        const NLMSG_DONE: u16 = 3;
        match self.kind {
            NLMSG_ERROR | NLMSG_DONE => match number(self.body, 0).map_or(0, u32::cast_signed) {
                0 => Reply::Done,
                negative => Reply::Failed(negative.saturating_neg()),
            },
            NLMSG_NOOP => Reply::Data(Message { body: &[], ..self }),
            _ => Reply::Data(self),
        }
    }

    /// The attributes behind a fixed part of `header` bytes.
    pub fn attributes(self, header: usize) -> Attributes<'a> {
        Attributes(self.body.get(header..).unwrap_or_default())
    }
}

/// The messages of a datagram; what is cut off is not one.
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = number(self.0, 0)? as usize;
        let whole = self.0.get(..length).filter(|whole| whole.len() >= HEADER)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: short(whole, 4)?,
            sequence: number(whole, 8)?,
            body: &whole[HEADER..],
        })
    }
}

/// Attributes one behind the other: type and value.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Attributes<'a> {
    /// The first one of a type.
    pub fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(found, value)| (found == kind).then_some(value))
    }

    pub fn number(self, kind: u16) -> Option<u32> {
        number(self.find(kind)?, 0)
    }

    /// A text up to its zero.
    pub fn text(self, kind: u16) -> Option<&'a str> {
        let bytes = self.find(kind)?;
        std::str::from_utf8(bytes.split(|&byte| byte == 0).next()?).ok()
    }

    pub fn nested(self, kind: u16) -> Attributes<'a> {
        Attributes(self.find(kind).unwrap_or_default())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        const TYPE: u16 = 0x3fff;
        let length = usize::from(short(self.0, 0)?);
        let kind = short(self.0, 2)? & TYPE;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The 32 bits at a place, in the machine's order.
pub fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut batch = Batch::new();
        batch
            .message(16, flag::ACK, 7, &[1, 2, 3, 4])
            .text(3, "eth0")
            .nested(18, |inside| {
                inside.text(1, "veth").nested(2, |deep| {
                    deep.raw(&[9; 6]).attribute(4, &5u32.to_ne_bytes());
                });
            });
        batch.message(17, 0, 8, &[]).attribute(1, &[1]);
        let all: Vec<Message<'_>> = Messages(batch.bytes()).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].sequence), (16, 7));
        let attributes = all[0].attributes(4);
        assert_eq!(attributes.text(3), Some("eth0"));
        assert_eq!(attributes.nested(18).text(1), Some("veth"));
        let deep = attributes.nested(18).find(2).unwrap();
        assert_eq!(Attributes(&deep[8..]).number(4), Some(5));
        assert_eq!(all[1].attributes(0).find(1), Some(&[1u8][..]));
    }

    #[test]
    fn torn_and_lying_lengths_end_the_reading() {
        let mut batch = Batch::new();
        batch.message(16, 0, 1, &[0; 16]).text(3, "eth0");
        for cut in 0..batch.bytes().len() {
            assert_eq!(Messages(&batch.bytes()[..cut]).count(), 0);
        }
        for length in [0u32, 15, 1000, u32::MAX] {
            let mut bytes = batch.bytes().to_vec();
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Messages(&bytes).count(), 0, "{length}");
        }
        for length in [0u16, 3, 9, u16::MAX] {
            let mut bytes = [0u8; 8];
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Attributes(&bytes).count(), 0, "{length}");
        }
    }
}
