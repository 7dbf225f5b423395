//! A user and its rules: types that can only hold valid values, and what makes a create a replay.

use uuid::Uuid;

/// Longest e-mail address, in bytes (RFC 5321, section 4.5.3.1.3, less the angle brackets).
const MAX_EMAIL_BYTES: usize = 254;
/// Longest local part, in bytes (RFC 5321, section 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;
/// Longest part of a domain between two dots, in bytes (RFC 1035, section 2.3.4).
const MAX_LABEL_BYTES: usize = 63;
/// Longest name, in characters (Unicode scalar values).
const MAX_NAME_CHARS: usize = 200;
/// Length of a UUID in canonical form (RFC 9562, section 4), which the other forms do not have.
const UUID_LENGTH: usize = 36;

/// What a right value looks like, as the rest of a sentence that starts with the field's name: the rule
/// that a value breaks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct RuleViolation(pub String);

fn violation<T>(rule: impl Into<String>) -> Result<T, RuleViolation> {
    Err(RuleViolation(rule.into()))
}

/// Names all rules that a value breaks at once.
fn refuse_if_any<const N: usize>(broken: [Option<String>; N]) -> Result<(), RuleViolation> {
    let broken: Vec<String> = broken.into_iter().flatten().collect();
    if broken.is_empty() {
        Ok(())
    } else {
        violation(broken.join(" and "))
    }
}

/// An e-mail address: trimmed, ASCII, at most 254 bytes, a dot-atom before the "@" and a host name
/// with a dot behind it (RFC 5321 without quoted local parts and address literals). Keeps its case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Email(String);

impl Email {
    /// Trims and checks.
    pub fn parse(text: &str) -> Result<Self, RuleViolation> {
        let text = text.trim();
        if text.is_empty() {
            return violation("must be an e-mail address, such as jane@example.com");
        }
        let Some((local, domain)) = text.split_once('@') else {
            return violation("must have an @, as in jane@example.com");
        };
        if domain.contains('@') {
            return violation("must have one @ only");
        }

        let length = || format!("must have at most {MAX_EMAIL_BYTES} bytes");
        refuse_if_any([
            (text.len() > MAX_EMAIL_BYTES).then(length),
            broken_local_rule(local).map(|rule| format!("{rule} in the local part (before the @)")),
            broken_domain_rule(domain),
        ])?;
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What must be unique: the address without regard to case. PostgreSQL computes the same with
    /// `lower(email COLLATE "C")`.
    pub fn unique_key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

/// The rule that a local part breaks. It must be a dot-atom (RFC 5322, section 3.2.3).
fn broken_local_rule(local: &str) -> Option<String> {
    let is_dot_atom_byte =
        |b: u8| b.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&b);
    Some(if local.is_empty() {
        "must have something".into()
    } else if !local.is_ascii() {
        "must be ASCII".into()
    } else if local.len() > MAX_LOCAL_BYTES {
        format!("must have at most {MAX_LOCAL_BYTES} bytes")
    } else if !local.bytes().all(is_dot_atom_byte) {
        "must have only letters, digits, dots and !#$%&'*+/=?^_`{|}~-".into()
    } else if local.split('.').any(str::is_empty) {
        "must have dots only between other characters".into()
    } else {
        return None;
    })
}

/// The rule that a domain breaks. It must be a host name (RFC 1123, section 2.1) with a dot.
fn broken_domain_rule(domain: &str) -> Option<String> {
    let is_host_byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let has_outer_hyphen = |label: &str| label.starts_with('-') || label.ends_with('-');
    Some(if domain.is_empty() {
        "must have a domain after the @, such as example.com".into()
    } else if !domain.is_ascii() {
        "must have its domain in ASCII, as Punycode such as xn--mnchen-3ya.de".into()
    } else if !domain.bytes().all(is_host_byte) {
        "must have only letters, digits, hyphens and dots in the domain".into()
    } else if !domain.contains('.') {
        "must have a dot in the domain, as in example.com".into()
    } else if domain.split('.').any(str::is_empty) {
        "must have dots only between other characters in the domain".into()
    } else if domain.split('.').any(|label| label.len() > MAX_LABEL_BYTES) {
        format!("must have at most {MAX_LABEL_BYTES} bytes between two dots of the domain")
    } else if domain.split('.').any(has_outer_hyphen) {
        "must have no hyphen beside a dot or an end of the domain".into()
    } else {
        return None;
    })
}

/// A name: trimmed, 1 to 200 characters, none of which controls how text around it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Name(String);

impl Name {
    /// Trims and checks.
    pub fn parse(text: &str) -> Result<Self, RuleViolation> {
        let text = text.trim();
        let has_wrong_length = text.is_empty() || text.chars().nth(MAX_NAME_CHARS).is_some();
        let length = || format!("must have 1 to {MAX_NAME_CHARS} characters");
        let control = "must not contain control or bidi override characters";
        refuse_if_any([
            has_wrong_length.then(length),
            text.chars().any(is_control).then(|| control.into()),
        ])?;
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Control characters, line and paragraph separators, and the characters that embed, override or
/// isolate a direction of text (Unicode Standard Annex #9, section 2).
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A user's id: a UUID in canonical form, in either case, and not the nil UUID, which means "none". Gateways
/// rely on that: they create with the nil UUID to learn the faults of a body that must not be stored.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct UserId(Uuid);

impl UserId {
    pub fn parse(text: &str) -> Result<Self, RuleViolation> {
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == UUID_LENGTH && !uuid.is_nil() => Ok(Self(uuid)),
            _ => violation("must be a UUID, such as 0190a3f4-7c3e-7cc8-a1b2-0242ac120002"),
        }
    }

    /// A new id for a caller that brings none: a UUIDv7.
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }

