//! Someone between the service and PostgreSQL, who ends its TLS with a certificate of his own and has another
//! connection to the real server.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use credentials::{CredentialFile, OneWayTls, ServerCheck, ServerTls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;

use super::{TlsDatabase, assert_not_ready, authority};
use e2e::{free_addr, rpc::block_on, spawn_users, start_users};

/// The question whether the other end speaks TLS (PostgreSQL documentation, section 55.7).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Starts to listen in on what goes to the server on `port`.
fn impostor(database: &TlsDatabase) -> SocketAddr {
    let real = (Ipv4Addr::LOCALHOST, database.server.port());
    let files = database.write_certificate(&authority("impostor"), &["localhost"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        block_on(async {
            let files = files.map(|path| CredentialFile::new("IMPOSTOR", path));
            let tls = ServerTls::https(files).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                let tls = tls.clone();
                spawn_local(async move {
                    // It fails when the client does not like the certificate.
                    let _ = listen_in(client, &tls, real).await;
                });
            }
        });
    });
    addr
}

async fn listen_in(
    mut client: TcpStream,
    tls: &ServerTls,
    real: (Ipv4Addr, u16),
) -> std::io::Result<()> {
    let mut question = [0; 8];
    client.read_exact(&mut question).await?;
    client.write_all(b"S").await?;
    let mut client = tls.accept(client).await?;

    let mut server = TcpStream::connect(real).await?;
    server.write_all(&SSL_REQUEST).await?;
    assert_eq!(server.read_u8().await?, b'S');
    let anything = OneWayTls::new(ServerCheck::Key).unwrap();
    let connector = TlsConnector::from(anything.config());
    let mut server = connector
        .connect("localhost".try_into().unwrap(), server)
        .await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[test]
fn impostor_gets_through_require_and_not_through_channel_binding_or_verification() {
    let database = TlsDatabase::new(&["localhost"]);
    let addr = impostor(&database);
    let direct = format!("127.0.0.1:{}", database.server.port());
    let through = |options: &str| {
        let url = database.url_of(&database.url, "127.0.0.1", options);
        url.replace(&direct, &format!("localhost:{}", addr.port()))
    };

    start_users(
        &free_addr(),
        &through("sslmode=require&channel_binding=disable"),
        &[],
    );
    // The real server finds out, and refuses the proof of the password.
    let bound = through("sslmode=require&channel_binding=require");
    let mut users = spawn_users("127.0.0.1:0", &bound, &[]);
    users.wait_for("channel binding check failed");
    assert_eq!(users.ended().code(), Some(1));

    for options in [
        "sslmode=verify-ca&sslrootcert={ca}",
        "sslmode=verify-full&sslrootcert={ca}",
    ] {
        assert_not_ready(&through(options), "UnknownIssuer");
    }
}
