//! The names of SQLSTATE codes, for logs (PostgreSQL documentation, appendix A).

use postgres::error::SqlState;

/// A line for each code: the code and its condition name.
const NAMES: &str = include_str!("sqlstate.txt");

/// The condition name of a code, such as `undefined_table` of 42P01; of an unknown one, the name of its class.
pub fn condition_name(code: &SqlState) -> &'static str {
    let name_of = |code: &str| {
        NAMES
            .lines()
            .find_map(|line| line.strip_prefix(code)?.strip_prefix(' '))
    };
    let class = || name_of(&format!("{}000", &code.code()[..2]));
    name_of(code.code()).or_else(class).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_has_its_name_or_that_of_its_class() {
        for (code, name) in [
            ("42P01", "undefined_table"),
            ("23505", "unique_violation"),
            ("53999", "insufficient_resources"),
            ("ZZ123", "unknown"),
        ] {
            assert_eq!(condition_name(&SqlState::from_code(code)), name);
        }
    }
}
