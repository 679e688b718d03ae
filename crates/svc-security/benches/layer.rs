//! What the layer costs a request: a loop over a service that does nothing, with and without it.
//! `cargo bench -p svc-security` prints nanoseconds a request, the least of many short rounds: those
//! that nothing else on the machine came between.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people at a desk")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use clap::Parser;
use futures::FutureExt as _;
use http::{HeaderValue, Request, Response};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;
use svc_security::{Caller, Resource, Right, Security, SecurityArgs};
use tower::{Layer as _, Service};

const REQUESTS: u32 = 1_000;
const ROUNDS: usize = 1_000;
const RULES: &str =
    "[[rule]]\ncallers = [\"billing\"]\nrights = [\"append\"]\ntopics = [\"order\"]";
const TOKEN: &str = "billing-token-000001";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    security: SecurityArgs,
}

#[derive(Clone)]
struct Nothing;

impl Service<Request<()>> for Nothing {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        black_box(request);
        ready(Ok(Response::new(())))
    }
}

fn request(token: Option<&HeaderValue>) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = http::Uri::from_static("/eventstore.v1.EventStore/Append");
    // As real ones have: the map behind it is there already.
    request.extensions_mut().insert(0_u8);
    if let Some(token) = token {
        request.headers_mut().insert("authorization", token.clone());
    }
    request
}

fn measure(name: &str, mut once: impl FnMut()) {
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..REQUESTS {
            once();
        }
        least = least.min(start.elapsed() / REQUESTS);
    }
    println!("{name:<44} {:>6} ns", least.as_nanos());
}

fn calls<S: Service<Request<()>>>(name: &str, mut service: S, token: Option<&HeaderValue>) {
    measure(name, || {
        let answer = service.call(request(token)).now_or_never();
        assert!(black_box(answer).is_some_and(|answer| answer.is_ok()));
    });
}

async fn security(flags: &str) -> Security {
    let words = std::iter::once("bench").chain(flags.split_whitespace());
    let args = Cli::try_parse_from(words).unwrap().security;
    Security::start(&args, "bench.v1").await.unwrap()
}

#[tokio::main]
async fn main() {
    let folder = tempfile::TempDir::new().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let rules = put("rules", RULES);
    let tokens = put("tokens", &format!("[[token]]\ncaller = \"billing\"\ntoken = \"{TOKEN}\""));
    let (jwks, jwt) = signed();
    let jwks = put("jwks", &jwks);

    let bearer = |token: &str| HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let (token, jwt) = (bearer(TOKEN), bearer(&jwt));
    calls("nothing", Nothing, None);
    let none = security("").await;
    calls("layer, --auth none", none.layer().layer(Nothing), None);
    calls("nothing, with a token", Nothing, Some(&token));
    let flags = format!("--auth tokens --auth-tokens {tokens} --auth-rules {rules}");
    let by_token = security(&flags).await;
    calls("layer, --auth tokens", by_token.layer().layer(Nothing), Some(&token));
    let limited = security(&format!("{flags} --requests-per-second 10000000")).await;
    calls("layer, and --requests-per-second", limited.layer().layer(Nothing), Some(&token));
    calls("nothing, with a jwt", Nothing, Some(&jwt));
    let flags = format!(
        "--auth jwt --jwt-issuer i --jwt-audience a --jwt-keys {jwks} --auth-rules {rules}"
    );
    let by_jwt = security(&flags).await;
    calls("layer, --auth jwt, token seen before", by_jwt.layer().layer(Nothing), Some(&jwt));
    let caller = caller_of(&by_token, &token);
    measure("Caller::check", || {
        assert!(caller.check(Right::Append, black_box(Resource::Topic("order"))).is_ok());
    });
}

/// The caller that a handler sees.
fn caller_of(security: &Security, token: &HeaderValue) -> Caller {
    let (told, seen) = std::sync::mpsc::channel();
    let handler = tower::service_fn(move |request: Request<()>| {
        told.send(Caller::of(request.extensions()).unwrap()).unwrap();
        ready(Ok::<_, Infallible>(Response::new(())))
    });
    let mut service = security.layer().layer(handler);
    service.call(request(Some(token))).now_or_never().unwrap().unwrap();
    seen.recv().unwrap()
}

/// A JWKS and a token.
fn signed() -> (String, String) {
    use base64::Engine as _;
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let rng = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &rng).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &rng).unwrap();
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (base64(x), base64(y));
    let jwks = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": y}]});
    let header = json!({"alg": "ES256", "kid": "1"}).to_string();
    let claims = json!({"iss": "i", "aud": "a", "sub": "billing", "exp": 4_000_000_000_u64});
    let message =
        format!("{}.{}", base64(header.as_bytes()), base64(claims.to_string().as_bytes()));
    let signature = base64(key.sign(&rng, message.as_bytes()).unwrap().as_ref());
    (jwks.to_string(), format!("{message}.{signature}"))
}
