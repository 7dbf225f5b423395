//! A running users service on a database of its own, with the contract's methods as verbs.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::{Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use capnp::ErrorKind;
use capnp_rpc::rpc_twoparty_capnp::Side;
use clap::Parser as _;
use postgres_server::Server;
use service_runtime::health::Readiness;
use tokio::{net::TcpStream, runtime::LocalRuntime};
use tokio_util::sync::CancellationToken;
use users_rpc::transport;
use users_rpc::users_capnp::{
    create_user_response, create_users_response, create_users_result, find_user_response,
    get_user_response, list_users_response, user, users,
};
use users_svc::Settings;
use uuid::Uuid;

/// The server that the tests of this file share; each has a database of its own.
pub fn fresh_database() -> String {
    static SERVER: OnceLock<Mutex<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| Mutex::new(Server::temporary().unwrap()));
    server.lock().unwrap().fresh_database().unwrap()
}

pub struct Service {
    pub addr: SocketAddr,
    pub url: String,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

const MIGRATE: [&str; 2] = ["--migrate-on-start", "true"];

fn config(url: &str, options: &[&str]) -> Settings {
    let given = ["users-svc", "--database-url", url, "--workers", "2"];
    Settings::try_parse_from(given.iter().chain(options)).unwrap()
}

impl Service {
    /// Migrations need a session of their own, which a pooler of transactions does not give.
    pub fn migrate_if_pooled(url: &str) {
        if crate::pgbouncer::is_wanted() {
            users_svc::migrate(&config(url, &[]).migrator().unwrap()).unwrap();
        }
    }

    /// A service that is ready, on an empty database.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with settings of its own.
    pub fn start_with(options: &[&str]) -> Self {
        let database = fresh_database();
        Self::migrate_if_pooled(&database);
        let service = Self::start_on(&database, &[&MIGRATE, options].concat());
        service.wait_until_serving();
        service
    }

