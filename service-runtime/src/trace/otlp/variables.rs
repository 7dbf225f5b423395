//! The environment variables of the exporter, as OpenTelemetry specifies them ("Environment Variable Specification",
//! "OTLP Exporter Configuration").
//!
//! The SDK reads some of them by itself, and then passes over bad values. Those that docs/OPERATIONS.md lists are checked
//! here, so that none of them is.

use std::{env, ffi::OsString, ops::RangeInclusive, str::FromStr, time::Duration};

use anyhow::{anyhow, bail};
use credentials::CredentialFile;
use hyper::header::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::endpoint::Endpoint;

const SAMPLERS: [&str; 6] = [
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
    "always_on",
    "always_off",
    "traceidratio",
];
const DEFAULT_ENDPOINT: &str = "http://localhost:4318/v1/traces";
const DEFAULT_TIMEOUT_MS: u64 = 10_000;
const DEFAULT_MAX_QUEUE: u64 = 2048;
/// The most milliseconds that a variable may have.
const DAY_MS: u64 = 86_400_000;
/// The most spans that a variable may have.
const MAX_SPANS: u64 = 1_000_000;

/// What the environment says about exporting.
#[derive(Debug)]
pub struct Variables {
    pub endpoint: Endpoint,
    /// The CAs one of which must have signed the collector's certificate; `None`: this machine's.
    pub ca: Option<CredentialFile>,
    /// The limit of one export, with its retries.
    pub timeout: Duration,
    /// Spans that may wait to be exported.
    pub max_queue: u64,
    /// What the service is called in traces, when it is not by its own name.
    pub service_name: Option<String>,
}

impl Variables {
    /// Reads the environment; `None` when nothing is to be exported. The error names the variable, and says what
    /// would be right.
    pub fn read() -> anyhow::Result<Option<Self>> {
        Self::look_up(&|name| env::var_os(name))
    }

    fn look_up(lookup: &dyn Fn(&str) -> Option<OsString>) -> anyhow::Result<Option<Self>> {
        let variables = Lookup(lookup);
        let exporter = variables.choice("OTEL_TRACES_EXPORTER", &["otlp", "none"])?;
        let disabled = variables.get("OTEL_SDK_DISABLED")?;
        if exporter.as_deref() == Some("none")
            || disabled.is_some_and(|value| value.eq_ignore_ascii_case("true"))
        {
            return Ok(None);
        }
        let Some(endpoint) = variables.endpoint(exporter.is_some())? else {
            return Ok(None);
        };

        for name in [
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ] {
            variables.choice(name, &["http/protobuf"])?;
        }
        for name in [
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
        ] {
            variables.choice(name, &["gzip", "none"])?;
        }

        variables.check_headers()?;
        variables.check_sampler()?;
        variables.check_resource()?;
        variables.refuse_client_certificates()?;
        variables.number("OTEL_BSP_SCHEDULE_DELAY", 1..=DAY_MS, 5000)?;
        variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1..=MAX_SPANS, 512)?;

        Ok(Some(Self {
            endpoint,
            ca: variables.ca()?,
            timeout: variables.timeout()?,
            max_queue: variables.number(
                "OTEL_BSP_MAX_QUEUE_SIZE",
                1..=MAX_SPANS,
                DEFAULT_MAX_QUEUE,
            )?,
            service_name: variables.get("OTEL_SERVICE_NAME")?,
        }))
    }
}

