//! The rate limit: how many requests a client may send in how long.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use governor::Quota;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use warp::http::{HeaderMap, HeaderName, header};

use crate::problem::{Policy, Problem};
use crate::response::set;

// The fields of draft-ietf-httpapi-ratelimit-headers.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The name of [`Policy::Default`] in them.
const POLICY: &str = "default";

/// Slots of addresses. They take 4 MiB.
const ADDRESS_SLOTS: u64 = 512 * 1024;
/// Slots of principals, which strangers with many addresses cannot use up.
const PRINCIPAL_SLOTS: u64 = 64 * 1024;

/// So many requests in so many seconds, as in `100/60`.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    quota: Quota,
    seconds: u32,
}

impl FromStr for RateLimit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str, max: u32| {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            let number: NonZeroU32 = text.parse().ok().filter(|_| is_number)?;
            (number.get() <= max).then_some(number)
        };
        let parse = || {
            let (requests, seconds) = text.split_once('/')?;
            let requests = number(requests, 1_000_000)?;
            let seconds = number(seconds, 86_400)?.get();
            let share = Duration::from_secs(seconds.into()) / requests.get();
            let quota = Quota::with_period(share)?.allow_burst(requests);
            Some(Self { quota, seconds })
        };
        parse().ok_or(
            "must be a number of requests, up to 1000000, and in how many seconds, up to 86400, \
             for example RATE_LIMIT=100/60",
        )
    }
}

/// Whose quota a request is taken from.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Client<'a> {
    /// The owner of its API key, by name.
    Principal(&'a str),
    /// Where it comes from.
    Address(IpAddr),
}

impl Client<'_> {
    /// The same for all who get one quota together: a network of 64 bits is what one customer has in IPv6.
    fn group(self) -> Self {
        match self {
            Self::Address(IpAddr::V6(address)) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Self::Address(Ipv6Addr::from_bits(network).into())
            }
            other => other,
        }
    }
}

/// Gives each client the same quota: all of it at once, then one request each time its share of the window
/// has passed (the generic cell rate algorithm).
pub struct RateLimiter<C: Clock = DefaultClock> {
    limit: RateLimit,
    limiter: governor::RateLimiter<usize, Slots, C, StateInformationMiddleware>,
    /// Its key is random, so that no one can choose whose slot to share.
    hasher: RandomState,
}

/// The state of every client, in a fixed number of slots: the memory does not depend on the number of
/// addresses that requests come from. Clients that share a slot share a quota.
struct Slots(Box<[InMemoryState]>);

impl StateStore for Slots {
    type Key = usize;

    fn measure_and_replace<T, F, E>(&self, slot: &usize, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0[*slot].measure_and_replace(&NotKeyed::NonKey, measure)
    }
}

impl RateLimiter {
    pub fn new(limit: RateLimit) -> Self {
        Self::with_clock(limit, DefaultClock::default())
    }
}

impl<C: Clock> RateLimiter<C> {
    fn with_clock(limit: RateLimit, clock: C) -> Self {
        let slots = (0..ADDRESS_SLOTS + PRINCIPAL_SLOTS)
            .map(|_| InMemoryState::default())
            .collect();
        Self {
            limit,
            limiter: governor::RateLimiter::new(limit.quota, Slots(slots), clock),
            hasher: RandomState::new(),
        }
    }

    /// Takes a request from the quota of its client, if there is any left.
    pub fn take(&self, client: Client) -> Allowance {
        let hash = self.hasher.hash_one(client.group());
        let slot = match client {
            Client::Address(_) => hash % ADDRESS_SLOTS,
            Client::Principal(_) => ADDRESS_SLOTS + hash % PRINCIPAL_SLOTS,
        };
        let slot = usize::try_from(slot).unwrap_or_default();
        let (remaining, wait) = match self.limiter.check_key(&slot) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                (Some(remaining), self.limit.quota.replenish_interval())
            }
            Err(until) => (None, until.wait_time_from(self.limiter.clock().now())),
        };
        let begun = u64::from(wait.subsec_nanos() > 0);
        Allowance {
            limit: self.limit,
            remaining,
            seconds: wait.as_secs() + begun,
        }
    }
}

/// What the limit says to a request.
#[derive(Debug)]
pub struct Allowance {
    limit: RateLimit,
    /// Requests that the client has left; `None`: it has not even this one.
    remaining: Option<u32>,
    /// By when there is one more.
    seconds: u64,
}

impl Allowance {
    /// Refuses a request beyond the quota.
    pub fn admit(&self) -> Result<(), Problem> {
        if self.remaining.is_some() {
            return Ok(());
        }
        let mut problem = Problem::quota_exceeded();
        problem.violated_policies = Some([Policy::Default]);
        set(&mut problem.headers, header::RETRY_AFTER, self.seconds);
        Err(problem)
    }

    /// Tells the client what it has left.
    pub fn describe(&self, headers: &mut HeaderMap) {
        let (quota, window) = (self.limit.quota.burst_size(), self.limit.seconds);
        let policy = format!("\"{POLICY}\";q={quota};w={window}");
        set(headers, RATE_LIMIT_POLICY, policy);
        let (remaining, seconds) = (self.remaining.unwrap_or(0), self.seconds);
        let state = format!("\"{POLICY}\";r={remaining};t={seconds}");
        set(headers, RATE_LIMIT, state);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::{fs, thread};

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limit(text: &str) -> RateLimit {
        text.parse().unwrap()
    }

    fn limiter(text: &str) -> (RateLimiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (RateLimiter::with_clock(limit(text), clock.clone()), clock)
    }

    fn address(text: &str) -> Client<'static> {
        Client::Address(text.parse().unwrap())
    }

