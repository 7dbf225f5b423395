//! The query of `GET /users`: which users are asked for.

use percent_encoding::percent_decode_str;

use crate::field_error::{FieldError, MAX_ERRORS};

/// Users to a page, when a client does not say.
const DEFAULT_PAGE_SIZE: u32 = 50;

/// Which users are asked for.
#[derive(Debug, PartialEq)]
pub enum UsersQuery {
    /// The one who has this e-mail address.
    ByEmail(String),
    /// The page of all users that a token stands for; empty: the first.
    Page { size: u32, token: String },
}

/// Reads the query of `GET /users`, or says everything that is wrong with its form: each parameter may be given
/// once, nothing else may be, and `email` goes with no other. Values are the users service's to check.
///
/// A `+` stands for itself (RFC 3986), not for a space as in HTML forms: e-mail addresses have it, and no space.
pub fn parse(query: &str) -> Result<UsersQuery, Vec<FieldError>> {
    let (mut email, mut size, mut token) = (None, None, None);
    let mut errors = Vec::new();
    let mut error = |name: &str, detail| errors.push(FieldError::of_parameter(name, detail));
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decode_str(name).decode_utf8_lossy();

        let place = match &*name {
            "email" => &mut email,
            "pageSize" => &mut size,
            "pageToken" => &mut token,
            _ => {
                error(
                    &name,
                    "is not a parameter; those are email, pageSize and pageToken",
                );
                continue;
            }
        };

        let Ok(value) = percent_decode_str(value).decode_utf8() else {
            error(&name, "must be UTF-8, percent-encoded");
            continue;
        };
        if place.replace(value.into_owned()).is_some() {
            error(&name, "must be given once");
        }
    }

    if email.is_some() && (size.is_some() || token.is_some()) {
        error("email", "must be the only parameter");
    }

    let size = size.map_or(Some(DEFAULT_PAGE_SIZE), |size| size.parse().ok());
    if size.is_none() {
        error("pageSize", "must be a whole number, such as 50");
    }
    if !errors.is_empty() {
        errors.truncate(MAX_ERRORS);
        return Err(errors);
    }
    Ok(match email {
        Some(email) => UsersQuery::ByEmail(email),
        None => UsersQuery::Page {
            size: size.unwrap_or(DEFAULT_PAGE_SIZE),
            token: token.unwrap_or_default(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameters at fault, and what would be right.
    fn errors_of(query: &str) -> Vec<(String, String)> {
        let errors = parse(query).unwrap_err().into_iter();
        errors
            .map(|error| (error.parameter.unwrap(), error.detail))
            .collect()
    }

    fn page(size: u32, token: &str) -> UsersQuery {
        let token = token.to_owned();
        UsersQuery::Page { size, token }
    }

    #[test]
    fn page_is_asked_for_with_or_without_a_size_and_a_token() {
        for (query, asked) in [
            ("", page(50, "")),
            ("&", page(50, "")),
            ("pageSize=7", page(7, "")),
            ("pageToken=a%20b&pageSize=100", page(100, "a b")),
            ("pageToken=", page(50, "")),
            ("page%53ize=0", page(0, "")),
        ] {
            assert_eq!(parse(query), Ok(asked), "{query}");
        }
    }

    #[test]
    fn address_is_asked_for_as_it_stands() {
        for (query, email) in [
            ("email=jane@example.com", "jane@example.com"),
            ("email=jane%2Btag%40example.com", "jane+tag@example.com"),
            ("email=jane+tag@example.com", "jane+tag@example.com"),
            ("email=a=b%26c@d.io", "a=b&c@d.io"),
            ("email", ""),
        ] {
            assert_eq!(parse(query), Ok(UsersQuery::ByEmail(email.into())));
        }
    }

    #[test]
    fn every_fault_is_named_with_its_parameter() {
        let unknown = "is not a parameter; those are email, pageSize and pageToken";
        for (query, faults) in [
            (
                "limit=5&Email=x",
                &[("limit", unknown), ("Email", unknown)][..],
            ),
            ("=5", &[("", unknown)]),
            ("email=a&email=a", &[("email", "must be given once")]),
            (
                "email=a&pageSize=5",
                &[("email", "must be the only parameter")],
            ),
            (
                "email=a&pageToken=",
                &[("email", "must be the only parameter")],
            ),
            (
                "pageToken=%ff",
                &[("pageToken", "must be UTF-8, percent-encoded")],
            ),
            (
                "pageSize=",
                &[("pageSize", "must be a whole number, such as 50")],
            ),
            (
                "pageSize=-1",
                &[("pageSize", "must be a whole number, such as 50")],
            ),
            (
                "pageSize=4294967296",
                &[("pageSize", "must be a whole number, such as 50")],
            ),
        ] {
            let faults: Vec<_> = faults
                .iter()
                .map(|(name, what)| ((*name).into(), (*what).into()))
                .collect();
            assert_eq!(errors_of(query), faults, "{query}");
        }
    }

    #[test]
    fn query_of_nothing_but_faults_is_answered_with_some_of_them() {
        let errors = errors_of(&"x&".repeat(5000));
        assert_eq!(errors.len(), MAX_ERRORS);
    }
}
