//! `users-cli` as people and scripts use it: what it prints and where, how it ends, and what it says when it cannot
//! connect.

mod connecting;
mod listing;
mod manual;
mod outputs;
mod statuses;

use std::process::Command;

use e2e::{Program, binary, database, free_addr, start_users};

/// A users service with a database of its own.
struct Service {
    addr: String,
    /// Where it exposes its metrics.
    admin: String,
    database: String,
    program: Program,
}

impl Service {
    /// Starts it with as many users.
    fn with_users(count: u32) -> Self {
        let (addr, admin) = (free_addr(), free_addr());
        let database = database::fresh_database();
        let program = start_users(&addr, &database, &[("ADMIN_ADDR", &admin)]);
        let insert = format!(
            "INSERT INTO users (id, email, name)
             SELECT gen_random_uuid(), 'user' || i || '@example.com', 'User ' || i
             FROM generate_series(1, {count}) i"
        );
        database::connect(&database).execute(&insert, &[]).unwrap();
        Self {
            addr,
            admin,
            database,
            program,
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        users_cli(&self.addr, words)
    }

    fn run(&self, words: &[&str]) -> Ended {
        Ended::of(&mut self.command(words))
    }
}

fn users_cli(addr: &str, words: &[&str]) -> Command {
    let mut command = Command::new(binary("users-cli"));
    command.args(["--users-addr", addr]).args(words);
    command
}

/// How a command ended.
struct Ended {
    status: Option<i32>,
    printed: String,
    error: String,
}

impl Ended {
    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            status: output.status.code(),
            printed: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What a command printed that has succeeded and complained of nothing.
    fn succeeded(self) -> String {
        assert_eq!((self.status, &*self.error), (Some(0), ""));
        self.printed
    }

    fn lines(&self) -> Vec<&str> {
        self.printed.lines().collect()
    }
}
