//! Log lines on standard error, as text or JSON.

use std::fmt::Display;
use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt};

/// Characters of a text from elsewhere that a log line shows.
const MAX_SHOWN: usize = 200;

/// Form of the log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Starts logging. Does nothing when this process logs already.
pub fn init(format: LogFormat, directives: &str) {
    let log = fmt()
        .with_env_filter(EnvFilter::new(directives))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // A log that cannot be written is no reason to panic, as reporting it would.
        .log_internal_errors(false);
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// Checks directives of `RUST_LOG`.
pub fn directives(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("must be a level (error, warn, info, debug, trace) or directives".into()),
    }
}

/// A text that a peer chooses, fit for a log line: at most 200 characters of it, of which those that could
/// break the line, drive a terminal or reorder what it shows are escaped.
pub fn one_line(text: &dyn Display) -> String {
    let (text, mut line) = (text.to_string(), String::new());
    for (shown, c) in text.chars().enumerate() {
        if shown == MAX_SHOWN {
            line.push('…');
            break;
        }
        push_escaped(&mut line, c);
    }
    line
}

/// Appends a character when it is printable, and otherwise `\uXXXX`, as JSON would.
fn push_escaped(line: &mut String, c: char) {
    // What `escape_debug` escapes beside quotes and backslashes is not printable: control characters,
    // separators of lines, bidi overrides.
    if matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1 {
        return line.push(c);
    }
    let mut units = [0; 2];
    let units = c.encode_utf16(&mut units).iter();
    line.extend(units.map(|unit| format!("\\u{unit:04x}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_peer_is_one_bounded_line_that_drives_no_terminal() {
        let text = "no\r\n\u{1b}[2Jx\u{202e}y\u{9b}\u{2028}\u{7f}\u{e0001}";
        let shown = r"no\u000d\u000a\u001b[2Jx\u202ey\u009b\u2028\u007f\udb40\udc01";
        assert_eq!(one_line(&text), shown);
        assert_eq!(one_line(&r#"it's "Zoë" 用户 \"#), r#"it's "Zoë" 用户 \"#);
        assert_eq!(one_line(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(one_line(&"é".repeat(201)), "é".repeat(200) + "…");
    }
}
