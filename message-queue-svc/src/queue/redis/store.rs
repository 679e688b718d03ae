//! Calling the scripts of a queue, and what their failures mean.

use std::sync::Arc;

use redis_link::{Call, Link, LinkError, Script, Value};
use svc_observe::metrics::Metrics;
use svc_observe::metrics::series::QueueCounters;

use super::keys;
use crate::error::QueueError;
use crate::model::QueueName;
use crate::queue::QueueResult;

/// Redis as the engine uses it.
#[derive(Clone, Debug)]
pub struct Store {
    link: Link,
    metrics: Metrics,
}

impl Store {
    pub fn new(link: Link, metrics: Metrics) -> Self {
        Self { link, metrics }
    }

    /// What is counted of a queue. To be asked for once a batch, and only when there is something to
    /// count: of more queues than there are labels, those that have something to tell get one.
    pub fn counters(&self, queue: &QueueName) -> Arc<QueueCounters> {
        self.metrics.queues().of([queue.as_str()])
    }

    /// Messages that became dead letters.
    pub fn count_dead(&self, queue: &QueueName, dead: u64) {
        if dead > 0 {
            self.counters(queue).dead_lettered.add(dead);
        }
    }

    /// Names of queues that have a label of their own.
    pub fn labelled(&self) -> Vec<String> {
        self.metrics.queues().labelled().into_iter().flatten().collect()
    }

    pub fn link(&self) -> &Link {
        &self.link
    }

    /// A call with the queue's keys, and room for arguments.
    pub fn call(
        script: &'static Script,
        queue: &QueueName,
        args: usize,
        bytes: usize,
    ) -> Call<'static> {
        Self::call_with(script, queue, 0, args, bytes)
    }

    /// As [`Store::call`], but so many more keys are still to be given first.
    pub fn call_with(
        script: &'static Script,
        queue: &QueueName,
        keys: usize,
        args: usize,
        bytes: usize,
    ) -> Call<'static> {
        let mut call = script.call_for_keys(keys::OF_QUEUE + keys, args, bytes);
        keys::give(&mut call, queue);
        call
    }

    /// Makes a call that writes.
    pub async fn write(&self, queue: &QueueName, call: &Call<'_>) -> QueueResult<Value> {
        self.raw(queue, call).await.map_err(|error| failed(&error))
    }

    /// Makes a call that may be repeated without harm: if its outcome is
    /// unknown, nothing is lost by saying that it did not happen.
    pub async fn read(&self, queue: &QueueName, call: &Call<'_>) -> QueueResult<Value> {
        self.write(queue, call).await.map_err(harmless)
    }

    async fn raw(&self, queue: &QueueName, call: &Call<'_>) -> Result<Value, LinkError> {
        self.link.invoke_on(queue.hash64(), call).await
    }
}

/// What a failure of Redis means to the caller of an operation that writes.
pub fn failed(error: &LinkError) -> QueueError {
    match error {
        LinkError::Unavailable(detail) => {
            tracing::debug!(
                detail = detail.as_ref().map(tracing::field::display),
                "redis is unavailable"
            );
            QueueError::StorageUnavailable
        }
        LinkError::OutcomeUnknown(detail) => {
            tracing::debug!(
                detail = detail.as_ref().map(tracing::field::display),
                "an outcome is unknown"
            );
            QueueError::OutcomeUnknown
        }
        LinkError::Full(detail) => {
            tracing::warn!(%detail, "redis is full");
            QueueError::StorageFull
        }
        LinkError::Refused { code, detail } => {
            tracing::error!(%code, %detail, "redis refused a command");
            QueueError::Corrupt
        }
        LinkError::Protocol(what) => {
            tracing::error!(what, "an answer of redis has an unexpected shape");
            QueueError::Corrupt
        }
    }
}

/// For operations that change nothing that matters.
pub fn harmless(error: QueueError) -> QueueError {
    match error {
        QueueError::OutcomeUnknown => QueueError::StorageUnavailable,
        other => other,
    }
}

/// A shape error, as an error of the engine.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub fn shape(error: LinkError) -> QueueError {
    failed(&error)
}
