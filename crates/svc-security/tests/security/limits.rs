//! Requests a second: by caller, by address, in streams.

use std::time::Duration;

use futures::stream;
use svc_runtime::rpc_error::ErrorFacts;
use svc_security::Reason;
use tonic::{Code, Status};

use crate::echo::{ask, open};
use crate::server::{Files, assert_unauthenticated, client};
use crate::tokens::{FLAGS, RULES, TOKEN, tokens};

fn wait_of(status: &Status) -> Duration {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let facts = ErrorFacts::of(status).unwrap();
    assert_eq!((&*facts.reason, &*facts.domain), ("RATE_LIMITED", "test.v1"));
    facts.retry_after.expect("it says when to come again")
}

#[tokio::test]
async fn each_caller_has_its_own_limit_and_is_told_when_to_come_again() {
    let files = Files::new();
    let other = "shop-token-00000001";
    files.put("tokens.toml", tokens("billing", TOKEN) + &tokens("shop", other));
    files.put("rules.toml", RULES);
    let limits = "--requests-per-second 2 --request-burst 5";
    let served = files.serve(&format!("{FLAGS} {limits}")).await;
    let billing = client(None, None, Some(&files.token(TOKEN)));
    // Two connections of one caller.
    let (one, two) = (served.connect(&billing), served.connect(&billing));
    let mut refused = None;
    for _ in 0..20 {
        assert!(ask(&one, "").await.is_ok() || refused.is_some());
        if let Err(status) = ask(&two, "").await {
            refused = Some(status);
            break;
        }
        // The machine may be slow enough for the bucket to fill up again.
    }
    let status = refused.expect("a burst of 20 is more than allowed");
    let wait = wait_of(&status);
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(500), "{wait:?}");
    assert_eq!(ErrorFacts::of(&status).unwrap().metadata["caller"], "billing");
    assert!(served.security.refused().of(Reason::RateLimited) >= 1);

    let shop = served.connect(&client(None, None, Some(&files.token(other))));
    assert_eq!(ask(&shop, "").await.unwrap(), "shop", "another caller has a limit of its own");
    tokio::time::sleep(wait).await;
    assert!(ask(&one, "").await.is_ok(), "RetryInfo said that this would do");
}

#[tokio::test]
async fn who_is_not_known_is_limited_by_address() {
    let files = Files::new();
    files.put("tokens.toml", tokens("billing", TOKEN));
    files.put("rules.toml", RULES);
    let served = files.serve(&format!("{FLAGS} --requests-per-second 1 --request-burst 3")).await;
    let guess = client(None, None, Some(&files.token("billing-token-999999")));
    let (one, two) = (served.connect(&guess), served.connect(&guess));
    assert_unauthenticated(ask(&one, "").await, "unknown_token");
    let mut refused = 0;
    for _ in 0..10 {
        refused += usize::from(ask(&two, "").await.unwrap_err().code() == Code::ResourceExhausted);
    }
    assert!(refused >= 1, "guessing goes on as fast as one likes");
    let right = served.connect(&client(None, None, Some(&files.token(TOKEN))));
    assert!(ask(&right, "").await.is_ok(), "who is known is not in the way of who is not");
}

#[tokio::test]
async fn messages_of_a_stream_are_requests_and_no_limit_is_none() {
    let files = Files::new();
    let served = files.serve("--requests-per-second 1 --request-burst 3").await;
    let channel = served.connect(&client(None, None, None));
    let asked = stream::iter((0..50).map(|_| String::new()));
    let mut answers = open(&channel, asked).await.unwrap();
    let mut answered = 0;
    let status = loop {
        match answers.message().await {
            Ok(Some(_)) => answered += 1,
            Ok(None) => panic!("all {answered} were answered"),
            Err(status) => break status,
        }
    };
    wait_of(&status);
    assert!(answered >= 2, "opening it is one of three");

    let free = files.serve("").await;
    let channel = free.connect(&client(None, None, None));
    for _ in 0..200 {
        assert!(ask(&channel, "").await.is_ok());
    }
}
