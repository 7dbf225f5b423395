//! The options of a connection string that say how TLS is used. The driver does not know them, so they are
//! taken out before it parses the rest.

use std::borrow::Cow;

use anyhow::{bail, ensure};
use credentials::{CredentialFile, ServerCheck, TrustedCas};
use percent_encoding::percent_decode_str;

/// Options that other clients of PostgreSQL have (PostgreSQL documentation, section 34.1.2) and this one has
/// not. Only these are named in an error: what looks like another option may be part of a password.
const UNSUPPORTED: &[&str] = &[
    "client_encoding",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "ssl",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslpassword",
    "sslsni",
];

/// When TLS is used, and what is checked of the server.
#[derive(Clone, Debug)]
pub enum TlsPolicy {
    /// Never.
    Off,
    /// When the server can.
    Preferred(ServerCheck),
    /// Always.
    Required(ServerCheck),
}

/// A connection string without the options that say how TLS is used, and those.
#[derive(Debug, Default)]
pub struct Options {
    pub rest: String,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
}

/// One option as it is written.
struct Written<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
    text: &'a str,
}

impl Options {
    /// Takes the options out of a URL or of `key=value` pairs; `None`: it is neither. The rest keeps its text.
    ///
    /// Reads exactly what the driver reads. An option that only one of the two saw would stay in the rest,
    /// which the driver then refuses.
    pub fn split(text: &str) -> anyhow::Result<Option<Self>> {
        let is_url = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        let (before, written, separator) = if is_url {
            // As the driver does: the credentials end at the first @, wherever it is.
            let credentials_end = text.find('@').unwrap_or(0);
            let end = text[credentials_end..]
                .find('?')
                .map_or(text.len(), |at| credentials_end + at + 1);
            let (before, query) = text.split_at(end);
            (before, url_parameters(query), "&")
        } else {
            ("", pairs(text), " ")
        };
        let Some(written) = written else {
            return Ok(None);
        };

        let (mut options, mut rest) = (Self::default(), Vec::new());
        for Written { name, value, text } in written {
            // Of an option that is given twice, the last counts.
            match &*name {
                "sslmode" => options.sslmode = Some(value.into_owned()),
                "sslrootcert" => options.sslrootcert = Some(value.into_owned()),
                name => match UNSUPPORTED.iter().find(|option| **option == name) {
                    Some(option) => bail!("users-svc does not know the option {option}"),
                    None => rest.push(text),
                },
            }
        }
        options.rest = before.to_owned() + &rest.join(separator);
        Ok(Some(options))
    }

    /// What the options mean: the same as to libpq (PostgreSQL documentation, section 34.19), or stricter.
    pub fn policy(&self) -> anyhow::Result<TlsPolicy> {
        // Where a value is missing, this is the next pair, and may have the password: errors show the path.
        let is_path =
            |text: &String| !text.contains(['=', '@']) && !text.contains(char::is_control);
        ensure!(
            self.sslrootcert.as_ref().is_none_or(is_path),
            "sslrootcert must be the path of a file, in which there is no = or @, or system"
        );

        let cas = self.sslrootcert.as_deref().map(|path| match path {
            "system" => TrustedCas::System,
            path => TrustedCas::File(CredentialFile::new("sslrootcert", path)),
        });

        let mode = self.sslmode.as_deref().unwrap_or("prefer");
        Ok(match (mode, cas) {
            ("disable", None) => TlsPolicy::Off,
            ("prefer", None) => TlsPolicy::Preferred(ServerCheck::Key),
            ("require", None) => TlsPolicy::Required(ServerCheck::Key),
            ("disable" | "prefer", Some(_)) => bail!(
                "sslrootcert has no use with sslmode={mode}, which lets anyone answer: \
                 write sslmode=verify-full"
            ),
            ("require" | "verify-ca", Some(TrustedCas::System)) => bail!(
                "sslrootcert=system needs sslmode=verify-full: such a CA signs for anyone, \
                 so the name must be checked"
            ),
            ("require" | "verify-ca", Some(cas)) => TlsPolicy::Required(ServerCheck::Chain(cas)),
            ("verify-full", Some(cas)) => TlsPolicy::Required(ServerCheck::ChainAndName(cas)),
            ("verify-ca" | "verify-full", None) => bail!(
                "sslmode={mode} needs sslrootcert, the file with the certificate of the server's CA, \
                 for example sslrootcert=/etc/users/postgres-ca.crt; with verify-full, \
                 sslrootcert=system means the CAs that this machine trusts"
            ),
            ("allow", _) => bail!("sslmode=allow is not supported: write sslmode=prefer"),
            _ => bail!("sslmode must be disable, prefer, require, verify-ca or verify-full"),
        })
    }
}