/// The environment.
struct Lookup<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl Lookup<'_> {
    /// The value of a variable. An empty one is as good as none.
    fn get(&self, name: &str) -> anyhow::Result<Option<String>> {
        let value = self.0(name).filter(|value| !value.is_empty());
        let text = value.map(OsString::into_string).transpose();
        text.map_err(|_| anyhow!("{name} must be UTF-8"))
    }

    /// The value of the first of these variables that has one, with its name.
    fn first(&self, names: [&'static str; 2]) -> anyhow::Result<Option<(&'static str, String)>> {
        for name in names {
            if let Some(value) = self.get(name)? {
                return Ok(Some((name, value)));
            }
        }
        Ok(None)
    }

    fn choice(&self, name: &str, good: &[&str]) -> anyhow::Result<Option<String>> {
        let value = self.get(name)?;
        match &value {
            Some(value) if !good.contains(&value.as_str()) => {
                let must = match good {
                    [only] => format!("must be {only} or unset"),
                    _ => format!("must be one of {}", good.join(", ")),
                };
                bail!("{name}={value:?}: {must}, for example {name}={}", good[0])
            }
            _ => Ok(value),
        }
    }

    fn number(&self, name: &str, range: RangeInclusive<u64>, default: u64) -> anyhow::Result<u64> {
        let Some(value) = self.get(name)? else {
            return Ok(default);
        };
        match value.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => bail!(
                "{name}={value:?}: must be a number from {} to {}, for example {name}={default}",
                range.start(),
                range.end()
            ),
        }
    }

    /// Where spans go; `None` when no variable says so. `is_wanted` gives a default.
    fn endpoint(&self, is_wanted: bool) -> anyhow::Result<Option<Endpoint>> {
        let read = |name, parse: fn(&str) -> Option<Endpoint>, without, example| {
            let Some(text) = self.get(name)? else {
                return Ok(None);
            };
            // A password comes before an @, and a key may stand behind a question mark.
            let shown = if text.contains(['@', '?', '#']) {
                String::new()
            } else {
                format!("={text:?}")
            };
            let what = "must be a URL with http:// or https:// and a host";
            parse(&text).map(Some).ok_or_else(|| {
                anyhow!("{name}{shown}: {what}, without {without}, for example {name}={example}")
            })
        };

        let traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        if let Some(endpoint) = read(
            traces,
            Endpoint::verbatim,
            "a password",
            "http://collector:4318/v1/traces",
        )? {
            return Ok(Some(endpoint));
        }

        let base = read(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            Endpoint::below,
            "a password or a query",
            "http://collector:4318",
        )?;
        Ok(base.or_else(|| {
            is_wanted
                .then(|| Endpoint::verbatim(DEFAULT_ENDPOINT))
                .flatten()
        }))
    }

    fn ca(&self) -> anyhow::Result<Option<CredentialFile>> {
        let names = [
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
        ];
        let file = self.first(names)?;
        Ok(file.map(|(name, path)| CredentialFile::new(name, path)))
    }

    fn timeout(&self) -> anyhow::Result<Duration> {
        let names = [
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ];
        let name = self.first(names)?.map_or(names[1], |(name, _)| name);
        let timeout = self.number(name, 1..=DAY_MS, DEFAULT_TIMEOUT_MS)?;
        Ok(Duration::from_millis(timeout))
    }

    /// Headers are secrets: no error shows them.
    fn check_headers(&self) -> anyhow::Result<()> {
        for name in [
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ] {
            let is_header = |name: &str, value: &str| {
                let value = percent_decode_str(value).decode_utf8();
                HeaderName::from_str(name).is_ok()
                    && value.is_ok_and(|value| HeaderValue::from_str(&value).is_ok())
            };
            if !pairs(&self.get(name)?.unwrap_or_default(), is_header) {
                bail!(
                    "{name}: must be headers as name=value, with commas between them, and what is special in a \
                     value percent-encoded, for example {name}='authorization=Bearer%20token'"
                )
            }
        }
        Ok(())
    }

    fn check_sampler(&self) -> anyhow::Result<()> {
        let sampler = self.choice("OTEL_TRACES_SAMPLER", &SAMPLERS)?;
        if !sampler.is_some_and(|sampler| sampler.ends_with("traceidratio")) {
            return Ok(());
        }
        let name = "OTEL_TRACES_SAMPLER_ARG";
        let Some(value) = self.get(name)? else {
            return Ok(());
        };
        let ratio = value.parse::<f64>().ok();
        if ratio.is_none_or(|ratio| !(0.0..=1.0).contains(&ratio)) {
            bail!(
                "{name}={value:?}: must be the part of all traces, from 0 to 1, for example {name}=0.1"
            )
        }
        Ok(())
    }

    fn check_resource(&self) -> anyhow::Result<()> {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let value = self.get(name)?.unwrap_or_default();
        if !pairs(&value, |name, _| !name.is_empty()) {
            bail!(
                "{name}={value:?}: must be attributes as name=value, with commas between them, \
                 for example {name}=deployment.environment.name=staging"
            )
        }
        Ok(())
    }

    fn refuse_client_certificates(&self) -> anyhow::Result<()> {
        for name in [
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        ] {
            if self.get(name)?.is_some() {
                bail!(
                    "{name}: certificates of clients are not supported, leave it out; a collector may ask for a \
                     token instead, for example OTEL_EXPORTER_OTLP_HEADERS='authorization=Bearer%20token'"
                )
            }
        }
        Ok(())
    }
}

