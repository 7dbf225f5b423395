//! What a build without the feature `otlp` says when it is told to export spans.

use std::env;
use std::ffi::OsString;

/// The variables that tell a service to export spans.
const VARIABLES: [&str; 3] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
];

/// Warns when the environment tells this process to export spans.
pub fn warn_if_told_to_export() {
    if let Some(warning) = warning(|name| env::var_os(name)) {
        tracing::warn!("{warning}");
    }
}

fn warning(lookup: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let is = |name, what| lookup(name).is_some_and(|value| value.eq_ignore_ascii_case(what));
    if is("OTEL_TRACES_EXPORTER", "none") || is("OTEL_SDK_DISABLED", "true") {
        return None;
    }
    let is_told = |name: &&&str| lookup(name).is_some_and(|value| !value.is_empty());
    let name = VARIABLES.iter().find(is_told)?;
    Some(format!(
        "{name} has no effect: this build exports no spans; build it with `--features otlp`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_without_otlp_that_is_told_to_export_names_the_variable_and_the_way_out() {
        for name in VARIABLES {
            let warning = warning(|asked| (asked == name).then(|| "http://collector:4318".into()));
            let warning = warning.unwrap();
            assert!(warning.starts_with(name), "{warning}");
            assert!(warning.contains("--features otlp"), "{warning}");
        }
        assert_eq!(warning(|_| Some("".into())), None);
        assert_eq!(warning(|_| None), None);
    }

    #[test]
    fn build_without_otlp_that_is_told_not_to_export_says_nothing() {
        for (name, value) in [
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_SDK_DISABLED", "TRUE"),
        ] {
            let lookup = |asked: &str| Some(if asked == name { value } else { "http://c" }.into());
            assert_eq!(warning(lookup), None);
        }
    }
}
