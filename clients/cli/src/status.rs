//! The exit statuses, and what each of them says.

pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
pub const WRONG_USAGE: u8 = 2;
pub const REFUSED: u8 = 3;
pub const UNAVAILABLE: u8 = 4;
pub const UNKNOWN: u8 = 5;
pub const UNIMPLEMENTED: u8 = 6;
/// As shells have it: 128 and the number of the signal.
pub const INTERRUPTED: u8 = 130;
pub const TERMINATED: u8 = 143;

/// Every exit status with its meaning, for the help and the man page.
pub const MEANINGS: [(u8, &str); 9] = [
    (
        DONE,
        "done, also when the reader of the output has left, such as head",
    ),
    (
        FAILED,
        "failed on this machine: a file cannot be read or written, or is no file of users",
    ),
    (
        WRONG_USAGE,
        "wrong usage: an option, a variable or a certificate of this client",
    ),
    (
        REFUSED,
        "refused: invalid, e-mail address taken, id of another user, not found; import: any row of it",
    ),
    (UNAVAILABLE, "unavailable: nothing was written, try again"),
    (
        UNKNOWN,
        "unknown: it may have been written, and creating again with the same id settles it",
    ),
    (
        UNIMPLEMENTED,
        "unimplemented: the service has no such method, or lets this caller only read",
    ),
    (
        INTERRUPTED,
        "import: interrupted by Ctrl-C, with no row unknown",
    ),
    (
        TERMINATED,
        "import: stopped by SIGTERM, with no row unknown",
    ),
];

/// The section of the help.
pub fn help() -> String {
    let lines = MEANINGS.map(|(status, meaning)| format!("  {status:<4} {meaning}\n"));
    format!("Exit status:\n{}", lines.concat())
}