/// Whether a text is a list of pairs that are all good. It may be empty, and end with a comma.
fn pairs(text: &str, is_good: impl Fn(&str, &str) -> bool) -> bool {
    let mut pairs = text.split_terminator(',');
    pairs.all(|pair| {
        let pair = pair.split_once('=');
        pair.is_some_and(|(name, value)| is_good(name.trim(), value.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> anyhow::Result<Option<Variables>> {
        Variables::look_up(&|name| {
            let found = set.iter().find(|(set, _)| *set == name);
            found.map(|(_, value)| value.into())
        })
    }

    #[test]
    fn spans_are_exported_when_the_environment_names_a_collector() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t/spans");
        for (set, url) in [
            (vec![], None),
            (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "")], None),
            (vec![base], Some("http://c:4318/v1/traces")),
            (vec![base, traces], Some("https://t/spans")),
            (
                vec![("OTEL_TRACES_EXPORTER", "otlp")],
                Some(DEFAULT_ENDPOINT),
            ),
            (vec![base, ("OTEL_TRACES_EXPORTER", "none")], None),
            (vec![base, ("OTEL_SDK_DISABLED", "TRUE")], None),
            (
                vec![base, ("OTEL_SDK_DISABLED", "false")],
                Some("http://c:4318/v1/traces"),
            ),
        ] {
            let found = read(&set)
                .unwrap()
                .map(|variables| variables.endpoint.url());
            assert_eq!(found.as_deref(), url, "{set:?}");
        }
    }

    #[test]
    fn variable_of_traces_wins_over_that_of_all_signals() {
        let variables = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/a"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/b"),
        ]);
        let variables = variables.unwrap().unwrap();
        assert_eq!(variables.timeout, Duration::from_millis(2));
        let ca = CredentialFile::new("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/b");
        assert_eq!(variables.ca, Some(ca));
    }

    #[test]
    fn bad_value_is_refused_with_its_name_and_a_good_one() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://u:hunter2@c"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "br"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a b=hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2%0A"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_RESOURCE_ATTRIBUTES", "staging"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many"),
        ] {
            let collector = ("OTEL_TRACES_EXPORTER", "otlp");
            let refused = read(&[(name, value), collector])
                .expect_err(name)
                .to_string();
            assert!(refused.starts_with(name), "{refused}");
            assert!(
                refused.contains(&format!("for example {name}=")),
                "{refused}"
            );
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn ratio_is_checked_where_a_sampler_has_one() {
        let set = |sampler, ratio| {
            read(&[
                ("OTEL_TRACES_EXPORTER", "otlp"),
                ("OTEL_TRACES_SAMPLER", sampler),
                ("OTEL_TRACES_SAMPLER_ARG", ratio),
            ])
        };
        assert!(set("parentbased_traceidratio", "0.1").is_ok());
        assert!(set("traceidratio", "").is_ok());
        assert!(set("always_on", "10%").is_ok());
        for bad in ["10%", "1.5", "NaN"] {
            let refused = set("traceidratio", bad).unwrap_err().to_string();
            assert!(refused.contains("OTEL_TRACES_SAMPLER_ARG=0.1"), "{refused}");
        }
    }
}
