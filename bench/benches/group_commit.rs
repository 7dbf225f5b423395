//! Queries through the group commit, with batches that do nothing.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing to say"
)]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use service_runtime::trace::TraceContext;
use tokio::{runtime::LocalRuntime, time::Instant};
use users_svc::group_commit::{GroupCommit, Handle, Take};

/// Enough for one iteration to dwarf the start of the process when instructions are counted.
const QUERIES: u64 = 10_000;

fn group_commit(criterion: &mut Criterion) {
    let runtime = LocalRuntime::new().unwrap();
    let handle = runtime.block_on(async {
        Handle::new(GroupCommit::new("bench", 128, 2, |take: Take<u64>| {
            take().into_iter().map(Ok).collect()
        }))
    });
    let mut group = criterion.benchmark_group("group commit");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(QUERIES));
    for in_flight in [1, 64] {
        group.bench_function(
            format!("{QUERIES} queries, {in_flight} in flight"),
            |bencher| {
                bencher.iter(|| {
                    runtime.block_on(async {
                        let deadline = Instant::now() + Duration::from_secs(60);
                        let trace = TraceContext::fresh();
                        join_all((0..in_flight).map(async |_| {
                            for n in 0..QUERIES / in_flight {
                                assert_eq!(handle.submit(n, deadline, trace).await, Ok(n));
                            }
                        }))
                        .await;
                    });
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, group_commit);
criterion_main!(benches);
