//! Finds the calls in the bytes that a client sends, so that no attempt is missed or counted twice, whatever the
//! client says of itself.

use super::trace::CallId;

/// What stands before a call's number in its `traceparent`, which is plain text in the message.
const MARK: &[u8] = b"attempt-of-";
const DIGITS: usize = 6;

/// The `traceparent` of a call.
pub fn traceparent(call: CallId) -> String {
    format!("attempt-of-{call:0DIGITS$}")
}

/// The call that a `traceparent` is of.
pub fn call_of(traceparent: &str) -> Option<CallId> {
    traceparent.strip_prefix("attempt-of-")?.parse().ok()
}

/// Reads along with one way of a connection.
#[derive(Default)]
pub struct WireTap {
    /// The last bytes, which may be the beginning of a mark.
    tail: Vec<u8>,
}

impl WireTap {
    /// The calls whose marks end in `chunk`.
    pub fn calls_in(&mut self, chunk: &[u8]) -> Vec<CallId> {
        self.tail.extend_from_slice(chunk);
        let length = MARK.len() + DIGITS;
        let mut calls = Vec::new();
        let mut begin = 0;
        while begin + length <= self.tail.len() {
            if !self.tail[begin..].starts_with(MARK) {
                begin += 1;
                continue;
            }
            let text = str::from_utf8(&self.tail[begin..begin + length]).unwrap();
            calls.extend(call_of(text));
            begin += length;
        }
        self.tail.drain(..begin);
        calls
    }
}

#[test]
fn wire_tap_finds_each_call_once_when_its_mark_is_cut_anywhere() {
    let bytes = [
        traceparent(7),
        "..".into(),
        traceparent(123_456),
        "-".into(),
    ]
    .concat();
    for cut in 0..bytes.len() {
        let mut tap = WireTap::default();
        let (before, after) = bytes.as_bytes().split_at(cut);
        let calls = [tap.calls_in(before), tap.calls_in(after)].concat();
        assert_eq!(calls, [7, 123_456], "cut at {cut}");
    }
}
