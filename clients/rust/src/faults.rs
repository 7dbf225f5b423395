//! Why replicas cannot be reached, for the errors of calls that find none: the last fault of each address.

use std::{cell::RefCell, collections::BTreeMap, fmt, net::IpAddr, net::SocketAddr};

/// Faults that an error names, so that it stays readable with many replicas.
const MAX_SHOWN: usize = 4;

/// A replica, as it was found.
#[derive(Clone, Debug)]
pub struct Replica {
    pub addr: SocketAddr,
    /// The host whose address it is, which its certificate must be for.
    pub host: String,
}

impl fmt::Display for Replica {
    /// Its address, behind the host as its user wrote it unless that is the address itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, host } = self;
        if host.parse::<IpAddr>().is_ok() {
            write!(f, "{addr}")
        } else {
            write!(f, "{host}:{} ({})", addr.port(), addr.ip())
        }
    }
}

/// The last fault of each replica without a link.
#[derive(Default)]
pub struct ReplicaFaults(RefCell<BTreeMap<SocketAddr, String>>);

impl ReplicaFaults {
    pub fn set(&self, replica: &Replica, fault: impl fmt::Display) {
        let fault = format!("{replica}: {fault}");
        self.0.borrow_mut().insert(replica.addr, fault);
    }

    /// The replica has a link, or its address is gone.
    pub fn clear(&self, replica: &Replica) {
        self.0.borrow_mut().remove(&replica.addr);
    }

    /// All of them in one line, behind those of names that have no addresses.
    pub fn describe(&self, names: &BTreeMap<String, String>) -> String {
        let of_names = names.iter().map(|(name, fault)| format!("{name}: {fault}"));
        let mut faults: Vec<_> = of_names.collect();
        faults.extend(self.0.borrow().values().cloned());
        if faults.is_empty() {
            return "no attempt to connect has ended yet".into();
        }

        let hidden = faults.len().saturating_sub(MAX_SHOWN);
        faults.truncate(MAX_SHOWN);
        if hidden > 0 {
            faults.push(format!("and {hidden} more"));
        }
        faults.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(addr: &str, host: &str) -> Replica {
        let (addr, host) = (addr.parse().unwrap(), host.to_owned());
        Replica { addr, host }
    }

    #[test]
    fn replica_is_named_by_its_address_and_by_the_host_that_led_there() {
        let by_address = replica("[::1]:4001", "::1");
        let by_name = replica("10.0.0.3:4001", "users-svc");
        assert_eq!(by_address.to_string(), "[::1]:4001");
        assert_eq!(by_name.to_string(), "users-svc:4001 (10.0.0.3)");
    }

    #[test]
    fn description_has_the_last_fault_of_each_replica_and_name() {
        let (one, other) = (
            replica("127.0.0.1:1", "127.0.0.1"),
            replica("127.0.0.1:2", "127.0.0.1"),
        );
        let faults = ReplicaFaults::default();
        faults.set(&one, "refused");
        faults.set(&one, "timed out");
        faults.set(&other, "refused");
        let names = [("nowhere:1".to_owned(), "not known".to_owned())].into();

        let all = "nowhere:1: not known; 127.0.0.1:1: timed out; 127.0.0.1:2: refused";
        assert_eq!(faults.describe(&names), all);
        faults.clear(&one);
        assert_eq!(faults.describe(&BTreeMap::new()), "127.0.0.1:2: refused");
    }

    #[test]
    fn description_of_many_replicas_says_how_many_it_leaves_out() {
        let faults = ReplicaFaults::default();
        for port in 1..=6 {
            faults.set(
                &replica(&format!("127.0.0.1:{port}"), "127.0.0.1"),
                "refused",
            );
        }
        let description = faults.describe(&BTreeMap::new());
        assert!(
            description.ends_with("127.0.0.1:4: refused; and 2 more"),
            "{description}"
        );
    }
}