    pub fn start_on(url: &str, options: &[&str]) -> Self {
        let config = if crate::pgbouncer::is_wanted() {
            let pooled = ["--database-prepared-statements", "false"];
            let rest = options.strip_prefix(&MIGRATE).unwrap_or(options);
            config(
                &crate::pgbouncer::in_front_of(url, config(url, options).database_timeout),
                &[&pooled, rest].concat(),
            )
        } else {
            config(url, options)
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let readiness = Readiness::default();
        let thread =
            std::thread::spawn(move || users_svc::run(&config, listener, &readiness, &token));
        Self {
            addr,
            url: url.to_owned(),
            shutdown,
            thread: Some(thread),
        }
    }

    pub fn wait_until_serving(&self) {
        self.call(async |client| {
            let end = Instant::now() + Duration::from_secs(20);
            while !client.health().await {
                assert!(Instant::now() < end, "the service does not become ready");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// Runs a conversation over one connection.
    pub fn call<T>(&self, talk: impl AsyncFnOnce(&Client) -> T) -> T {
        LocalRuntime::new().unwrap().block_on(async {
            let client = Client::connect(self.addr).await;
            talk(&client).await
        })
    }

    pub fn sql(&self) -> postgres::Client {
        postgres::Client::connect(&self.url, postgres::NoTls).unwrap()
    }

    pub fn rows(&self) -> i64 {
        self.sql()
            .query_one("SELECT count(*) FROM users", &[])
            .unwrap()
            .get(0)
    }

    /// Waits for the service to end by itself.
    pub fn ended(mut self) -> anyhow::Result<()> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
pub struct Client(pub Rc<users::Client>);

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    pub id: String,
    pub email: String,
    pub name: String,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CreateAnswer {
    New(User),
    Replay(User),
    Invalid(Vec<String>),
    EmailTaken,
    IdConflict,
    Failed(ErrorKind),
}

/// What became of a call for many users as a whole, when no user has an outcome.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ManyError {
    Invalid(Vec<String>),
    Failed(ErrorKind),
}

pub type Page = Result<(Vec<User>, String), Vec<String>>;

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let mut system = transport::client(stream).system;
        let client = system.bootstrap(Side::Server);
        tokio::task::spawn_local(system);
        Self(Rc::new(client))
    }

    pub async fn create(&self, id: &str, email: &str, name: &str) -> CreateAnswer {
        self.create_within(id, email, name, 0).await
    }

    pub async fn create_within(&self, id: &str, email: &str, name: &str, ms: u32) -> CreateAnswer {
        let mut request = self.0.create_user_request();
        request.get().set_id(id);
        request.get().set_email(email);
        request.get().set_name(name);
        request.get().init_context().set_timeout_ms(ms);
        let response = match request.send().promise.await {
            Ok(response) => response,
            Err(error) => return CreateAnswer::Failed(error.kind),
        };
        decode_answer(response.get().unwrap())
    }

    /// Creates users, of which each is an id, an e-mail address and a name.
    pub async fn create_many(
        &self,
        new: &[(&str, &str, &str)],
    ) -> Result<Vec<CreateAnswer>, ManyError> {
        let mut request = self.0.create_users_request();
        let mut list = request.get().init_users(new.len().try_into().unwrap());
        for (i, (id, email, name)) in (0..).zip(new) {
            let mut user = list.reborrow().get(i);
            user.set_id(id);
            user.set_email(email);
            user.set_name(name);
        }
        let response = match request.send().promise.await {
            Ok(response) => response,
            Err(error) => return Err(ManyError::Failed(error.kind)),
        };
        let decode = |result: create_users_result::Reader| match result.which().unwrap() {
            create_users_result::Done(done) => decode_answer(done.unwrap()),
            create_users_result::Overloaded(()) => CreateAnswer::Failed(ErrorKind::Overloaded),
            create_users_result::Failed(()) => CreateAnswer::Failed(ErrorKind::Failed),
        };
        match response.get().unwrap().which().unwrap() {
            create_users_response::Results(results) => {
                Ok(results.unwrap().iter().map(decode).collect())
            }
            create_users_response::Invalid(faults) => {
                Err(ManyError::Invalid(fields(faults.unwrap())))
            }
        }
    }

    pub async fn get(&self, id: &str) -> Option<User> {
        let mut request = self.0.get_user_request();
        request.get().set_id(id);
        let response = request.send().promise.await.unwrap();
        match response.get().unwrap().which().unwrap() {
            get_user_response::User(user) => Some(decode(user.unwrap())),
            get_user_response::NotFound(()) => None,
            get_user_response::Revoked(()) => panic!("Users is never revoked"),
        }
    }

    pub async fn find(&self, email: &str) -> Option<User> {
        let mut request = self.0.find_user_request();
        request.get().set_email(email);
        let response = request.send().promise.await.unwrap();
        match response.get().unwrap().which().unwrap() {
            find_user_response::User(user) => Some(decode(user.unwrap())),
            find_user_response::NotFound(()) => None,
            find_user_response::Revoked(()) => panic!("Users is never revoked"),
        }
    }

    pub async fn list(&self, size: u32, token: &str) -> Page {
        let mut request = self.0.list_users_request();
        request.get().set_page_size(size);
        request.get().set_page_token(token);
        let response = request.send().promise.await.unwrap();
        match response.get().unwrap().which().unwrap() {
            list_users_response::Page(page) => Ok((
                page.get_users().unwrap().iter().map(decode).collect(),
                page.get_next_page_token().unwrap().to_string().unwrap(),
            )),
            list_users_response::Invalid(faults) => Err(fields(faults.unwrap())),
            list_users_response::Revoked(()) => panic!("Users is never revoked"),
        }
    }

    pub async fn health(&self) -> bool {
        let response = self.0.health_request().send().promise.await.unwrap();
        response.get().unwrap().get_serving()
    }
}

pub fn fresh_id() -> String {
    Uuid::now_v7().to_string()
}

fn decode_answer(response: create_user_response::Reader) -> CreateAnswer {
    match response.which().unwrap() {
        create_user_response::User(user) if response.get_replayed() => {
            CreateAnswer::Replay(decode(user.unwrap()))
        }
        create_user_response::User(user) => CreateAnswer::New(decode(user.unwrap())),
        create_user_response::Invalid(faults) => CreateAnswer::Invalid(fields(faults.unwrap())),
        create_user_response::EmailTaken(()) => CreateAnswer::EmailTaken,
        create_user_response::IdConflict(()) => CreateAnswer::IdConflict,
    }
}

fn decode(user: user::Reader) -> User {
    User {
        id: user.get_id().unwrap().to_string().unwrap(),
        email: user.get_email().unwrap().to_string().unwrap(),
        name: user.get_name().unwrap().to_string().unwrap(),
    }
}

fn fields(
    faults: capnp::struct_list::Reader<users_rpc::users_capnp::field_error::Owned>,
) -> Vec<String> {
    let shown = |fault: users_rpc::users_capnp::field_error::Reader| {
        assert!(!fault.get_reason().unwrap().is_empty());
        fault.get_field().unwrap().to_string().unwrap()
    };
    faults.iter().map(shown).collect()
}
