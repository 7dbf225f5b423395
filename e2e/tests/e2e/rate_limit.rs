//! The rate limit of the whole process: one quota for all of its threads, and one amount of memory for any
//! number of clients.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use e2e::{Http, Program, start_gateway};

/// A gateway without a users service, which `/docs` does not need.
fn start(more: &[(&str, &str)]) -> (Program, Http) {
    start_gateway("127.0.0.1:1", more)
}

/// Asks so often on one connection, with a header of each number, and counts the answers with this status.
fn ask(http: &Http, requests: u32, status: u16, header: impl Fn(u32) -> String) -> usize {
    const AT_ONCE: u32 = 100;
    let addr = SocketAddr::from(([127, 0, 0, 1], http.port()));
    let mut stream = TcpStream::connect(addr).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let expected = format!("HTTP/1.1 {status} ");
    let mut count = 0;
    for first in (0..requests).step_by(AT_ONCE as usize) {
        let batch = first..requests.min(first + AT_ONCE);
        let length = batch.len();
        let request = |number| {
            let header = header(number);
            format!("OPTIONS /docs HTTP/1.1\r\nHost: localhost\r\n{header}\r\n")
        };
        let text: String = batch.map(request).collect();
        stream.write_all(text.as_bytes()).unwrap();
        let heads = lines.by_ref().map(Result::unwrap);
        let statuses = heads.filter(|line| line.starts_with("HTTP/1.1 "));
        count += statuses
            .take(length)
            .filter(|line| line.starts_with(&expected))
            .count();
    }
    count
}

#[test]
fn threads_share_one_limit() {
    let settings = [("WORKERS", "4"), ("RATE_LIMIT", "100/86400")];
    let (_gateway, http) = start(&settings);
    // Each connection goes to the thread that has the fewest.
    let admitted: usize = thread::scope(|scope| {
        let ask = || ask(&http, 60, 204, |_| String::new());
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum()
    });
    assert_eq!(admitted, 100);
}

#[test]
fn any_number_of_addresses_takes_the_same_memory() {
    const ADDRESSES: u32 = 200_000;
    let settings = [
        ("WORKERS", "2"),
        ("RATE_LIMIT", "100/60"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("RUST_LOG", "info,gateway::telemetry=warn"),
    ];
    let (gateway, http) = start(&settings);
    let address = |number: u32| {
        format!(
            "X-Forwarded-For: 2001:db8:{:x}:{:x}::1\r\n",
            number >> 16,
            number & 0xffff
        )
    };
    let ask_all = |requests| {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..4_u32)
                .map(|client| {
                    let header = move |number| address(client * ADDRESSES + number);
                    let http = &http;
                    scope.spawn(move || ask(http, requests, 204, header))
                })
                .collect();
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .sum::<usize>()
        })
    };

    assert_eq!(ask_all(1000), 4000);
    let before = gateway.peak_memory();
    assert_eq!(ask_all(ADDRESSES / 4), ADDRESSES as usize);
    let growth = gateway.peak_memory() - before;
    println!("grew by {growth} MB");
    assert!(growth <= 2, "grew by {growth} MB");
}
