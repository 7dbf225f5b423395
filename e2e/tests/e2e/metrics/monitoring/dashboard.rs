//! The dashboard as Grafana reads it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::expressions::dashboard;

fn panels() -> Vec<Value> {
    dashboard()["panels"].as_array().unwrap().clone()
}

#[test]
fn panels_say_what_they_show_and_ask_the_chosen_data_source() {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let mut ids = BTreeSet::new();
    for panel in panels() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(
            panel["description"].as_str().unwrap().ends_with('.'),
            "{panel}"
        );
        assert_eq!(panel["datasource"], source);
        let targets = panel["targets"].as_array().unwrap();
        assert!(targets.iter().all(|target| target["datasource"] == source));
    }
}

#[test]
fn panels_do_not_cover_each_other() {
    let mut taken = BTreeSet::new();
    for panel in panels() {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{}", panel["title"]);
        }
    }
}
