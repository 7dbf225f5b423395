//! Text that chance makes up, for what reads text.

mod database_url;
mod rules;

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

/// Text of fragments for one half of the inputs, any text for the other one.
pub fn text_or_fragments(input: &[u8], fragments: &[&str]) -> String {
    match input.split_first() {
        Some((0..128, bytes)) => text(bytes, fragments),
        Some((_, bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        None => String::new(),
    }
}
