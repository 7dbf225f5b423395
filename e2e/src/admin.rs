//! What a service answers on its `ADMIN_ADDR`: metrics, as Prometheus scrapes them, and probes, as platforms ask.

use ureq::Agent;

/// The status of the response to `GET path`.
pub fn status(admin: &str, path: &str) -> u16 {
    let config = Agent::config_builder().http_status_as_error(false);
    let agent: Agent = config.build().into();
    let response = agent.get(format!("http://{admin}{path}")).call().unwrap();
    response.status().as_u16()
}

/// All that the service with this `ADMIN_ADDR` exposes, as Prometheus reads it.
pub fn exposition(admin: &str) -> String {
    let mut answer = ureq::get(format!("http://{admin}/metrics")).call().unwrap();
    answer.body_mut().read_to_string().unwrap()
}

/// The samples that the service with this `ADMIN_ADDR` exposes, a line each.
pub fn scrape(admin: &str) -> Vec<String> {
    let text = exposition(admin);
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(ToOwned::to_owned).collect()
}

/// The sum of the series of this name that have all of `labels`.
pub fn value(admin: &str, name: &str, labels: &[&str]) -> f64 {
    let is_meant = |line: &&String| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|l| line.contains(l))
    };
    let lines = scrape(admin);
    let values = lines.iter().filter(is_meant);
    values
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}
