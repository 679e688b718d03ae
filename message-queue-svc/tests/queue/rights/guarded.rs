//! A service that asks who calls, and calls of any kind by any caller.

use bytes::Bytes;
use futures::stream;
use proto::messagequeue::v1 as pb;
use redis_link::test_util::PrivateRedis;
use svc_runtime::raw;
use tempfile::TempDir;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::*;

/// Callers with one right on `q` each.
pub const CALLERS: [&str; 3] = ["sender", "receiver", "administrator"];
pub const RULES: &str = r#"
    [[rule]]
    callers = ["all"]
    rights = ["send", "receive", "administer"]
    queues = ["*"]
    [[rule]]
    callers = ["sender"]
    rights = ["send"]
    queues = ["q"]
    [[rule]]
    callers = ["administrator"]
    rights = ["administer"]
    queues = ["q"]
"#;
pub const RECEIVER: &str = r#"
    [[rule]]
    callers = ["receiver"]
    rights = ["receive"]
    queues = ["q", "b*"]
"#;

/// A service that asks who calls, and its rules.
pub struct Guarded {
    redis: PrivateRedis,
    pub service: Replica,
    pub files: TempDir,
}

impl Guarded {
    pub async fn start(flags: &[&str]) -> Self {
        let (redis, files) = (PrivateRedis::start(), TempDir::new().unwrap());
        let path = |name: &str| files.path().join(name).display().to_string();
        let callers = ["all", "nobody"].into_iter().chain(CALLERS);
        let token =
            |name| format!("[[token]]\ncaller = \"{name}\"\ntoken = \"{}\"\n", secret(name));
        std::fs::write(path("tokens"), callers.map(token).collect::<String>()).unwrap();
        std::fs::write(path("rules"), format!("{RULES}{RECEIVER}")).unwrap();
        let (tokens, rules) = (path("tokens"), path("rules"));
        let own = ["--auth", "tokens", "--auth-tokens", &tokens, "--auth-rules", &rules];
        let service = Replica::start(&redis, &[&own[..], flags].concat()).await;
        // Anybody may ask that, as often as they like.
        let mut health = HealthClient::new(service.channel.clone());
        let ready = async {
            let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
            while watch.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
        };
        tokio::time::timeout(LIMIT, ready).await.unwrap();
        Self { redis, service, files }
    }

    /// A message that `all` has leased of a new `q`, and that expects a reply: its receipt and id.
    pub async fn leased(&mut self) -> (String, String) {
        let delete = pb::DeleteQueueRequest { queue: "q".into() };
        // At first there is none.
        let _ = self.service.queues.delete_queue(by("all", delete)).await;
        let mut message = outgoing("x");
        message.expects_reply = true;
        let send = pb::SendRequest { queue: "q".into(), messages: vec![message], durability: 0 };
        self.service.mq.send(by("all", send)).await.unwrap();
        let receive = pb::ReceiveRequest { queue: "q".into(), ..Default::default() };
        let received = self.service.mq.receive(by("all", receive)).await.unwrap().into_inner();
        let delivery = &received.deliveries[0];
        let id = delivery.message.as_ref().unwrap().id.clone().unwrap();
        (delivery.receipt.clone(), id)
    }

    /// A digest of all that is kept of queues.
    pub fn kept(&self) -> String {
        let script = "local keys, all = redis.call('KEYS', 'mq:*'), {} table.sort(keys) \
                      for _, key in ipairs(keys) do if key ~= 'mq:keeper' then \
                      all[#all + 1] = key .. redis.call('DUMP', key) end end \
                      return redis.sha1hex(table.concat(all))";
        self.redis.cli(&["EVAL", script, "0"])
    }

    /// Makes a call of any kind, and answers what came first and how it ended.
    pub async fn call(&self, caller: &str, path: &str, request: &[u8]) -> (Option<Bytes>, Status) {
        let requests = by(caller, stream::iter([Bytes::copy_from_slice(request)]));
        let ended = async {
            let mut answers = raw::open(&self.service.channel, path, requests).await?;
            let mut first = None;
            while let Some(answer) = answers.message().await? {
                first.get_or_insert(answer);
            }
            Ok(first)
        };
        match tokio::time::timeout(LIMIT, ended).await.unwrap() {
            Ok(first) => (first, Status::ok("")),
            Err(status) => (None, status),
        }
    }
}

fn secret(caller: &str) -> String {
    format!("token-of-the-{caller}")
}

pub fn by<T>(caller: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let token = format!("Bearer {}", secret(caller)).parse().unwrap();
    request.metadata_mut().insert("authorization", token);
    request
}