/// The parameters of a URL's query.
fn url_parameters(mut query: &str) -> Option<Vec<Written<'_>>> {
    let mut found = Vec::new();
    while !query.is_empty() {
        let (name, after) = query.split_once('=')?;
        let (value, rest) = after.split_once('&').unwrap_or((after, ""));
        found.push(Written {
            name: percent_decode_str(name).decode_utf8().ok()?,
            value: percent_decode_str(value).decode_utf8_lossy(),
            text: &query[..=name.len() + value.len()],
        });
        query = rest;
    }
    Some(found)
}

/// The `key=value` pairs of a string (PostgreSQL documentation, section 34.1.1.1).
fn pairs(text: &str) -> Option<Vec<Written<'_>>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let start = rest;
        let end = start.find(|c: char| c.is_whitespace() || c == '=')?;
        let (name, after) = start.split_at(end);
        let after = after.trim_start().strip_prefix('=')?.trim_start();

        let value = if let Some(quoted) = after.strip_prefix('\'') {
            let (value, after) = value_until(quoted, |c| c == '\'');
            rest = after.strip_prefix('\'')?;
            value
        } else {
            let (value, after) = value_until(after, char::is_whitespace);
            rest = after;
            value
        };
        // The driver stops at an empty name, and overlooks the rest.
        if name.is_empty() {
            return None;
        }
        found.push(Written {
            name: name.into(),
            value: value.into(),
            text: &start[..start.len() - rest.len()],
        });
        rest = rest.trim_start();
    }
    Some(found)
}

