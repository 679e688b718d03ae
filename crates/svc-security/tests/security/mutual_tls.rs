//! Mutual TLS: who may connect, and who that is then.

use std::sync::Arc;

use futures::stream;
use svc_runtime::rpc_error::ErrorFacts;
use svc_security::Reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tonic::Code;

use crate::echo::{ask, open};
use crate::pki::{Ca, Issued, Leaf};
use crate::server::{Files, Served, assert_no_connection, assert_unauthenticated, client, soon};

const MUTUAL: &str = "--tls-cert @server.crt --tls-key @server.key --tls-client-ca @clients.pem";
const RULES: &str = r#"
    [[rule]]
    callers = ["billing", "shop-*"]
    rights = ["append"]
    topics = ["order"]
"#;

#[tokio::test]
async fn only_certificates_of_the_ca_connect_and_name_the_caller() {
    let (files, ca, clients) = (Files::new(), Ca::new("ca"), Ca::new("clients"));
    files.put_issued("server", &ca.server());
    let ca_file = files.put("ca.pem", ca.pem());
    files.put("clients.pem", clients.pem());
    files.put("rules.toml", RULES);
    let served = files.serve(&format!("{MUTUAL} --auth-rules @rules.toml")).await;
    let connect = |name: &str, issued| {
        files.put_issued(name, &issued);
        served.connect(&client(Some(&ca_file), Some(&files.path(&format!("{name}.crt"))), None))
    };
    let leaf = |dns, common_name, expired| clients.issue(&Leaf { dns, common_name, expired });

    let by_dns = connect("dns", leaf(&["billing", "second"], Some("nobody"), false));
    assert_eq!(ask(&by_dns, "append topic order").await.unwrap(), "billing");
    let by_cn = connect("cn", leaf(&[], Some("shop-7"), false));
    assert_eq!(ask(&by_cn, "append topic order").await.unwrap(), "shop-7");
    let nameless = connect("nameless", leaf(&[], None, false));
    assert_unauthenticated(ask(&nameless, "").await, "no_credentials");

    let other = connect("other", leaf(&["crm"], None, false));
    let denied = ask(&other, "append topic order").await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let facts = ErrorFacts::of(&denied).unwrap();
    assert_eq!(facts.reason, "PERMISSION_DENIED");
    assert_eq!(facts.metadata["caller"], "crm");
    assert_eq!(facts.metadata["right"], "append");
    assert_eq!(facts.metadata["topic"], "order");

    let before = served.security.refused().of(Reason::Handshake);
    let none = served.connect(&client(Some(&ca_file), None, None));
    assert_no_connection(&ask(&none, "").await);
    let expired = connect("expired", leaf(&["billing"], None, true));
    assert_no_connection(&ask(&expired, "").await);
    let stranger = connect("stranger", Ca::new("clients").client("billing"));
    assert_no_connection(&ask(&stranger, "").await);
    soon("each is counted", || async {
        served.security.refused().of(Reason::Handshake) >= before + 3
    })
    .await;
}

#[tokio::test]
async fn a_token_goes_before_the_certificate() {
    let (files, ca) = (Files::new(), Ca::new("ca"));
    files.put_issued("server", &ca.server());
    files.put_issued("client", &ca.client("by-certificate"));
    let clients = files.put("clients.pem", ca.pem());
    files.put("rules.toml", RULES);
    files.put("tokens.toml", "[[token]]\ncaller = \"by-token\"\ntoken = \"0123456789abcdef\"");
    let flags =
        format!("{MUTUAL} --auth tokens --auth-tokens @tokens.toml --auth-rules @rules.toml");
    let served = files.serve(&flags).await;
    let cert = files.path("client.crt");
    let connect = |token: Option<&str>| {
        let token = token.map(|token| files.token(token));
        served.connect(&client(Some(&clients), Some(&cert), token.as_deref()))
    };
    assert_eq!(ask(&connect(None), "").await.unwrap(), "by-certificate");
    assert_eq!(ask(&connect(Some("0123456789abcdef\n")), "").await.unwrap(), "by-token");
    assert_unauthenticated(ask(&connect(Some("another")), "").await, "unknown_token");
}

/// What a second connection of a client that keeps its sessions is.
async fn second_handshake(served: &Served, ca: &Ca, cert: Issued) -> HandshakeKind {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(cert.cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(cert.key.as_bytes()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let socket = TcpStream::connect(("127.0.0.1", served.port)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, socket).await.unwrap();
        // The server's first frame; what a session can be resumed with comes before it.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        stream.read_u8().await.unwrap();
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds[0], HandshakeKind::Full);
    kinds[1]
}

#[tokio::test]
async fn a_client_shows_its_certificate_with_each_connection() {
    let (files, ca) = (Files::new(), Ca::new("ca"));
    files.put_issued("server", &ca.server());
    files.put("clients.pem", ca.pem());
    let cert = || ca.client("billing");
    let mutual = files.serve(MUTUAL).await;
    assert_eq!(second_handshake(&mutual, &ca, cert()).await, HandshakeKind::Full);
    // Where it shows none, sessions go on: else this test could not tell.
    let simple = files.serve("--tls-cert @server.crt --tls-key @server.key").await;
    assert_eq!(second_handshake(&simple, &ca, cert()).await, HandshakeKind::Resumed);
}

#[tokio::test]
async fn rights_are_asked_for_each_message_of_a_stream() {
    let (files, ca) = (Files::new(), Ca::new("ca"));
    files.put_issued("server", &ca.server());
    files.put_issued("client", &ca.client("billing"));
    let clients = files.put("clients.pem", ca.pem());
    files.put("rules.toml", RULES);
    let served = files.serve(&format!("{MUTUAL} --auth-rules @rules.toml")).await;
    let channel = served.connect(&client(Some(&clients), Some(&files.path("client.crt")), None));
    let asked = ["append topic order", "append topic stock"].map(str::to_owned);
    let mut answers = open(&channel, stream::iter(asked)).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap(), "billing");
    assert_eq!(answers.message().await.unwrap_err().code(), Code::PermissionDenied);
}
