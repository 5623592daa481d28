//! Frames (RFC 6455, section 5): a client's taken apart as they come, in any pieces; ours put together.

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// What a control frame may carry.
const MOST_OF_CONTROL: u64 = 125;
/// Two bytes, eight of length, four of mask.
const LONGEST_HEAD: usize = 14;

pub const NORMAL: u16 = 1000;
pub const BROKEN: u16 = 1002;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Kind {
    fn of(number: u8) -> Option<Kind> {
        Some(match number {
            0 => Kind::Continuation,
            1 => Kind::Text,
            2 => Kind::Binary,
            8 => Kind::Close,
            9 => Kind::Ping,
            10 => Kind::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// The client does not keep to the protocol; why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(&'static str);

/// Puts a frame behind what is to be sent. Servers do not mask (section 5.1).
pub fn put(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    out.push(FINAL | kind as u8);
    match u16::try_from(payload.len()) {
        Ok(length @ 0..=125) => out.push(length.to_le_bytes()[0]),
        Ok(length) => {
            out.push(126);
            out.extend(length.to_be_bytes());
        }
        Err(_) => {
            out.push(127);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(payload);
}

/// Says goodbye.
pub fn put_close(out: &mut Vec<u8>, code: u16) {
    put(out, Kind::Close, &code.to_be_bytes());
}

/// What stands at the head of a frame.
#[derive(Debug, Clone, Copy)]
struct Head {
    kind: Kind,
    last: bool,
    left: u64,
    mask: [u8; 4],
    at: usize,
}

/// Takes a client's frames apart.
#[derive(Debug, Default)]
pub struct Frames {
    head: Vec<u8>,
    inside: Option<Head>,
    /// A message of several frames has begun.
    unfinished: bool,
    control: Vec<u8>,
    closed: bool,
}

impl Frames {
    /// Takes in what came next: data goes behind `data`, what the protocol answers behind `replies`. Whether the client
    /// has said goodbye; nothing counts after that.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        data: &mut Vec<u8>,
        replies: &mut Vec<u8>,
    ) -> Result<bool, Broken> {
        while !bytes.is_empty() && !self.closed {
            let Some(mut head) = self.inside else {
                self.head.push(bytes[0]);
                bytes = &bytes[1..];
                if let Some(head) = self.begin()? {
                    self.head.clear();
                    self.inside = Some(head);
                    self.end_if_whole(head, replies)?;
                }
                continue;
            };
            let most = usize::try_from(head.left).unwrap_or(usize::MAX);
            let (piece, rest) = bytes.split_at(bytes.len().min(most));
            bytes = rest;
            let into = if head.kind.is_control() {
                &mut self.control
            } else {
                &mut *data
            };
            into.extend(
                (head.at..)
                    .zip(piece)
                    .map(|(at, byte)| byte ^ head.mask[at % 4]),
            );
            head.at = (head.at + piece.len()) % 4;
            head.left -= piece.len() as u64;
            self.inside = Some(head);
            self.end_if_whole(head, replies)?;
        }
        Ok(self.closed)
    }

    /// The head, once it is all there.
    fn begin(&self) -> Result<Option<Head>, Broken> {
        let [first, second, more @ ..] = self.head.as_slice() else {
            return Ok(None);
        };
        let kind = check_first(*first, self.unfinished)?;
        if second & MASKED == 0 {
            return Err(Broken("a client's frame is not masked"));
        }
        let short = u64::from(second & !MASKED);
        if kind.is_control() && short > MOST_OF_CONTROL {
            return Err(Broken("a control frame is too long"));
        }
        let wide = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        debug_assert!(self.head.len() <= LONGEST_HEAD);
        if more.len() < wide + 4 {
            return Ok(None);
        }
        let (length, mask) = more.split_at(wide);
        let long = length
            .iter()
            .fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
        let left = match wide {
            0 => short,
            2 if long > MOST_OF_CONTROL => long,
            8 if long > u64::from(u16::MAX) && long >> 63 == 0 => long,
            _ => return Err(Broken("a length is not written as it must be")),
        };
        Ok(Some(Head {
            kind,
            last: first & FINAL != 0,
            left,
            mask: mask.try_into().unwrap_or_default(),
            at: 0,
        }))
    }

    fn end_if_whole(&mut self, head: Head, replies: &mut Vec<u8>) -> Result<(), Broken> {
        if head.left > 0 {
            return Ok(());
        }
        self.inside = None;
        if !head.kind.is_control() {
            self.unfinished = !head.last;
            return Ok(());
        }
        let said = std::mem::take(&mut self.control);
        match head.kind {
            Kind::Ping => put(replies, Kind::Pong, &said),
            Kind::Close => {
                self.closed = true;
                put(replies, Kind::Close, check_goodbye(&said)?);
            }
            _ => {}
        }
        Ok(())
    }
}

fn check_first(first: u8, unfinished: bool) -> Result<Kind, Broken> {
    if first & RESERVED != 0 {
        return Err(Broken("a reserved bit is set"));
    }
    let kind = Kind::of(first & 0x0f).ok_or(Broken("there is no such frame"))?;
    match kind {
        _ if kind.is_control() && first & FINAL == 0 => Err(Broken("a control frame is in pieces")),
        Kind::Continuation if !unfinished => Err(Broken("nothing is to be continued")),
        Kind::Text | Kind::Binary if unfinished => Err(Broken("a message begins in another")),
        _ => Ok(kind),
    }
}

/// The code of a goodbye, to be said back (section 7.4).
fn check_goodbye(said: &[u8]) -> Result<&[u8], Broken> {
    let [high, low, reason @ ..] = said else {
        return if said.is_empty() {
            Ok(said)
        } else {
            Err(Broken("half a code"))
        };
    };
    let known =
        matches!(u16::from_be_bytes([*high, *low]), 1000..=1003 | 1007..=1014 | 3000..=4999);
    if known && std::str::from_utf8(reason).is_ok() {
        Ok(&said[..2])
    } else {
        Err(Broken("no reason to close"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 254];
        let mut out = Vec::new();
        put(&mut out, Kind::Binary, payload);
        let head = out.len() - payload.len();
        out[0] = first;
        out[1] |= MASKED;
        let body = out.split_off(head);
        out.extend(mask);
        out.extend(
            body.iter()
                .enumerate()
                .map(|(at, byte)| byte ^ mask[at % 4]),
        );
        out
    }

    /// Data and replies of what was said at once, and whether it was a goodbye.
    fn take(said: &[u8]) -> Result<(Vec<u8>, Vec<u8>, bool), Broken> {
        let (mut data, mut replies) = (Vec::new(), Vec::new());
        let closed = Frames::default().feed(said, &mut data, &mut replies)?;
        Ok((data, replies, closed))
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let hello = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(take(&hello), Ok((b"Hello".to_vec(), vec![], false)));
        let mut out = Vec::new();
        put(&mut out, Kind::Text, b"Hello");
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        let mut long = Vec::new();
        put(&mut long, Kind::Binary, &[0; 256]);
        assert_eq!(long[..4], [0x82, 0x7e, 0x01, 0x00]);
        let mut longer = Vec::new();
        put(&mut longer, Kind::Binary, &[0; 65536]);
        assert_eq!(longer[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn pings_between_the_pieces_of_a_message_are_answered() {
        let mut said = masked(0x01, b"one ");
        said.extend(masked(0x89, b"there?"));
        said.extend(masked(0x80, b"message"));
        let (data, replies, closed) = take(&said).unwrap();
        assert_eq!(
            (data.as_slice(), closed),
            (b"one message".as_slice(), false)
        );
        assert_eq!(replies, b"\x8a\x06there?");
    }

    #[test]
    fn nothing_counts_after_a_goodbye() {
        let mut said = masked(0x88, b"\x03\xe8bye");
        said.extend(masked(0x82, b"more"));
        assert_eq!(
            take(&said),
            Ok((vec![], b"\x88\x02\x03\xe8".to_vec(), true))
        );
        assert_eq!(take(&masked(0x88, b"")), Ok((vec![], vec![0x88, 0], true)));
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let not_masked = [0x82, 0x01, 0x00];
        let no_need_for_two_bytes = [0x82, 0xfe, 0, 5, 0, 0, 0, 0];
        let beyond_63_bits = [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let long_ping = [0x89, 0xfe, 0, 200, 0, 0, 0, 0];
        let in_another = [masked(0x02, b"a"), masked(0x82, b"b")].concat();
        for bad in [
            &not_masked[..],
            &no_need_for_two_bytes,
            &beyond_63_bits,
            &long_ping,
            &in_another,
            &masked(0x80, b"of nothing"),
            &masked(0xc2, b"compressed"),
            &masked(0x83, b"reserved"),
            &masked(0x09, b"half a ping"),
            &masked(0x88, b"\x03"),
            &masked(0x88, b"\x03\xed"),
            &masked(0x88, b"\x03\xe8\xff"),
        ] {
            assert!(take(bad).is_err(), "{bad:x?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            size in 1usize..64,
        ) {
            let said: Vec<u8> = messages.iter().flat_map(|one| masked(0x82, one)).collect();
            let (mut data, mut replies, mut frames) = (Vec::new(), Vec::new(), Frames::default());
            for piece in said.chunks(size) {
                prop_assert_eq!(frames.feed(piece, &mut data, &mut replies), Ok(false));
            }
            prop_assert_eq!(data, messages.concat());
            prop_assert!(replies.is_empty());
        }

        #[test]
        fn nonsense_is_bounded(said in prop::collection::vec(any::<u8>(), 0..4096)) {
            let (mut data, mut replies) = (Vec::new(), Vec::new());
            let _ = Frames::default().feed(&said, &mut data, &mut replies);
            prop_assert!(data.len() + replies.len() <= said.len());
        }
    }
}