    #[test]
    fn limit_is_requests_and_seconds() {
        for (text, requests, seconds) in [
            ("100/60", 100, 60),
            ("1/86400", 1, 86_400),
            ("1000000/1", 1_000_000, 1),
        ] {
            let limit = limit(text);
            assert_eq!(limit.quota.burst_size().get(), requests, "{text}");
            assert_eq!(limit.seconds, seconds, "{text}");
        }
        let bad = "100 /60 100/ 0/60 100/0 -1/60 +1/60 1/60/1 1.5/60 1000001/1 1/86401 100/60s";
        for bad in bad.split(' ').chain(["", "100 / 60", " 100/60"]) {
            assert!(bad.parse::<RateLimit>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn quota_comes_back_share_by_share() {
        let (limiter, clock) = limiter("2/60");
        let client = address("192.0.2.1");
        let check = || {
            let allowance = limiter.take(client);
            (allowance.remaining, allowance.seconds)
        };
        assert_eq!(check(), (Some(1), 30));
        assert_eq!(check(), (Some(0), 30));
        assert_eq!(check(), (None, 30));

        clock.advance(Duration::from_millis(10_500));
        assert_eq!(check(), (None, 20));
        clock.advance(Duration::from_millis(19_500));
        assert_eq!(check(), (Some(0), 30));
        assert_eq!(check(), (None, 30));

        clock.advance(Duration::from_secs(3600));
        assert_eq!(check(), (Some(1), 30));
    }

    #[test]
    fn retry_when_the_response_says_succeeds() {
        for text in ["1/1", "3/1", "7/3", "100/60", "1000/1", "1/86400"] {
            let (limiter, clock) = limiter(text);
            for _ in 0..3 {
                let refused = loop {
                    let allowance = limiter.take(address("192.0.2.1"));
                    if allowance.admit().is_err() {
                        break allowance;
                    }
                };
                let problem = refused.admit().unwrap_err();
                let retry_after = problem.headers[header::RETRY_AFTER].to_str().unwrap();
                clock.advance(Duration::from_secs(retry_after.parse().unwrap()));
                assert!(limiter.take(address("192.0.2.1")).admit().is_ok(), "{text}");
            }
        }
    }

    #[test]
    fn clients_have_quotas_of_their_own() {
        let (limiter, _) = limiter("1/60");
        let passes = |client| limiter.take(client).admit().is_ok();
        for client in [
            address("192.0.2.1"),
            address("192.0.2.2"),
            address("2001:db8:0:1::1"),
            address("2001:db8:0:2::1"),
            Client::Principal("a"),
            Client::Principal("b"),
            Client::Principal("192.0.2.1"),
        ] {
            assert!(passes(client), "{client:?}");
            assert!(!passes(client), "{client:?}");
        }
        assert!(!passes(address("2001:db8:0:1:ffff::2")), "the same /64");
    }

    #[test]
    fn addresses_cannot_use_up_the_quotas_of_principals() {
        let (limiter, _) = limiter("1/60");
        for number in 0..300_000_u32 {
            limiter.take(Client::Address(IpAddr::V4(number.into())));
        }
        // If they shared the slots, one in two would be refused.
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
            assert!(
                limiter.take(Client::Principal(name)).admit().is_ok(),
                "{name}"
            );
        }
    }

    #[test]
    fn few_of_many_clients_share_a_quota() {
        let (limiter, _) = limiter("1/60");
        let is_refused = |client: &Client| limiter.take(*client).admit().is_err();
        let addresses = (0..5000_u32).map(|number| Client::Address(IpAddr::V4(number.into())));
        let names: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        let principals = names.iter().map(|name| Client::Principal(name));

        // 24 and 8 are to be expected.
        assert!(addresses.filter(is_refused).count() < 100);
        assert!(principals.filter(is_refused).count() < 50);
    }

    #[test]
    fn headers_are_those_of_the_draft() {
        let (limiter, _) = limiter("100/60");
        let mut headers = HeaderMap::new();
        limiter.take(address("192.0.2.1")).describe(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"default\";q=100;w=60");
        assert_eq!(headers["ratelimit"], "\"default\";r=99;t=1");
    }

    #[test]
    fn threads_share_one_quota() {
        let limiter = RateLimiter::new(limit("1000/86400"));
        let admitted = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let allowance = limiter.take(address("192.0.2.1"));
                        admitted.fetch_add(allowance.admit().is_ok().into(), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1000);
    }

    /// Resident memory, in KiB (proc(5)).
    fn resident() -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.split("VmRSS:").nth(1).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn million_addresses_take_no_more_memory_than_one() {
        let limiter = RateLimiter::new(limit("100/60"));
        assert!(limiter.take(address("192.0.2.1")).admit().is_ok());
        let before = resident();
        for number in 0..1_000_000_u32 {
            limiter.take(Client::Address(IpAddr::V4(number.into())));
            let network = u128::from(number) << 64;
            limiter.take(Client::Address(IpAddr::V6(Ipv6Addr::from_bits(network))));
        }
        // Other tests run in this process.
        let grown = resident().saturating_sub(before);
        assert!(grown < 8 * 1024, "{grown} KiB");
    }
}