/// The value up to a character that ends it, and the rest from there on. What follows a backslash is part of
/// the value.
fn value_until(text: &str, ends: impl Fn(char) -> bool) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if ends(c) => return (value, &text[at..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use postgres::config::SslMode;
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> Options {
        Options::split(text).unwrap().unwrap()
    }

    #[test]
    fn options_are_taken_out_of_either_form_and_the_rest_stays() {
        for (text, rest, mode, root) in [
            ("postgres://u:p@h/d", "postgres://u:p@h/d", None, None),
            (
                "postgres://u:p@h/d?sslmode=verify%2Dfull&a=b&sslrootcert=%2Fmy%20ca.crt",
                "postgres://u:p@h/d?a=b",
                Some("verify-full"),
                Some("/my ca.crt"),
            ),
            // A question mark of the password, and no credentials at all.
            (
                "postgresql://u:p?w@h?ssl%6Dode=require",
                "postgresql://u:p?w@h?",
                Some("require"),
                None,
            ),
            (
                "postgres://h?sslmode=disable",
                "postgres://h?",
                Some("disable"),
                None,
            ),
            (
                r"host=h sslmode = 'verify-\ca' password='it'sslrootcert=/it\'s\ a.crt",
                r"host=h password='it'",
                Some("verify-ca"),
                Some("/it's a.crt"),
            ),
            (
                "sslmode=allow host=h sslmode=require",
                "host=h",
                Some("require"),
                None,
            ),
            (
                "password='sslmode=require' host=h",
                "password='sslmode=require' host=h",
                None,
                None,
            ),
        ] {
            let options = split(text);
            assert_eq!(options.rest, rest);
            assert_eq!(options.sslmode.as_deref(), mode, "{text}");
            assert_eq!(options.sslrootcert.as_deref(), root, "{text}");
        }
    }

    #[test]
    fn option_that_is_not_supported_is_named_without_its_value() {
        for text in ["host=h sslkey=hunter2", "postgres://h/d?sslkey=hunter2"] {
            let error = Options::split(text).unwrap_err().to_string();
            assert!(
                error.contains("sslkey") && !error.contains("hunter2"),
                "{error}"
            );
        }
        assert!(
            Options::split("host=h password=hunter 2=x")
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn pair_that_follows_a_missing_path_is_not_shown() {
        let text = "host=h sslmode=verify-full sslrootcert= password=hunter2";
        let error = split(text).policy().unwrap_err().to_string();
        assert!(
            error.contains("sslrootcert") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn every_mode_means_what_it_does_to_libpq_or_is_refused() {
        let policy = |text: &str| match split(text).policy() {
            Ok(TlsPolicy::Off) => "off".into(),
            Ok(TlsPolicy::Preferred(ServerCheck::Key)) => "preferred".into(),
            Ok(TlsPolicy::Required(ServerCheck::Key)) => "required".into(),
            Ok(TlsPolicy::Required(ServerCheck::Chain(_))) => "chain".into(),
            Ok(TlsPolicy::Required(ServerCheck::ChainAndName(_))) => "name".into(),
            Ok(other) => panic!("{other:?}"),
            Err(error) => error.to_string(),
        };
        for (text, meaning) in [
            ("", "preferred"),
            ("sslmode=disable", "off"),
            ("sslmode=prefer", "preferred"),
            ("sslmode=require", "required"),
            ("sslmode=require sslrootcert=/ca", "chain"),
            ("sslmode=verify-ca sslrootcert=/ca", "chain"),
            ("sslmode=verify-full sslrootcert=/ca", "name"),
            ("sslmode=verify-full sslrootcert=system", "name"),
            ("sslmode=verify-ca", "needs sslrootcert"),
            ("sslmode=verify-full", "needs sslrootcert"),
            (
                "sslmode=verify-ca sslrootcert=system",
                "needs sslmode=verify-full",
            ),
            (
                "sslmode=require sslrootcert=system",
                "needs sslmode=verify-full",
            ),
            ("sslrootcert=/ca", "write sslmode=verify-full"),
            (
                "sslmode=disable sslrootcert=/ca",
                "write sslmode=verify-full",
            ),
            ("sslmode=allow", "write sslmode=prefer"),
            ("sslmode=hunter2", "sslmode must be disable, prefer"),
        ] {
            let said = policy(text);
            assert!(
                said.contains(meaning) && !said.contains("hunter2"),
                "{text}: {said}"
            );
        }
    }

    /// What the driver reads of a string apart from `sslmode`, and that.
    fn parsed(text: &str) -> Option<(String, SslMode)> {
        let mut config = text.parse::<postgres::Config>().ok()?;
        let mode = config.get_ssl_mode();
        config.ssl_mode(SslMode::Prefer);
        let password = config.get_password().map(<[u8]>::to_vec);
        Some((format!("{config:?} {password:?}"), mode))
    }

    /// Pieces of connection strings.
    const PIECES: &[&str] = &[
        "postgres://",
        "user:pass",
        "host",
        "=",
        " ",
        "'",
        "\\",
        "?",
        "&",
        "@",
        "/",
        ",",
        ":",
        "%",
        "%27",
        "\u{a0}",
        "a",
        "sslmode=require",
        "sslmode=disable",
        "ssl%6dode",
        "sslmode",
        "'require'",
        "require",
        "password=",
        "application_name=",
        "host=h ",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn driver_reads_the_same_before_and_after(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12),
        ) {
            let text = pieces.concat();
            if let (Ok(Some(options)), Some((all, mode))) = (Options::split(&text), parsed(&text)) {
                let taken = match options.sslmode.as_deref() {
                    Some("disable") => SslMode::Disable,
                    Some("require") => SslMode::Require,
                    None => SslMode::Prefer,
                    Some(other) => panic!("{other}"),
                };
                prop_assert_eq!(taken, mode);
                prop_assert_eq!(parsed(&options.rest), Some((all, SslMode::Prefer)));
            }
        }

        #[test]
        fn options_are_found_between_any_others(
            values in prop::collection::vec("\\PC{1,8}", 1..4),
            at in any::<prop::sample::Index>(),
        ) {
            let names = ["password", "application_name", "options", "dbname"];
            let quote = |value: &str| value.replace('\\', r"\\").replace('\'', r"\'");
            let pairs: Vec<_> = names.iter().zip(&values)
                .map(|(name, value)| format!("{name}='{}'", quote(value))).collect();
            let encode = |value: &str| percent_encoding::utf8_percent_encode(
                value, percent_encoding::NON_ALPHANUMERIC).to_string();
            let parameters: Vec<_> = names.iter().zip(&values)
                .map(|(name, value)| format!("{name}={}", encode(value))).collect();

            for (before, given, separator) in [("", pairs, " "), ("postgres://h/d?", parameters, "&")] {
                let without = before.to_owned() + &given.join(separator);
                let mut with = given;
                with.insert(at.index(with.len() + 1), "sslmode=verify-full".into());
                let options = split(&(before.to_owned() + &with.join(separator)));
                prop_assert_eq!(options.sslmode.as_deref(), Some("verify-full"));
                prop_assert_eq!(parsed(&options.rest), parsed(&without));
            }
        }
    }
}
