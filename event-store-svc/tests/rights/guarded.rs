//! A replica that asks who calls, beside one that does not, over the same Redis.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use proto::eventstore::v1::append_stream_response::Result as Answer;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use svc_runtime::rpc_error::status_of;
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::support::{Service, raw};

pub const RIGHTS: [&str; 4] = ["append", "read", "consume", "administer"];

pub struct Guarded {
    pub redis: PrivateRedis,
    /// Asks nobody who calls.
    pub open: Service,
    pub guarded: Service,
    files: TempDir,
}

/// A caller's token.
pub fn token(caller: &str) -> String {
    format!("the-token-of-{caller}")
}

/// A rule for topics.
pub fn rule(caller: &str, rights: &[&str], topics: &[&str]) -> String {
    format!("[[rule]]\ncallers = [{caller:?}]\nrights = {rights:?}\ntopics = {topics:?}\n")
}

impl Guarded {
    /// With these callers, and these rules.
    pub async fn start(callers: &[&str], rules: &str, flags: &[&str]) -> Self {
        let redis = PrivateRedis::start();
        let files = tempfile::tempdir().unwrap();
        let tokens = callers
            .iter()
            .map(|caller| format!("[[token]]\ncaller = {caller:?}\ntoken = {:?}\n", token(caller)));
        std::fs::write(files.path().join("tokens"), tokens.collect::<String>()).unwrap();
        std::fs::write(files.path().join("rules"), rules).unwrap();
        let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
        let (tokens, rules) = (path("tokens"), path("rules"));
        let own = ["--auth", "tokens", "--auth-tokens", &tokens, "--auth-rules", &rules];
        let flags: Vec<_> = own.into_iter().chain(flags.iter().copied()).collect();
        let open = Service::start(&redis).await;
        let guarded = Service::start_with(&redis, &flags).await;
        let started = Self { redis, open, guarded, files };
        // What it answers to callers that it knows tells whether it reaches Redis.
        let reached = || async {
            let list = vec![ListTopicsRequest::default().encode_to_vec().into()];
            started.ask("Topics/ListTopics", false, list, callers[0]).await.is_ok()
        };
        crate::soon("the guarded replica reaches redis", reached).await;
        started
    }

    /// Other rules.
    pub fn rules(&self, rules: &str) {
        let path: PathBuf = self.files.path().join("rules");
        let next = self.files.path().join("next");
        std::fs::write(&next, rules).unwrap();
        std::fs::rename(next, path).unwrap();
    }

    /// The first answer to these messages; a stream of them stays open until then.
    pub async fn ask(
        &self,
        method: &str,
        is_stream: bool,
        messages: Vec<Bytes>,
        caller: &str,
    ) -> Result<Bytes, Status> {
        let rest = if is_stream {
            futures::stream::pending().boxed()
        } else {
            futures::stream::empty().boxed()
        };
        let messages = tokio_stream::iter(messages).chain(rest);
        let asked = async {
            let token = token(caller);
            let mut answers =
                raw::open(&self.guarded.channel, method, messages, Some(&token)).await?;
            let first = answers.message().await?.expect("an answer");
            if method == "EventStore/AppendStream"
                && let Some(Answer::Error(error)) =
                    AppendStreamResponse::decode(first.clone()).unwrap().result
            {
                return Err(status_of(&error));
            }
            Ok(first)
        };
        timeout(Duration::from_secs(10), asked).await.expect("an answer in time")
    }
}

/// Every method of the package, and whether its client streams.
pub fn methods() -> BTreeMap<String, bool> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let own = files.file.iter().filter(|file| file.package() == "eventstore.v1");
    own.flat_map(|file| &file.service)
        .flat_map(|service| {
            let name = |method: &prost_types::MethodDescriptorProto| {
                format!("{}/{}", service.name(), method.name())
            };
            service.method.iter().map(move |method| (name(method), method.client_streaming()))
        })
        .collect()
}

/// Checks that something was denied: the right, the topic and the caller are named.
#[track_caller]
pub fn assert_denied(
    what: &str,
    asked: Result<Bytes, Status>,
    topic: &str,
    caller: &str,
) -> String {
    let Err(status) = asked else { panic!("{what} was allowed to {caller}") };
    assert_eq!(status.code(), Code::PermissionDenied, "{what} of {caller}: {status:?}");
    let facts = crate::support::assert_error(&status, Code::PermissionDenied, "PERMISSION_DENIED");
    assert_eq!((&*facts.metadata["topic"], &*facts.metadata["caller"]), (topic, caller), "{what}");
    facts.metadata["right"].clone()
}
