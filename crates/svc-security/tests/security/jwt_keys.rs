//! The keys of tokens change: at a URL and in a file, without a restart and without a failed call.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use svc_security::Timing;

use crate::echo::ask;
use crate::jwks_server::JwksServer;
use crate::jwt::{RULES, flags, with};
use crate::server::{Files, Served, TIMING, assert_unauthenticated, soon};
use crate::signing::{claims, jwks, p256};

/// Keys that only unknown ones make the service ask for.
const ONLY_WHEN_UNKNOWN: Timing =
    Timing { files: Duration::from_secs(3600), keys: Duration::from_secs(3600), ..TIMING };

async fn serve(files: &Files, issuer: &JwksServer, timing: Timing) -> Served {
    files.put("rules.toml", RULES);
    let ca = issuer.ca.display();
    let flags = flags(&format!("{} --jwt-keys-ca {ca}", issuer.url));
    files.serve_with(&flags, timing).await
}

#[tokio::test]
async fn a_new_key_is_asked_for_by_the_first_call_that_needs_it() {
    let (files, old, new) = (Files::new(), p256(), p256());
    let issuer = JwksServer::start(&files, jwks(&[old.jwk("old")])).await;
    let served = serve(&files, &issuer, ONLY_WHEN_UNKNOWN).await;
    let old_token = old.token("ES256", "old", &claims(json!({})));
    assert!(ask(&with(&files, &served, &old_token), "").await.is_ok());
    assert_eq!(issuer.asked(), 1);

    issuer.put(jwks(&[old.jwk("old"), new.jwk("new")]));
    let new_token = new.token("ES256", "new", &claims(json!({})));
    let channel = with(&files, &served, &new_token);
    let answers = join_all((0..50).map(|_| ask(&channel, "read topic order"))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(issuer.asked(), 2, "fifty calls share one question");
    assert!(ask(&with(&files, &served, &old_token), "").await.is_ok());

    // Whoever invents keys has them asked for no more often than every second.
    let invented = new.token("ES256", "invented", &claims(json!({})));
    let channel = with(&files, &served, &invented);
    let start = std::time::Instant::now();
    for _ in 0..20 {
        assert_unauthenticated(ask(&channel, "").await, "unknown_key");
    }
    let most = 3 + start.elapsed().as_secs();
    assert!(issuer.asked() as u64 <= most, "{} questions", issuer.asked());
}

#[tokio::test]
async fn keys_at_a_url_are_renewed_and_the_last_ones_outlive_it() {
    let (files, old, new) = (Files::new(), p256(), p256());
    let issuer = JwksServer::start(&files, jwks(&[old.jwk("old"), new.jwk("new")])).await;
    let served = serve(&files, &issuer, TIMING).await;
    let old_token = with(&files, &served, &old.token("ES256", "old", &claims(json!({}))));
    let new_token = with(&files, &served, &new.token("ES256", "new", &claims(json!({}))));
    assert!(ask(&old_token, "").await.is_ok());

    issuer.break_down();
    let asked = issuer.asked();
    soon("it is asked again, in vain", || async { issuer.asked() >= asked + 2 }).await;
    assert!(ask(&old_token, "").await.is_ok());
    assert!(ask(&new_token, "").await.is_ok());

    // A key that is taken back is no longer taken, also for tokens that were seen before.
    issuer.put(jwks(&[new.jwk("new")]));
    soon("the old key is gone", || async { ask(&old_token, "").await.is_err() }).await;
    assert_unauthenticated(ask(&old_token, "").await, "unknown_key");
    assert!(ask(&new_token, "").await.is_ok());

    issuer.put("{\"keys\": []}".to_owned());
    let asked = issuer.asked();
    soon("it is asked again", || async { issuer.asked() >= asked + 2 }).await;
    assert!(ask(&new_token, "").await.is_ok(), "a set without keys is none");
}

#[tokio::test]
async fn keys_of_a_file_are_read_when_it_changes_or_a_token_needs_them() {
    let (files, old, new) = (Files::new(), p256(), p256());
    files.put("rules.toml", RULES);
    files.put("keys.json", jwks(&[old.jwk("old")]));
    let served = files.serve_with(&flags("@keys.json"), ONLY_WHEN_UNKNOWN).await;
    let new_token = new.token("ES256", "new", &claims(json!({})));
    files.put("keys.json", jwks(&[new.jwk("new")]));
    assert!(ask(&with(&files, &served, &new_token), "").await.is_ok());

    let served = files.serve(&flags("@keys.json")).await;
    files.put("keys.json", jwks(&[old.jwk("old")]));
    let channel = with(&files, &served, &new_token);
    soon("the new key is gone", || async { ask(&channel, "").await.is_err() }).await;
    let old_token = old.token("ES256", "old", &claims(json!({})));
    assert!(ask(&with(&files, &served, &old_token), "").await.is_ok());
}

#[tokio::test]
async fn an_issuer_that_is_not_trusted_is_not_asked() {
    let (files, key) = (Files::new(), p256());
    let issuer = JwksServer::start(&files, jwks(&[key.jwk("1")])).await;
    files.put("rules.toml", RULES);
    files.put("other.pem", crate::pki::Ca::new("other").pem());
    let flags = flags(&format!("{} --jwt-keys-ca @other.pem", issuer.url));
    let error = files.problems(&flags).await;
    assert_eq!(error.problems[0].flag, "--jwt-keys");
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    assert_eq!(issuer.asked(), 0);
}
