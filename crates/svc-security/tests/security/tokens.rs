//! Static tokens and rules, and what is open to anybody.

use futures::StreamExt as _;
use svc_runtime::rpc_error::ErrorFacts;
use svc_security::Reason;
use tonic::Code;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::echo::ask;
use crate::server::{Files, assert_unauthenticated, client, soon};

pub const FLAGS: &str = "--auth tokens --auth-tokens @tokens.toml --auth-rules @rules.toml";
pub const RULES: &str = r#"
    [[rule]]
    callers = ["billing"]
    rights = ["append", "send"]
    topics = ["order"]
    queues = ["mail*"]
"#;
pub const TOKEN: &str = "billing-token-000001";

pub fn tokens(caller: &str, token: &str) -> String {
    format!("[[token]]\ncaller = \"{caller}\"\ntoken = \"{token}\"\n")
}

#[tokio::test]
async fn the_right_token_does_what_the_rules_say_and_nothing_else() {
    let files = Files::new();
    files.put("tokens.toml", tokens("billing", TOKEN));
    files.put("rules.toml", RULES);
    let served = files.serve(FLAGS).await;
    let with = |token: &str| served.connect(&client(None, None, Some(&files.token(token))));

    let billing = with(TOKEN);
    assert_eq!(ask(&billing, "append topic order").await.unwrap(), "billing");
    assert_eq!(ask(&billing, "send queue mail-service").await.unwrap(), "billing");
    for (asked, right, kind, name) in [
        ("read topic order", "read", "topic", "order"),
        ("append topic stock", "append", "topic", "stock"),
        ("send queue order", "send", "queue", "order"),
    ] {
        let denied = ask(&billing, asked).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied);
        let facts = ErrorFacts::of(&denied).unwrap();
        assert_eq!((&*facts.reason, &*facts.domain), ("PERMISSION_DENIED", "test.v1"));
        assert_eq!(facts.metadata["right"], right);
        assert_eq!(facts.metadata[kind], name);
        assert_eq!(facts.metadata["caller"], "billing");
        assert!(denied.message().contains(right) && denied.message().contains(name));
    }
    assert_eq!(served.security.refused().of(Reason::Permission), 3);

    let without = served.connect(&client(None, None, None));
    assert_unauthenticated(ask(&without, "append topic order").await, "no_credentials");
    assert_unauthenticated(ask(&with("billing-token-000002"), "").await, "unknown_token");
    assert_unauthenticated(ask(&with(&TOKEN.to_uppercase()), "").await, "unknown_token");
    assert_eq!(served.security.refused().of(Reason::UnknownToken), 2);
}

#[tokio::test]
async fn an_authorization_that_is_none_is_refused() {
    let files = Files::new();
    files.put("tokens.toml", tokens("billing", TOKEN));
    files.put("rules.toml", RULES);
    let served = files.serve(FLAGS).await;
    let channel = Channel::from_shared(served.url()).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    for (values, expected) in [
        (vec![format!("Basic {TOKEN}")], "malformed"),
        (vec![TOKEN.to_owned()], "malformed"),
        (vec!["Bearer ".to_owned()], "malformed"),
        (vec![format!("Bearer {TOKEN}"), format!("Bearer {TOKEN}")], "malformed"),
        (vec![format!("bearer  {TOKEN}")], ""),
    ] {
        let mut metadata = MetadataMap::new();
        for value in &values {
            metadata.append("authorization", value.parse().unwrap());
        }
        client.ready().await.unwrap();
        let request = tonic::Request::from_parts(metadata, tonic::Extensions::new(), String::new());
        let path = http::uri::PathAndQuery::from_static("/test.v1.Echo/Unary");
        let codec = tonic_prost::ProstCodec::<String, String>::default();
        let answer = client.unary(request, path, codec).await.map(tonic::Response::into_inner);
        match expected {
            "" => assert_eq!(answer.unwrap(), "billing"),
            cause => assert_unauthenticated(answer, cause),
        }
    }
}

#[tokio::test]
async fn tokens_and_rules_change_without_a_restart() {
    let files = Files::new();
    files.put("tokens.toml", tokens("billing", TOKEN));
    files.put("rules.toml", RULES);
    let served = files.serve(FLAGS).await;
    let billing = served.connect(&client(None, None, Some(&files.token(TOKEN))));
    assert!(ask(&billing, "append topic order").await.is_ok());
    assert!(ask(&billing, "append topic stock").await.is_err());

    files.put("rules.toml", RULES.replace("\"order\"", "\"*\""));
    soon("the new rules give more", || async { ask(&billing, "append topic stock").await.is_ok() })
        .await;

    let second = "billing-token-000002";
    files.put("tokens.toml", tokens("billing", TOKEN) + &tokens("billing", second));
    let next = served.connect(&client(None, None, Some(&files.token(second))));
    soon("the new token is taken", || async { ask(&next, "").await.is_ok() }).await;
    assert!(ask(&billing, "").await.is_ok(), "the old one still is");
    files.put("tokens.toml", tokens("billing", second));
    soon("the old token is not taken", || async { ask(&billing, "").await.is_err() }).await;
    assert!(ask(&next, "").await.is_ok());

    // Files that cannot be used leave what was there. They are looked at in one go, certificates,
    // rules, tokens: once new tokens are taken the wrong rules before them were looked at.
    files.put("rules.toml", "[[rule]]\ncallers = 7");
    files.put("tokens.toml", tokens("billing", second) + &tokens("billing", TOKEN));
    soon("both tokens are taken", || async { ask(&billing, "").await.is_ok() }).await;
    assert!(ask(&next, "append topic stock").await.is_ok());
    files.put("tokens.toml", "nonsense");
    files.put("rules.toml", RULES);
    soon("the new rules give less", || async { ask(&next, "append topic stock").await.is_err() })
        .await;
    assert!(ask(&next, "append topic order").await.is_ok());
}

#[tokio::test]
async fn health_is_always_open_and_reflection_if_it_is_on() {
    let files = Files::new();
    files.put("tokens.toml", tokens("billing", TOKEN));
    files.put("rules.toml", RULES);
    for (flags, reflection) in [("", true), (" --no-reflection", false)] {
        let served = files.serve(&format!("{FLAGS} --requests-per-second 1{flags}")).await;
        let channel = Channel::from_shared(served.url()).unwrap().connect().await.unwrap();
        let mut health = HealthClient::new(channel.clone());
        for _ in 0..20 {
            let request = HealthCheckRequest { service: String::new() };
            assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);
        }
        let mut client = ServerReflectionClient::new(channel);
        let request = || {
            let ask = MessageRequest::ListServices(String::new());
            let request =
                ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
            tonic::Request::new(futures::stream::iter([request]))
        };
        match client.server_reflection_info(request()).await {
            Ok(answers) => {
                assert!(reflection);
                assert_eq!(answers.into_inner().collect::<Vec<_>>().await.len(), 1);
                let limited = client.server_reflection_info(request()).await.unwrap_err();
                assert_eq!(limited.code(), Code::ResourceExhausted);
            }
            Err(status) => {
                assert!(!reflection, "{status:?}");
                // Like everything that is not known: not without saying who asks.
                assert!(matches!(status.code(), Code::Unimplemented | Code::Unauthenticated));
            }
        }
    }
}
