//! Requests that chance makes up, for what decodes them.

mod body;
mod head;
mod keys_file;

use bolero::{ValueGenerator, produce};

/// Up to so many bytes; by itself the library would make no more than 64.
pub fn up_to(length: usize) -> impl ValueGenerator<Output = Vec<u8>> {
    produce::<Vec<u8>>().with().len(0..=length)
}

/// The text that these bytes stand for, a fragment for each.
fn text(bytes: &[u8], fragments: &[&str]) -> String {
    let fragment = |byte: &u8| fragments[usize::from(*byte) % fragments.len()];
    bytes.iter().map(fragment).collect()
}

/// Text of fragments for one half of the inputs, any bytes for the other one.
pub fn bytes_or_fragments(input: &[u8], fragments: &[&str]) -> Vec<u8> {
    match input.split_first() {
        Some((0..128, bytes)) => text(bytes, fragments).into_bytes(),
        Some((_, bytes)) => bytes.to_owned(),
        None => Vec::new(),
    }
}
