//! JWTs: each thing that can be wrong with one, and each kind of key.

use serde_json::{Value, json};
use svc_security::{Reason, SecuredChannel};

use crate::echo::ask;
use crate::server::{Files, Served, assert_unauthenticated, client};
use crate::signing::{
    AUDIENCE, ISSUER, SigningKey, claims, ed25519, hs256, jwks, now, p256, p384, rsa, unsigned,
};

pub const RULES: &str = r#"
    [[rule]]
    callers = ["billing"]
    rights = ["read"]
    topics = ["order"]
"#;

/// Flags for JWTs with these keys.
pub fn flags(keys: &str) -> String {
    format!(
        "--auth jwt --jwt-issuer {ISSUER} --jwt-audience {AUDIENCE} --auth-rules @rules.toml \
         --jwt-keys {keys}"
    )
}

/// A client with that token.
pub fn with(files: &Files, served: &Served, token: &str) -> SecuredChannel {
    served.connect(&client(None, None, Some(&files.token(token))))
}

async fn serve(files: &Files, keys: &[Value], more: &str) -> Served {
    files.put("rules.toml", RULES);
    files.put("keys.json", jwks(keys));
    files.serve(&format!("{} {more}", flags("@keys.json"))).await
}

#[tokio::test]
async fn right_tokens_pass_and_do_what_the_rules_say() {
    let (files, key) = (Files::new(), p256());
    let served = serve(&files, &[key.jwk("1")], "").await;
    for change in [
        json!({}),
        json!({"aud": ["another", AUDIENCE]}),
        json!({"nbf": null}),
        // The clocks may differ by a minute.
        json!({"exp": now() - 30}),
        json!({"nbf": now() + 30}),
    ] {
        let channel = with(&files, &served, &key.token("ES256", "1", &claims(change)));
        for _ in 0..2 {
            assert_eq!(ask(&channel, "read topic order").await.unwrap(), "billing");
        }
        let denied = ask(&channel, "append topic order").await.unwrap_err();
        assert_eq!(denied.code(), tonic::Code::PermissionDenied);
    }
}

#[tokio::test]
async fn each_thing_that_is_wrong_with_a_token_is_refused_and_named() {
    let (files, key, other) = (Files::new(), p256(), p256());
    let rsa = rsa();
    let rsa_jwk = rsa.jwk("rsa");
    let served = serve(&files, &[key.jwk("1"), p384().jwk("3"), rsa_jwk.clone()], "").await;
    let es256 = |change| key.token("ES256", "1", &claims(change));
    let good = es256(json!({}));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let modulus = rsa_jwk["n"].as_str().unwrap().as_bytes();
    let public = key.jwk("1").to_string();
    let critical = json!({"alg": "ES256", "kid": "1", "crit": ["b64"], "b64": false});
    for (cause, token) in [
        ("expired", es256(json!({"exp": now() - 90}))),
        ("not_yet_valid", es256(json!({"nbf": now() + 90}))),
        ("wrong_audience", es256(json!({"aud": "another"}))),
        ("wrong_audience", es256(json!({"aud": ["another"]}))),
        ("wrong_issuer", es256(json!({"iss": "https://other.test/"}))),
        ("wrong_claim", es256(json!({"exp": null}))),
        ("wrong_claim", es256(json!({"iss": null}))),
        ("wrong_claim", es256(json!({"aud": null}))),
        ("wrong_claim", es256(json!({"exp": "tomorrow"}))),
        ("wrong_claim", es256(json!({"nbf": "yesterday"}))),
        ("wrong_claim", es256(json!({"sub": null}))),
        ("wrong_claim", es256(json!({"sub": 7}))),
        ("wrong_claim", es256(json!({"sub": "bil\nling"}))),
        ("malformed", unsigned("1", &claims(json!({})))),
        ("wrong_algorithm", hs256(modulus, "rsa", &claims(json!({})))),
        ("wrong_algorithm", hs256(public.as_bytes(), "1", &claims(json!({})))),
        ("wrong_signature", other.token("ES256", "1", &claims(json!({})))),
        ("wrong_signature", format!("{head}x.{signature}")),
        ("wrong_signature", format!("{head}.")),
        ("wrong_algorithm", rsa.token("RS256", "1", &claims(json!({})))),
        ("unknown_key", key.token("ES256", "2", &claims(json!({})))),
        ("malformed", key.token_with(&critical, &claims(json!({})))),
        ("malformed", rsa.token_with(&json!({"alg": "PS256", "kid": 7}), &claims(json!({})))),
        ("malformed", "not-a-token".to_owned()),
        ("malformed", head.to_owned()),
        ("malformed", "..".to_owned()),
    ] {
        let answer = ask(&with(&files, &served, &token), "read topic order").await;
        println!("{cause}: {:?}", answer.as_ref().map_err(tonic::Status::message));
        assert_unauthenticated(answer, cause);
    }
    assert_eq!(served.security.refused().of(Reason::Audience), 2);
    assert!(ask(&with(&files, &served, &good), "read topic order").await.is_ok());
}

#[tokio::test]
async fn keys_of_each_kind_check_their_own_signatures() {
    let kinds: [(SigningKey, &[&str]); 4] = [
        (rsa(), &["RS256", "RS512", "PS256"]),
        (p256(), &["ES256"]),
        (p384(), &["ES384"]),
        (ed25519(), &["EdDSA"]),
    ];
    let files = Files::new();
    let jwks: Vec<_> =
        kinds.iter().enumerate().map(|(kid, (key, _))| key.jwk(&kid.to_string())).collect();
    let served = serve(&files, &jwks, "").await;
    for (kid, (key, algorithms)) in kinds.iter().enumerate() {
        for algorithm in *algorithms {
            let token = key.token(algorithm, &kid.to_string(), &claims(json!({})));
            let answer = ask(&with(&files, &served, &token), "read topic order").await;
            assert_eq!(answer.unwrap(), "billing", "{algorithm}");
            let (head, _) = token.rsplit_once('.').unwrap();
            let broken = format!("{head}.{}", "A".repeat(86));
            let answer = ask(&with(&files, &served, &broken), "read topic order").await;
            assert_unauthenticated(answer, "wrong_signature");
        }
    }
}

#[tokio::test]
async fn another_claim_may_name_the_caller() {
    let (files, key) = (Files::new(), ed25519());
    let served = serve(&files, &[key.jwk("1")], "--jwt-caller-claim client_id").await;
    let token = key.token("EdDSA", "1", &claims(json!({"sub": "x", "client_id": "billing"})));
    let answer = ask(&with(&files, &served, &token), "read topic order").await;
    assert_eq!(answer.unwrap(), "billing");
    let token = key.token("EdDSA", "1", &claims(json!({})));
    assert_unauthenticated(ask(&with(&files, &served, &token), "").await, "wrong_claim");
}
