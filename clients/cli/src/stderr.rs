//! The standard error, whose reader may leave as well.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints a line. When nobody reads it any more, there is nobody to tell.
pub fn print(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
