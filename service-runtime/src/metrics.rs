//! Metrics for Prometheus, served on the admin address, and the histograms they are recorded in.

use std::{
    cell::RefCell, collections::HashMap, hash::Hash, io, net::TcpListener, thread, time::Duration,
};

use ::metrics::{Histogram, counter, describe_counter, describe_gauge, gauge};
use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tokio::{runtime::LocalRuntime, task::spawn_local, time::sleep};

use crate::{admin::Admin, health::Readiness, logging};

/// Upper bounds of the buckets for durations: from a request to the gateway alone up to a deadline.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// The same for counts of things, such as the users in a batch.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Observations are put into their buckets this often; until then each takes memory of its own.
const UPKEEP: Duration = Duration::from_secs(1);

/// Measures from now on, and serves the metrics and the probes of this process on `listener` for as long as it
/// runs. Without this nothing is measured. `service` names the metric that tells which build this is.
pub fn serve(service: &str, listener: TcpListener, readiness: Readiness) -> anyhow::Result<()> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_size".into()), SIZES)?
        .build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).context("metrics are collected already")?;
    describe_build(service);
    describe_counter!(
        "log_lines_dropped_total",
        "Log lines that were dropped because standard error took no more."
    );

    tracing::info!(addr = %listener.local_addr()?, "serving metrics and probes");
    let serve = move || {
        let runtime = LocalRuntime::new();
        let served = runtime.and_then(|it| it.block_on(scrapes(listener, handle, readiness)));
        if let Err(error) = served {
            tracing::error!(%error, "metrics and probes are no longer served");
        }
    };
    thread::Builder::new().name("admin".into()).spawn(serve)?;
    Ok(())
}

/// Tells which build of `service` runs, as a metric whose value is always 1.
fn describe_build(service: &str) {
    let name = format!("{}_build_info", service.replace('-', "_"));
    describe_gauge!(
        name.clone(),
        "The version of this build and the commit that it was made from. Always 1."
    );
    gauge!(
        name,
        "version" => env!("CARGO_PKG_VERSION"),
        // Set by those who build a release; asking git would build everything again after each commit.
        "revision" => option_env!("REVISION").unwrap_or("unknown"),
    )
    .set(1.0);
}

/// Answers scrapes, and keeps the recorder's memory small between them.
async fn scrapes(
    listener: TcpListener,
    handle: PrometheusHandle,
    readiness: Readiness,
) -> io::Result<()> {
    let recorder = handle.clone();
    spawn_local(async move {
        loop {
            recorder.run_upkeep();
            sleep(UPKEEP).await;
        }
    });
    let process = Collector::default();
    process.describe();
    let metrics = move || {
        process.collect();
        counter!("log_lines_dropped_total").absolute(logging::dropped_lines());
        handle.render()
    };
    Admin { metrics, readiness }.serve(listener).await
}

/// The histograms of one thread for one metric, by the values of its labels. Finding one in the registry
/// anew for each measurement would cost more than the measurement.
pub struct HistogramFamily<L> {
    histograms: RefCell<HashMap<L, Histogram>>,
    register: fn(&L) -> Histogram,
}

impl<L: Eq + Hash> HistogramFamily<L> {
    /// `register` makes the histogram for a set of labels.
    pub fn new(register: fn(&L) -> Histogram) -> Self {
        Self {
            histograms: RefCell::default(),
            register,
        }
    }

    /// Makes the histogram for `labels` before there is anything to record, so that the first measurement is seen as
    /// an increase from zero.
    pub fn register(&self, labels: L) {
        let mut histograms = self.histograms.borrow_mut();
        histograms.entry(labels).or_insert_with_key(self.register);
    }

    /// Records a duration, in seconds, under `labels`. The sets of labels must be bounded.
    pub fn record(&self, labels: L, duration: Duration) {
        let mut histograms = self.histograms.borrow_mut();
        let histogram = histograms.entry(labels).or_insert_with_key(self.register);
        histogram.record(duration.as_secs_f64());
    }
}

/// A number of things as metrics take it.
pub fn count(things: usize) -> f64 {
    u32::try_from(things).map_or(f64::INFINITY, f64::from)
}