    pub fn uuid(self) -> Uuid {
        self.0
    }
}

/// A user that may be stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewUser {
    /// Picked by the caller, or minted for it.
    pub id: UserId,
    /// Unique without regard to case.
    pub email: Email,
    /// For people to read.
    pub name: Name,
}

impl NewUser {
    /// Whether to create this user when `stored` exists is a replay: the same id, e-mail address and
    /// name. The same id with other content is an id conflict.
    pub fn is_replay_of(&self, stored: &User) -> bool {
        let User { id, email, name } = stored;
        self.id.uuid() == *id && self.email.as_str() == email && self.name.as_str() == name
    }
}

/// A stored user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// Not the nil UUID.
    pub id: Uuid,
    /// In the case it was given.
    pub email: String,
    /// Trimmed.
    pub name: String,
}

impl User {
    /// What is unique of it, as [`Email::unique_key`].
    pub fn unique_key(&self) -> String {
        self.email.to_ascii_lowercase()
    }
}

impl From<NewUser> for User {
    /// The user as it is stored once it has been created.
    fn from(NewUser { id, email, name }: NewUser) -> Self {
        Self {
            id: id.0,
            email: email.0,
            name: name.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn valid_address_is_kept_but_for_space_around_it() {
        for good in [
            "jane@example.com",
            "J.O'Neil+tag@sub.example.co.uk",
            "a@b.c",
            "x@1-2.io",
        ] {
            assert_eq!(Email::parse(good).unwrap().as_str(), good);
            assert_eq!(
                Email::parse(&format!(" \t{good}\n")).unwrap().as_str(),
                good
            );
        }
    }

    /// The rule that an address breaks.
    fn rule_of(address: &str) -> String {
        let RuleViolation(rule) = Email::parse(address).expect_err(address);
        rule
    }

    #[test]
    fn text_without_both_parts_of_an_address_is_told_what_it_lacks() {
        for (bad, rule) in [
            ("", "must be an e-mail address, such as jane@example.com"),
            ("jane", "must have an @, as in jane@example.com"),
            ("a@b@c.com", "must have one @ only"),
            ("\"a@b\"@c.com", "must have one @ only"),
            (
                "@b.com",
                "must have something in the local part (before the @)",
            ),
            (
                "jane@",
                "must have a domain after the @, such as example.com",
            ),
        ] {
            assert_eq!(rule_of(bad), rule, "{bad:?}");
        }
    }

    #[test]
    fn address_is_told_the_rule_that_its_local_part_breaks() {
        let characters = "must have only letters, digits, dots and !#$%&'*+/=?^_`{|}~-";
        let dots = "must have dots only between other characters";
        let long = format!("{}@b.com", "x".repeat(65));
        for (bad, rule) in [
            ("müller@example.com", "must be ASCII"),
            ("a b@c.com", characters),
            ("\"a\"@c.com", characters),
            ("Jane <a@b.com", characters),
            ("a\u{0}@b.com", characters),
            (".a@b.com", dots),
            ("a.@b.com", dots),
            ("a..b@c.com", dots),
            (&long, "must have at most 64 bytes"),
        ] {
            let rule = format!("{rule} in the local part (before the @)");
            assert_eq!(rule_of(bad), rule, "{bad:?}");
        }
    }

    #[test]
    fn address_is_told_the_rule_that_its_domain_breaks() {
        let characters = "must have only letters, digits, hyphens and dots in the domain";
        let dots = "must have dots only between other characters in the domain";
        let hyphens = "must have no hyphen beside a dot or an end of the domain";
        let long = format!("a@{}.com", "x".repeat(64));
        for (bad, rule) in [
            (
                "o@localhost",
                "must have a dot in the domain, as in example.com",
            ),
            (
                "jane@münchen.de",
                "must have its domain in ASCII, as Punycode such as xn--mnchen-3ya.de",
            ),
            ("jane@b..com", dots),
            ("jane@.com", dots),
            ("jane@b.com.", dots),
            ("jane@-b.com", hyphens),
            ("jane@b-.com", hyphens),
            ("jane@b_c.com", characters),
            ("jane@ex!ample.com", characters),
            ("a@[127.0.0.1]", characters),
            ("a@b.com>", characters),
            ("a@b.com\u{0}", characters),
            (
                &long,
                "must have at most 63 bytes between two dots of the domain",
            ),
        ] {
            assert_eq!(rule_of(bad), rule, "{bad:?}");
        }
    }

    #[test]
    fn address_is_told_the_rules_that_both_its_parts_break() {
        let rules = "must be ASCII in the local part (before the @) \
            and must have a dot in the domain, as in example.com";
        assert_eq!(rule_of("müller@localhost"), rules);
    }

    #[test]
    fn address_has_at_most_254_bytes() {
        let local = "l".repeat(64);
        let domain = [63, 63, 57].map(|length| "d".repeat(length)).join(".");
        let longest = format!("{local}@{domain}.com");
        assert_eq!(longest.len(), 254);

        assert!(Email::parse(&longest).is_ok());
        assert_eq!(
            rule_of(&format!("{longest}e")),
            "must have at most 254 bytes"
        );
    }

    #[test]
    fn name_has_1_to_200_characters() {
        assert_eq!(Name::parse("  Jane Doe ").unwrap().as_str(), "Jane Doe");
        assert!(Name::parse(&"é".repeat(200)).is_ok());
        assert!(Name::parse(&"é".repeat(201)).is_err());
        assert!(Name::parse("").is_err());
        assert!(Name::parse(" \u{3000}").is_err());
    }

    #[test]
    fn name_cannot_change_how_the_text_around_it_is_shown() {
        for bad in [
            '\0', '\n', '\u{7f}', '\u{85}', '\u{2028}', '\u{202e}', '\u{2067}',
        ] {
            assert!(Name::parse(&format!("Jane{bad}Doe")).is_err(), "{bad:?}");
        }
        // Emoji sequences and several scripts need these.
        assert!(Name::parse("👩\u{200d}🔬 \u{200f}").is_ok());
    }

    #[test]
    fn name_is_told_all_rules_that_it_breaks() {
        let RuleViolation(rules) = Name::parse(&"\u{202e}x".repeat(101)).unwrap_err();
        let expected = "must have 1 to 200 characters \
            and must not contain control or bidi override characters";
        assert_eq!(rules, expected);
    }

    #[test]
    fn id_is_a_uuid_in_canonical_form() {
        let id = "0190a3f4-7c3e-7cc8-a1b2-0242ac120002";
        assert_eq!(
            UserId::parse(id).unwrap(),
            UserId::parse(&id.to_uppercase()).unwrap()
        );
        let nil = Uuid::nil().to_string();
        for bad in [
            "",
            "x",
            &nil,
            &id.replace('-', ""),
            &format!("{{{id}}}"),
            &format!("urn:uuid:{id}"),
        ] {
            assert!(UserId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn user_is_a_replay_only_of_itself() {
        let user = |id, email, name| NewUser {
            id: UserId::parse(id).unwrap(),
            email: Email::parse(email).unwrap(),
            name: Name::parse(name).unwrap(),
        };
        let id = "0190a3f4-7c3e-7cc8-a1b2-0242ac120002";
        let users = [
            user(id, "a@b.c", "é"),
            user("0190a3f4-7c3e-7cc8-a1b2-0242ac120003", "a@b.c", "é"),
            user(id, "A@b.c", "é"),
            user(id, "a@b.c", "e\u{301}"),
        ];
        for (i, new) in users.iter().enumerate() {
            for (j, stored) in users.iter().enumerate() {
                assert_eq!(new.is_replay_of(&User::from(stored.clone())), i == j);
            }
        }
    }

    proptest! {
        #[test]
        fn dot_atom_at_a_dotted_host_is_an_address(
            local in "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[a-z0-9]{1,20}){0,2}",
            domain in "([a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?\\.){1,3}[a-z]{2,10}",
        ) {
            let text = format!("{local}@{domain}");
            prop_assert_eq!(Email::parse(&text).map(|e| e.as_str().to_owned()), Ok(text));
        }
    }
}
