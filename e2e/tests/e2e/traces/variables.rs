//! The variables of the exporter: a bad value stops a service at start, before it exports anything.

use std::path::Path;

use e2e::{Program, binary};

/// Starts a service with these settings, which it must refuse; returns what it says.
fn refused(service: &str, settings: &[(&str, &str)]) -> String {
    let always = [("DATABASE_URL", "postgres://u:p@h/d")];
    let settings = [&always[..], settings].concat();
    let mut program = Program::start(&binary(service), Path::new("/"), &settings);
    assert!(!program.ended().success(), "{}", program.output());
    assert!(
        !program.output().contains("listening"),
        "{}",
        program.output()
    );
    program.wait_for("OTEL_")
}

#[test]
fn bad_variable_of_the_exporter_is_refused_with_its_name_and_a_good_value() {
    for (service, variable, value, says) in [
        (
            "gateway",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "collector:4318",
            "for example OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://collector:4318/v1/traces",
        ),
        (
            "users-svc",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc",
            "for example OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        ),
        (
            "gateway",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "/no/ca.crt",
            "OTEL_EXPORTER_OTLP_CERTIFICATE=/no/ca.crt: No such file",
        ),
        (
            "users-svc",
            "OTEL_TRACES_SAMPLER",
            "sometimes",
            "for example OTEL_TRACES_SAMPLER=parentbased_always_on",
        ),
    ] {
        let said = refused(
            service,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://localhost:4318"),
                (variable, value),
            ],
        );
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn headers_that_cannot_be_sent_are_refused_and_not_shown() {
    let said = refused(
        "gateway",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ],
    );
    assert!(
        said.contains("OTEL_EXPORTER_OTLP_HEADERS: must be"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}
