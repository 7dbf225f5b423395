//! Creates a user twice, reads it, and lists some users: `tour [HOST:PORT]`.

use std::{env, error::Error, process::ExitCode};

use users_client::{CreateOutcome, ListOutcome, NewUser, UsersClient};
use uuid::Uuid;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:4001".into());
    match tour(&address).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tour: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tour(address: &str) -> Result<(), Box<dyn Error>> {
    let users = UsersClient::connect(&address.parse()?)?;
    let id = Uuid::now_v7(); // makes repeating safe
    let new = NewUser {
        id,
        email: format!("{id}@example.com"),
        name: "Jane Doe".into(),
    };
    match users.create_user(new.clone()).await? {
        CreateOutcome::Stored { user, .. } => println!("created {}", user.id),
        refused => println!("refused: {refused:?}"),
    }
    if let CreateOutcome::Stored { replayed, .. } = users.create_user(new).await? {
        println!("replayed {replayed}");
    }
    println!("read {:?}", users.get_user(id).await?);
    if let ListOutcome::Page { users, .. } = users.list_users(10, "").await? {
        println!("listed {}", users.len());
    }
    Ok(())
}
