//! Where the messages of a stream begin and end.

/// The most segments that the library reads; more are an error it reports itself.
const MAX_SEGMENTS: usize = 512;

/// A position in a stream of messages (Cap'n Proto encoding, "Serialization over a stream"). A message
/// is a table with the number of segments less one and their sizes in words, padded to a word, and then
/// the segments.
#[derive(Default)]
pub struct Framing {
    /// The bytes so far of a table that is not complete.
    table: Vec<u8>,
    /// Bytes to come of the segments whose table is complete.
    body_left: usize,
}

impl Framing {
    /// Advances over `bytes`, and returns whether a message was completed.
    pub fn advance(&mut self, mut bytes: &[u8]) -> bool {
        let mut completed = false;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.body_left > 0 {
                let step = self.body_left.min(bytes.len());
                self.body_left -= step;
                bytes = &bytes[step..];
                completed |= self.body_left == 0;
            } else {
                self.table.push(first);
                bytes = rest;
                if let Some(body) = self.complete_table() {
                    self.table.clear();
                    self.body_left = body;
                    completed |= body == 0;
                }
            }
        }
        completed
    }

    /// The size in bytes of the segments, once their table is complete.
    fn complete_table(&self) -> Option<usize> {
        let (words, _) = self.table.as_chunks::<4>();
        let (count, sizes) = words.split_first()?;
        let segments = (u32::from_le_bytes(*count) as usize).min(MAX_SEGMENTS) + 1;
        let is_complete = self.table.len() == (4 + 4 * segments).next_multiple_of(8);
        let size = |segment: &[u8; 4]| 8 * u32::from_le_bytes(*segment) as usize;
        is_complete.then(|| sizes[..segments].iter().map(size).sum())
    }

    /// Whether a message has begun and is not complete.
    pub fn is_inside_message(&self) -> bool {
        self.body_left > 0 || !self.table.is_empty()
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
                    assert!(framing.is_inside_message() || part.as_ptr() == message.as_ptr());
                    framing.advance(part)
                });
                assert_eq!(completed.filter(|completed| *completed).count(), 1);
                assert!(!framing.is_inside_message());
            }
        }
        let mut framing = Framing::default();
        assert!(framing.advance(&messages.concat()) && !framing.is_inside_message());
    }
}
