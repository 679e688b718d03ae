//! Settings that cannot be used: named before anything binds, with what would be right, and without
//! what is in the files.

use crate::pki::{Ca, Leaf};
use crate::server::Files;

const TLS: &str = "--tls-cert @server.crt --tls-key @server.key";
const AUTH: &str = "--auth tokens --auth-tokens @tokens.toml --auth-rules @rules.toml";
const JWT: &str = "--auth jwt --jwt-issuer i --jwt-audience a --auth-rules @rules.toml";

#[tokio::test]
async fn everything_that_is_wrong_is_named_at_once() {
    let files = Files::new();
    let error = files.problems(&format!("{TLS} {AUTH}")).await;
    let flags: Vec<_> = error.problems.iter().map(|problem| problem.flag).collect();
    assert_eq!(flags, ["--tls-cert", "--auth-rules", "--auth-tokens"]);
    let text = error.to_string();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("server.crt"), "{text}");
}

#[tokio::test]
async fn certificates_have_to_fit() {
    let (files, ca) = (Files::new(), Ca::new("ca"));
    let (one, two) = (ca.server(), ca.server());
    let secret = one.key.lines().nth(1).unwrap().to_owned();
    let wrong = async |cert: &str, key: &str, more: &str| {
        files.put("server.crt", cert);
        files.put("server.key", key);
        let error = files.problems(&format!("{TLS} {more}")).await;
        assert_eq!(error.problems.len(), 1, "{error}");
        assert!(!error.to_string().contains(&secret), "{error}");
        (error.problems[0].flag, error.to_string())
    };
    assert_eq!(wrong("", &one.key, "").await.0, "--tls-cert");
    assert_eq!(wrong(&one.key, &one.key, "").await.0, "--tls-cert");
    assert_eq!(wrong(&one.cert, &one.cert, "").await.0, "--tls-key");
    assert_eq!(wrong(&one.cert, &one.key[..60], "").await.0, "--tls-key");
    let (flag, text) = wrong(&one.cert, &two.key, "").await;
    assert_eq!(flag, "--tls-key");
    assert!(text.contains("--tls-cert"), "{text}");
    let expired = ca.issue(&Leaf { dns: &["localhost"], common_name: None, expired: true });
    let (flag, text) = wrong(&expired.cert, &expired.key, "").await;
    assert_eq!(flag, "--tls-cert");
    assert!(text.contains("2021"), "{text}");
    files.put("clients.pem", "nothing");
    let (flag, _) = wrong(&one.cert, &one.key, "--tls-client-ca @clients.pem").await;
    assert_eq!(flag, "--tls-client-ca");
}

#[tokio::test]
async fn rules_and_tokens_have_to_be_read_whole() {
    let files = Files::new();
    files.put("tokens.toml", "[[token]]\ncaller = \"a\"\ntoken = \"hidden-hidden-hidden\"\nx = 1");
    files.put("rules.toml", "[[rule]]\ncallers = [\"a\"]\nrights = [\"write\"]\ntopics = [\"t\"]");
    let text = files.problems(AUTH).await.to_string();
    assert!(text.contains("--auth-tokens: token 1: does not know `x`"), "{text}");
    assert!(text.contains("--auth-rules: line 3") && text.contains("`write`"), "{text}");
    assert!(text.contains("`administer`"), "{text}");
    assert!(!text.contains("hidden"), "{text}");
}

#[tokio::test]
async fn keys_of_tokens_have_to_be_there() {
    let files = Files::new();
    files.put("rules.toml", "[[rule]]\ncallers = [\"a\"]\nrights = [\"read\"]\ntopics = [\"t\"]");
    let wrong = async |keys: &str| {
        let error = files.problems(&format!("{JWT} --jwt-keys {keys}")).await;
        assert_eq!(error.problems[0].flag, "--jwt-keys");
        error.to_string()
    };
    files.put("empty.json", "{\"keys\": []}");
    assert!(wrong("@empty.json").await.contains("has no key"));
    // A secret is no key to check with.
    files.put("oct.json", "{\"keys\": [{\"kty\": \"oct\", \"kid\": \"1\", \"k\": \"aGlkZGVu\"}]}");
    assert!(wrong("@oct.json").await.contains("has no key"));
    files.put("none.json", "hidden");
    let text = wrong("@none.json").await;
    assert!(text.contains("no JWKS") && !text.contains("hidden"), "{text}");
    assert!(wrong("@missing.json").await.contains("missing.json"));
    assert!(wrong("http://localhost/keys").await.contains("https://"));
    let text = wrong("https://user:hidden@localhost/keys").await;
    assert!(text.contains("password") && !text.contains("hidden"), "{text}");
    let text = wrong("https://localhost:1/keys?code=hidden").await;
    assert!(text.contains("https://localhost:1/keys") && !text.contains("hidden"), "{text}");
}
