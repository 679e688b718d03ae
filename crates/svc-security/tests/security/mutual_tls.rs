//! Mutual TLS: who may connect, and who that is then.

use futures::stream;
use svc_runtime::rpc_error::ErrorFacts;
use svc_security::Reason;
use tonic::Code;

use crate::echo::{ask, open};
use crate::pki::{Ca, Leaf};
use crate::server::{Files, assert_no_connection, assert_unauthenticated, client, soon};

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
