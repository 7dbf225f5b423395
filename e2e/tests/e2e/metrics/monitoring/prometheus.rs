//! A Prometheus with the configuration that is deployed, but with targets of this machine, and in more of a hurry.

use std::fs;

use e2e::{Program, eventually, free_addr, root};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A running Prometheus.
pub struct Prometheus {
    addr: String,
    _program: Program,
    _folder: TempDir,
}

impl Prometheus {
    /// One that scrapes these targets, each given as the job and the address, and has seen each.
    pub fn start(targets: &[(&str, &str)]) -> Self {
        let (addr, folder) = (free_addr(), tempfile::tempdir().unwrap());
        let config = folder.path().join("prometheus.yml");
        fs::write(&config, configuration(targets).to_string()).unwrap();
        let script = "exec prometheus --config.file=\"$CONFIG\" --storage.tsdb.path=\"$CONFIG.data\" \
            --web.listen-address=\"$ADDR\"";
        let settings = [("CONFIG", config.to_str().unwrap()), ("ADDR", &addr)];
        let program = Program::start_shell(script, &settings);
        let started = Self {
            addr,
            _program: program,
            _folder: folder,
        };
        eventually("all targets are scraped", || {
            let up = started.query("up == 1");
            up.is_ok_and(|up| up.len() == targets.len())
        });
        started
    }

    /// The series that an expression finds now.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let answer = self.get("query", &[("query", expression)])?;
        Ok(answer["result"].as_array().unwrap().clone())
    }

    /// What went wrong with rules that could not be evaluated.
    pub fn broken_rules(&self) -> Vec<String> {
        let answer = self.get("rules", &[]).unwrap();
        let groups = answer["groups"].as_array().unwrap().iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
        let broken = rules.filter(|rule| rule["health"] != "ok");
        broken.map(ToString::to_string).collect()
    }

    /// The data of an answer of the HTTP API.
    fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let url = format!("http://{}/api/v1/{path}", self.addr);
        let request = ureq::get(url).query_pairs(parameters.iter().copied());
        let request = request.config().http_status_as_error(false).build();
        let mut response = request.call().map_err(|error| error.to_string())?;
        let mut answer: Value = response
            .body_mut()
            .read_json()
            .map_err(|error| error.to_string())?;
        match answer["error"].as_str() {
            None => Ok(answer["data"].take()),
            Some(error) => Err(error.to_owned()),
        }
    }
}

/// The configuration of `deploy/monitoring` with `targets` instead of the containers.
fn configuration(targets: &[(&str, &str)]) -> Value {
    let folder = root().join("deploy/monitoring");
    let text = fs::read_to_string(folder.join("prometheus.yml")).unwrap();
    let mut config: Value = serde_yaml_ng::from_str(&text).unwrap();
    config["global"] = json!({ "scrape_interval": "1s", "evaluation_interval": "1s" });
    config["rule_files"] = json!([folder.join("rules.yml")]);
    let jobs = config["scrape_configs"].as_array_mut().unwrap();
    assert_eq!(jobs.len(), targets.len());
    for job in jobs {
        let is_meant = |(name, _): &&(&str, &str)| job["job_name"] == *name;
        let (_, addr) = targets.iter().find(is_meant).unwrap();
        job.as_object_mut()
            .unwrap()
            .remove("dns_sd_configs")
            .unwrap();
        job["static_configs"] = json!([{ "targets": [addr] }]);
    }
    config
}
