//! TLS: which server a client takes, what a server does with who is slow, broken or one too many.

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::echo::ask;
use crate::pki::{Ca, Leaf};
use crate::server::{Files, assert_no_connection, client, soon};
use svc_security::Reason;

const TLS: &str = "--tls-cert @server.crt --tls-key @server.key";

#[tokio::test]
async fn the_right_server_is_taken_and_every_other_is_not() {
    let (files, ca) = (Files::new(), Ca::new("ca"));
    files.put_issued("server", &ca.server());
    let served = files.serve(TLS).await;
    let ca_file = files.put("ca.pem", ca.pem());
    let right = client(Some(&ca_file), None, None);
    assert_eq!(ask(&served.connect(&right), "").await.unwrap(), "anonymous");

    let other = files.put("other.pem", Ca::new("other").pem());
    let wrong_ca = served.connect(&client(Some(&other), None, None));
    assert_no_connection(&ask(&wrong_ca, "").await);

    let elsewhere = Leaf { dns: &["elsewhere.test"], common_name: None, expired: false };
    files.put_issued("elsewhere", &ca.issue(&elsewhere));
    let wrong_host =
        files.serve("--tls-cert @elsewhere.crt --tls-key @elsewhere.key").await.connect(&right);
    assert_no_connection(&ask(&wrong_host, "").await);

    let plain = files.serve("").await;
    let url = format!("https://localhost:{}", plain.port);
    let no_tls = crate::server::access(&right).channel(&url, 1).unwrap();
    assert_no_connection(&ask(&no_tls, "").await);
    soon("failed handshakes are counted", || async {
        served.security.refused().of(Reason::Handshake) > 0
    })
    .await;
}

#[tokio::test]
async fn without_tls_nothing_gets_into_a_tls_server() {
    let (files, ca) = (Files::new(), Ca::new("ca"));
    files.put_issued("server", &ca.server());
    let served = files.serve(TLS).await;
    let url = format!("http://localhost:{}", served.port);
    let plain = crate::server::access(&client(None, None, None)).channel(&url, 1).unwrap();
    assert_no_connection(&ask(&plain, "").await);

    let mut socket = TcpStream::connect(("localhost", served.port)).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer).await);
    // A TLS alert (21), and no HTTP.
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
}

#[tokio::test]
async fn who_is_slow_keeps_nobody_waiting() {
    let (files, ca) = (Files::new(), Ca::new("ca"));
    files.put_issued("server", &ca.server());
    let served = files.serve(TLS).await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        slow.push(TcpStream::connect(("127.0.0.1", served.port)).await.unwrap());
    }
    soon("they are in their handshakes", || async { served.security.open_connections() == 100 })
        .await;
    let start = Instant::now();
    let ca_file = files.put("ca.pem", ca.pem());
    let right = served.connect(&client(Some(&ca_file), None, None));
    assert_eq!(ask(&right, "").await.unwrap(), "anonymous");
    // Less than any of them has until it is dropped.
    assert!(start.elapsed().as_secs() < 9, "{:?}", start.elapsed());
    drop(slow);
    soon("their places are free", || async { served.security.open_connections() == 1 }).await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let files = Files::new();
    let served = files.serve("--max-connections 2").await;
    let client = client(None, None, None);
    let (first, second) = (served.connect(&client), served.connect(&client));
    assert!(ask(&first, "").await.is_ok());
    assert!(ask(&second, "").await.is_ok());
    assert_eq!(served.security.open_connections(), 2);

    let mut third = TcpStream::connect(("127.0.0.1", served.port)).await.unwrap();
    assert_eq!(third.read(&mut [0]).await.unwrap(), 0);
    assert_no_connection(&ask(&served.connect(&client), "").await);
    assert!(served.security.refused().of(Reason::Connections) >= 2);
    assert!(ask(&first, "").await.is_ok(), "those that are open go on");

    drop(second);
    soon("a place is free", || async { served.security.open_connections() == 1 }).await;
    assert!(ask(&served.connect(&client), "").await.is_ok());
}
