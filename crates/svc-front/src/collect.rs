//! Gauges of the server itself (connections, and what was refused) and of Redis.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use redis_link::{Link, cmd, values};
use svc_observe::metrics::catalog::collected::{
    AUTH_DENIED, REDIS_MEMORY_MAX_BYTES, REDIS_MEMORY_USED_BYTES, REDIS_POOL_CONNECTIONS, REDIS_UP,
    SERVER_CONNECTIONS,
};
use svc_observe::metrics::collect::{Collect, CollectError, Samples};
use svc_security::Security;
use tokio::time::timeout;

/// How long Redis may take to answer; less than a collector may.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Asks what guards the server.
#[derive(Debug)]
pub(crate) struct Guarded(pub(crate) Security);

impl Collect for Guarded {
    fn name(&self) -> &'static str {
        "server"
    }

    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, Result<(), CollectError>> {
        async {
            samples.set(&SERVER_CONNECTIONS, [], self.0.open_connections() as f64);
            for (reason, count) in self.0.refused().iter() {
                samples.set(&AUTH_DENIED, [reason.name()], count as f64);
            }
            Ok(())
        }
        .boxed()
    }
}

/// Asks Redis, which may be away: that is a value too.
#[derive(Debug)]
pub(crate) struct RedisServer(pub(crate) Link);

impl RedisServer {
    /// What it says of its memory; nothing when the user may not ask. None: it does not answer.
    async fn memory(&self) -> Option<String> {
        let mut info = cmd("INFO");
        info.arg("memory");
        let answer = timeout(ANSWER_LIMIT, self.0.query_if_allowed(&info)).await.ok()?.ok()?;
        Some(answer.and_then(|text| values::text(text).ok()).unwrap_or_default())
    }
}

impl Collect for RedisServer {
    fn name(&self) -> &'static str {
        "redis"
    }

    #[allow(clippy::cast_precision_loss, reason = "there are at most 1024 connections")]
    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, Result<(), CollectError>> {
        async {
            let (in_use, idle) = self.0.blocking().usage();
            samples.set(&REDIS_POOL_CONNECTIONS, ["in_use"], in_use as f64);
            samples.set(&REDIS_POOL_CONNECTIONS, ["idle"], idle as f64);
            let memory = self.memory().await;
            samples.set(&REDIS_UP, [], f64::from(u8::from(memory.is_some())));
            for (metric, field) in
                [(&REDIS_MEMORY_USED_BYTES, "used_memory"), (&REDIS_MEMORY_MAX_BYTES, "maxmemory")]
            {
                let value = memory.as_deref().and_then(|info| values::info_field(info, field));
                if let Some(bytes) = value.and_then(|text| text.parse().ok()) {
                    samples.set(metric, [], bytes);
                }
            }
            Ok(())
        }
        .boxed()
    }
}
