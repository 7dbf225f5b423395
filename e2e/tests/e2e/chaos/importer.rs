//! Imports that run all the while, are killed, and are started again until each of their rows is stored once.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fmt::Write as _, fs, thread};

use fastrand::Rng;
use serde_json::Value;
use uuid::Uuid;

use super::history::{Asked, Event, Row, Told};
use super::world::World;

/// Rows of an import.
const ROWS: usize = 500;
/// Pause between two imports, at most.
const PAUSE: Duration = Duration::from_secs(4);

/// What the imports were to store, and what is wrong with what they said of it.
#[derive(Default)]
pub struct Imported {
    /// The create of each row, which may have happened at any time since its import began.
    pub creates: Vec<Event>,
    pub rows: Vec<Row>,
    pub kills: usize,
    pub violations: Vec<String>,
}

/// Imports one file after another until `stop`.
pub fn run(world: &World, mut rng: Rng, stop: &AtomicBool) -> Imported {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.csv");
    let mut imported = Imported::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (begin, rows) = (Instant::now(), rows(number, &mut rng));
        fs::write(&file, csv(&rows)).unwrap();
        let (report, kills) = import(world, file.to_str().unwrap(), &mut rng);

        let count = |outcome: &str| report["outcomes"][outcome].as_u64().unwrap_or(0);
        if count("created") + count("replayed") != ROWS as u64 {
            imported
                .violations
                .push(format!("an import that did not store its rows: {report}"));
        }
        // What it learns of rows that it may have stored itself, it counts as created.
        if kills == 0 && count("replayed") > 0 {
            imported.violations.push(format!(
                "an import that was told of rows it had stored that nothing was written: {report}"
            ));
        }
        imported.kills += kills;
        imported.creates.extend(rows.iter().map(|row| Event {
            begin,
            end: None,
            asked: Asked::Create(row.clone()),
            told: Told::Nothing,
        }));
        imported.rows.extend(rows);
        thread::sleep(PAUSE.mul_f64(rng.f64()));
    }
    imported
}

/// Imports a file, again whenever the import was killed. Returns the report of the last time, and how often it was.
fn import(world: &World, file: &str, rng: &mut Rng) -> (Value, usize) {
    let mut kills = 0;
    loop {
        let mut import = world.users_cli();
        import.args(["--output", "json", "import", "--patience", "600", file]);
        let mut import = import
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if rng.f64() < 0.3 {
            thread::sleep(Duration::from_millis(rng.u64(..200)));
            import.kill().unwrap();
            kills += 1;
        }
        let output = import.wait_with_output().unwrap();
        if output.status.code().is_some() {
            let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
            return (report, kills);
        }
    }
}

fn rows(import: usize, rng: &mut Rng) -> Vec<Row> {
    let row = |i| Row {
        id: Uuid::from_u128(rng.u128(..)).to_string(),
        email: format!("import{import}-{i}@example.com"),
        name: format!("import {import} row {i}"),
    };
    (0..ROWS).map(row).collect()
}

fn csv(rows: &[Row]) -> String {
    let mut csv = "id,email,name\n".to_owned();
    for Row { id, email, name } in rows {
        writeln!(csv, "{id},{email},{name}").unwrap();
    }
    csv
}
