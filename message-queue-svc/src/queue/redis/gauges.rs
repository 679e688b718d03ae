//! What a scrape asks for: the figures of a bounded number of queues, those that GetQueue tells.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use svc_observe::metrics::catalog::collected::{
    DEAD_LETTERS, DELAYED_MESSAGES, LEASED_MESSAGES, OLDEST_MESSAGE_SECONDS, READY_MESSAGES,
};
use svc_observe::metrics::collect::{Collect, CollectError, Samples};

use super::Inner;
use crate::model::QueueName;
use crate::queue::QueueResult;

/// Figures of queues.
#[derive(Debug)]
pub struct Gauges {
    engine: Weak<Inner>,
    most: usize,
}

impl Gauges {
    pub(super) fn new(engine: &Arc<Inner>, most: usize) -> Self {
        Self { engine: Arc::downgrade(engine), most }
    }

    /// Which queues: where there are more than may be told, those whose messages are counted by name
    /// before others, so that what is told of a queue is told whole.
    async fn chosen(&self, engine: &Inner) -> QueueResult<Vec<QueueName>> {
        let mut names = engine.admin.names("-", self.most + 1).await?;
        if names.len() > self.most {
            let mut labelled = engine.store.labelled();
            names.retain(|name| labelled.binary_search(name).is_err());
            labelled.append(&mut names);
            names = labelled;
            names.truncate(self.most);
        }
        Ok(names.iter().filter_map(|name| QueueName::parse(name)).collect())
    }
}

impl Collect for Gauges {
    fn name(&self) -> &'static str {
        "queues"
    }

    #[allow(clippy::cast_precision_loss, reason = "Prometheus' numbers are f64")]
    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, Result<(), CollectError>> {
        async {
            // It has ended: so has what served.
            let Some(engine) = self.engine.upgrade() else { return Ok(()) };
            let queues = self.chosen(&engine).await?;
            for (queue, info) in engine.admin.infos(queues).await? {
                let oldest = info.oldest_age.as_ref().map_or(0.0, Duration::as_secs_f64);
                for (metric, value) in [
                    (&READY_MESSAGES, info.ready as f64),
                    (&LEASED_MESSAGES, info.in_flight as f64),
                    (&DELAYED_MESSAGES, info.delayed as f64),
                    (&DEAD_LETTERS, info.dead_letters as f64),
                    (&OLDEST_MESSAGE_SECONDS, oldest),
                ] {
                    samples.set(metric, [queue.as_str()], value);
                }
            }
            Ok(())
        }
        .boxed()
    }
}
