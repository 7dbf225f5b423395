//! Where the messages of a stream begin and end.

/// Where a stream is in its messages (Cap'n Proto encoding, "Serialization over a stream"): a table
/// with the number of segments less one and their sizes in words, padded to a word, then the segments.
#[derive(Default)]
pub struct Framing {
    table: Vec<u8>,
    /// Bytes to come of the message whose table is complete.
    left: u64,
}

impl Framing {
    /// The most segments that the library reads; more are an error it reports itself.
    const MAX_SEGMENTS: usize = 512;

    /// Follows the stream, and tells whether a message was completed.
    pub fn advance(&mut self, mut bytes: &[u8]) -> bool {
        let mut completed = false;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let step = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.left -= step as u64;
                bytes = &bytes[step..];
                completed |= self.left == 0;
                continue;
            }
            self.table.push(first);
            bytes = rest;
            let (words, _) = self.table.as_chunks::<4>();
            let Some((&count, sizes)) = words.split_first() else {
                continue;
            };
            let segments = (u32::from_le_bytes(count) as usize).min(Self::MAX_SEGMENTS) + 1;
            if self.table.len() == (4 + 4 * segments).next_multiple_of(8) {
                let sizes = sizes[..segments]
                    .iter()
                    .map(|size| u64::from(u32::from_le_bytes(*size)));
                self.left = 8 * sizes.sum::<u64>();
                self.table.clear();
                completed |= self.left == 0;
            }
        }
        completed
    }

    pub fn is_inside(&self) -> bool {
        self.left > 0 || !self.table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use capnp::message::{Builder, HeapAllocator};

    use super::*;
    use crate::users_capnp::user;

    /// Messages of one and of several segments, as the library writes them.
    fn messages() -> Vec<Vec<u8>> {
        let message = |segment_words, name: &str| {
            let allocator = HeapAllocator::new().first_segment_words(segment_words);
            let mut message = Builder::new(allocator);
            let mut user = message.init_root::<user::Builder>();
            user.set_name(name);
            user.set_email(name);
            capnp::serialize::write_message_to_words(&message)
        };
        vec![
            message(1024, "a"),
            message(1, "b"),
            message(5, &"c".repeat(1000)),
        ]
    }

    #[test]
    fn framing_knows_the_ends_of_messages_however_they_are_cut() {
        let messages = messages();
        for cut in [1, 3, 8, 17, 10_000] {
            let mut framing = Framing::default();
            for message in &messages {
                let completed = message.chunks(cut).map(|part| {
                    assert!(framing.is_inside() || part.as_ptr() == message.as_ptr());
                    framing.advance(part)
                });
                assert_eq!(completed.filter(|completed| *completed).count(), 1);
                assert!(!framing.is_inside());
            }
        }
        let mut framing = Framing::default();
        assert!(framing.advance(&messages.concat()) && !framing.is_inside());
    }
}
