//! Both services as programs, with real certificates and tokens made here: who is refused, and how;
//! who passes; and that files are rotated without a failed call.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails loudly, and prints its figures"
)]

#[path = "security/fronts.rs"]
mod fronts;
#[path = "../../crates/svc-security/tests/security/pki.rs"]
mod pki;
#[path = "security/rotation.rs"]
mod rotation;
#[path = "../../crates/svc-security/tests/security/signing.rs"]
mod signing;

use std::path::{Path, PathBuf};

use fronts::{BOTH, Files, client};
use pki::{Ca, Leaf};
use serde_json::json;
use signing::{AUDIENCE, ISSUER, claims, jwks, now, p256};

/// A token of a caller, for the file of tokens.
fn token(caller: &str, token: &str) -> String {
    format!("[[token]]\ncaller = {caller:?}\ntoken = {token:?}\n")
}

/// A rule for topics and queues that begin with `order`.
fn rule(caller: &str, rights: &[&str]) -> String {
    let names = "topics = [\"order*\"]\nqueues = [\"order*\"]";
    format!("[[rule]]\ncallers = [{caller:?}]\nrights = {rights:?}\n{names}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_certificates_of_the_clients_ca_get_a_connection() {
    let files = Files::new();
    let (ca, clients, others) = (Ca::new("services"), Ca::new("clients"), Ca::new("others"));
    files.put_issued("server", &ca.server());
    files.put("clients.pem", clients.pem());
    files.put("rules", rule("billing", &["append", "send"]));
    let trust = files.put("trust.pem", ca.pem());
    let wrong_trust = files.put("wrong-trust.pem", others.pem());
    files.put_issued("billing", &clients.client("billing"));
    files.put_issued("other", &clients.client("other"));
    files.put_issued("stranger", &others.client("billing"));
    let expired = Leaf { dns: &["billing"], common_name: None, expired: true };
    files.put_issued("expired", &clients.issue(&expired));
    let cert = |name: &str| files.path(&format!("{name}.crt"));
    let flags = "--tls-cert @server.crt --tls-key @server.key --tls-client-ca @clients.pem \
                 --auth-rules @rules";
    for name in BOTH {
        let front = files.serve(name, flags).await;
        let connect =
            |trust: &Path, cert: Option<&PathBuf>| front.connect(&client(trust, cert, None));
        connect(&trust, None).assert_no_connection("no certificate").await;
        connect(&trust, Some(&cert("stranger"))).assert_no_connection("another CA's").await;
        connect(&trust, Some(&cert("expired"))).assert_no_connection("an expired one").await;
        let billing = client(&trust, Some(&cert("billing")), None);
        let wrong = connect(&wrong_trust, Some(&cert("billing")));
        wrong.assert_no_connection("a service of another CA").await;
        let elsewhere = front.client(&fronts::access(&billing), &front.other_url());
        elsewhere.assert_no_connection("a service of another name").await;
        let other = connect(&trust, Some(&cert("other"))).write("order", "1").await.unwrap_err();
        assert_eq!(other.code(), tonic::Code::PermissionDenied);
        assert_eq!(front.keys(), "", "something was written");

        let billing = front.connect(&billing);
        billing.write("order", "1").await.unwrap();
        assert_eq!(front.written(), 1);
        billing.assert_denied("billing").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_known_tokens_pass_and_only_with_their_rights() {
    let files = Files::new();
    let ca = Ca::new("services");
    files.put_issued("server", &ca.server());
    let trust = files.put("trust.pem", ca.pem());
    const SECRET: &str = "a-token-that-billing-has";
    files.put("tokens", token("billing", SECRET) + &token("other", "a-token-of-no-right"));
    files.put("rules", rule("billing", &["append", "send"]));
    let flags = "--tls-cert @server.crt --tls-key @server.key --auth tokens \
                 --auth-tokens @tokens --auth-rules @rules";
    for name in BOTH {
        let front = files.serve(name, flags).await;
        let with = |token: Option<&str>| {
            let file = token.map(|token| files.put(&format!("token-{token}"), token));
            front.connect(&client(&trust, None, file.as_ref()))
        };
        with(None).assert_unauthenticated("no_credentials").await;
        with(Some("a-token-nobody-has")).assert_unauthenticated("unknown_token").await;
        let other = with(Some("a-token-of-no-right")).write("order", "1").await.unwrap_err();
        assert_eq!(other.code(), tonic::Code::PermissionDenied);
        assert_eq!(front.keys(), "", "something was written");

        let billing = with(Some(SECRET));
        billing.write("order", "1").await.unwrap();
        billing.write("elsewhere", "1").await.unwrap_err();
        assert_eq!(front.written(), 1);
        billing.assert_denied("billing").await;
        let log = front.log();
        assert!(log.contains("permission denied") && log.contains("billing"), "{log}");
        assert!(!log.contains(SECRET) && !log.contains("a-token-nobody-has"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_valid_jwts_pass_and_only_with_their_rights() {
    let files = Files::new();
    let ca = Ca::new("services");
    files.put_issued("server", &ca.server());
    let trust = files.put("trust.pem", ca.pem());
    let (key, other_key) = (p256(), p256());
    files.put("jwks", jwks(&[key.jwk("k")]));
    files.put("rules", rule("billing", &["append", "send"]));
    let flags = format!(
        "--tls-cert @server.crt --tls-key @server.key --auth jwt --jwt-issuer {ISSUER} \
         --jwt-audience {AUDIENCE} --jwt-keys @jwks --auth-rules @rules"
    );
    for name in BOTH {
        let front = files.serve(name, &flags).await;
        let with = |what: &str, token: &str| {
            let file = files.put(&format!("jwt-{what}"), token);
            front.connect(&client(&trust, None, Some(&file)))
        };
        let signed = |change| key.token("ES256", "k", &claims(change));
        for (cause, token) in [
            ("expired", signed(json!({"exp": now() - 3_600}))),
            ("not_yet_valid", signed(json!({"nbf": now() + 3_600}))),
            ("wrong_audience", signed(json!({"aud": "another"}))),
            ("wrong_issuer", signed(json!({"iss": "https://elsewhere.test/"}))),
            ("wrong_signature", other_key.token("ES256", "k", &claims(json!({})))),
            ("wrong_algorithm", signing::hs256(b"a secret", "k", &claims(json!({})))),
            ("malformed", signing::unsigned("k", &claims(json!({})))),
            ("malformed", "no-jwt-at-all".to_owned()),
        ] {
            with(cause, &token).assert_unauthenticated(cause).await;
        }
        front.connect(&client(&trust, None, None)).assert_unauthenticated("no_credentials").await;
        let other = with("other", &signed(json!({"sub": "other"}))).write("order", "1").await;
        assert_eq!(other.unwrap_err().code(), tonic::Code::PermissionDenied);
        assert_eq!(front.keys(), "", "something was written");

        let billing = with("good", &signed(json!({})));
        billing.write("order", "1").await.unwrap();
        assert_eq!(front.written(), 1);
        billing.assert_denied("billing").await;
    }
}
