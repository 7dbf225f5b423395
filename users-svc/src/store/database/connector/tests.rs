//! Connections to a real PostgreSQL with and without TLS, and to a peer that reads slowly.

use std::error::Error as _;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use credentials::generate::Authority;
use credentials::{CredentialFile, ServerCheck, ServerTls};
use postgres::Config;
use postgres::config::{SslMode, SslNegotiation};
use postgres_server::{Server, wait_until};
use tempfile::TempDir;
use tokio::task::unconstrained;
use tokio::time::timeout;

use super::super::testing::{PATIENCE, SERVER, connect, database, logged};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Files with a CA, with a certificate that it signs for `127.0.0.1`, and with the key of that.
fn certificate() -> (TempDir, [String; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new("a test's CA", HOUR).unwrap();
    let issued = ca.issue(&["127.0.0.1"], HOUR).unwrap();
    let files = [
        ("ca.crt", ca.cert),
        ("it.crt", issued.cert),
        ("it.key", issued.key),
    ];
    let files = files.map(|(name, text)| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    (folder, files)
}

/// Whether a connection to the database of this URL is encrypted, as the server says.
fn is_encrypted(url: &str) -> bool {
    let ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    connect(url).query_one(ask, &[]).unwrap().get(0)
}

#[test]
fn connection_to_a_server_that_speaks_tls_is_encrypted_unless_that_is_switched_off() {
    let server = Server::temporary().unwrap();
    let (_folder, [ca, cert, key]) = certificate();
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    server.use_certificate(&read(&cert), &read(&key)).unwrap();
    let url = |options: &str| format!("{}?{options}", server.url("postgres"));
    let is_there = || database(&url("sslmode=require")).connect().is_ok();
    assert!(wait_until(PATIENCE, is_there));

    for (options, encrypts) in [
        ("sslmode=disable", false),
        ("sslmode=prefer", true),
        ("sslmode=require", true),
        (&format!("sslmode=verify-full&sslrootcert={ca}"), true),
        // The certificate that the encrypted connection began with.
        ("sslmode=require&channel_binding=require", true),
    ] {
        assert_eq!(is_encrypted(&url(options)), encrypts, "{options}");
    }
}

#[test]
fn server_without_tls_is_refused_only_where_sslmode_demands_tls() {
    let url = |mode: &str| format!("{}?sslmode={mode}", SERVER.url("postgres"));

    assert!(!is_encrypted(&url("prefer")));
    let refusal = database(&url("require")).connect().err().unwrap();

    let cause = refusal.source().unwrap().to_string();
    assert!(cause.contains("does not speak TLS"), "{cause}");
}

#[test]
fn plain_text_that_leaves_this_machine_is_warned_about_once() {
    // The address is where the server is, whatever the host is called.
    let url = SERVER.url("postgres") + "?hostaddr=127.0.0.1";
    let connect_to = |host: &str| {
        let url = url.replacen("@127.0.0.1", &format!("@{host}"), 1);
        logged(|| drop(connect(&url)))
    };

    for this_machine in ["localhost", "127.0.0.1", "[::1]"] {
        assert_eq!(connect_to(this_machine), "", "{this_machine}");
    }
    let first = connect_to("db.example.com");
    let second = connect_to("db.example.com");

    assert!(first.contains("WARN") && first.contains("plain text"));
    assert_eq!(second, "");
}

#[test]
fn peer_that_reads_slowly_gets_all_that_was_flushed_and_then_the_end() {
    let (_folder, [_, cert, key]) = certificate();
    let files = [cert, key].map(|path| CredentialFile::new("PEER", path));
    let tls = ServerTls::https(files).unwrap();

    for (policy, tls) in [
        (TlsPolicy::Off, None),
        (TlsPolicy::Required(ServerCheck::Key), Some(tls)),
    ] {
        let mut connector = Connector::new(policy, PATIENCE).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        with_socket(addr, move |socket| async move {
            let Ok(negotiation) = connector.make_tls_connect("127.0.0.1");
            let (stream, peer) = tokio::join!(negotiation.connect(socket), accept(listener, tls));
            say_all_to_slow_peer(stream.unwrap(), peer).await;
        });
    }
}

async fn say_all_to_slow_peer(mut stream: DatabaseStream, mut peer: Peer) {
    let mut received = vec![0; fill(&mut stream).await];

    let both = async { tokio::join!(stream.flush(), peer.read_exact(&mut received)) };
    let (flushed, read) = timeout(PATIENCE, both).await.unwrap();
    let shut_down = stream.shutdown().await;
    let end = timeout(PATIENCE, peer.read_u8()).await.unwrap();

    flushed.unwrap();
    read.unwrap();
    shut_down.unwrap();
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

/// Writes until the stream takes no more, and returns how many bytes that were.
async fn fill(stream: &mut DatabaseStream) -> usize {
    let mut taken = 0;
    // 256 MiB, more than the buffers of both ends hold.
    let mut writes = 0..16 * 1024;
    let write = poll_fn(|cx| {
        while let Poll::Ready(written) = Pin::new(&mut *stream).poll_write(cx, &[7; 16 * 1024]) {
            taken += written.unwrap();
            assert!(writes.next().is_some(), "there is no end to what it takes");
        }
        Poll::Ready(())
    });
    // Otherwise the runtime has the stream take no more, to give other tasks their turn.
    unconstrained(write).await;
    taken
}

/// The other end of a connection.
type Peer = Box<dyn AsyncRead + Send + Unpin>;

/// Accepts a connection; with `tls`, as PostgreSQL does where it speaks TLS.
async fn accept(listener: TcpListener, tls: Option<ServerTls>) -> Peer {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let Some(tls) = tls else {
        return Box::new(stream);
    };
    let mut question = [0; SSL_REQUEST.len()];
    stream.read_exact(&mut question).await.unwrap();
    assert_eq!(question, SSL_REQUEST);
    stream.write_all(b"S").await.unwrap();
    Box::new(tls.accept(stream).await.unwrap())
}

/// Has `talk` use a connection to `addr`, as the driver opens it.
fn with_socket<T>(addr: SocketAddr, talk: impl FnOnce(Socket) -> T + Send + 'static)
where
    T: Future<Output = ()> + Send + 'static,
{
    let mut config = Config::new();
    config
        .user("u")
        .host(&addr.ip().to_string())
        .port(addr.port());
    config
        .ssl_mode(SslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    let talk: Talk = Box::new(|socket| Box::pin(talk(socket)));
    let end = config.connect(Taker(Some(talk))).err().unwrap();
    assert_eq!(end.source().unwrap().to_string(), SAID_ALL);
}

const SAID_ALL: &str = "everything has been said";

type Talk = Box<dyn FnOnce(Socket) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Takes the connection from the driver, which keeps the socket to itself otherwise.
struct Taker(Option<Talk>);

impl MakeTlsConnect<Socket> for Taker {
    type Stream = DatabaseStream;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Self, Infallible> {
        Ok(Self(self.0.take()))
    }
}

impl TlsConnect<Socket> for Taker {
    type Stream = DatabaseStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<DatabaseStream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let talk = self.0.unwrap();
        Box::pin(async move {
            talk(socket).await;
            Err(io::Error::other(SAID_ALL))
        })
    }
}
