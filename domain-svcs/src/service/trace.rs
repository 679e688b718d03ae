//! Where work is in its trace. What the shop sends carries the context that is current, as headers
//! of messages and events ([`svc_observe::context`]); whoever handles it goes on from there. A
//! service without traces passes on what it got.
//!
//! Spans are those of OpenTelemetry's conventions for messaging: `send <destination>` (PRODUCER)
//! around the call, `process <destination>` (CONSUMER) around the handler, its child and linked to
//! it. <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>

use std::collections::BTreeMap;
use std::future::Future;

use svc_observe::context::context_of;
use svc_observe::trace::{Span, spans};

use super::consume::Verdict;

/// What events and messages go through.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Through {
    /// A topic of the event store.
    Topic,
    /// A queue of the message queue.
    Queue,
}

/// Headers of an event or a message.
pub(super) type Headers = BTreeMap<String, String>;

/// Sends something of type `what`, which has to be put together within `work`: headers that are
/// made there carry the context of the sending.
pub(crate) async fn sending<T, E>(
    through: Through,
    destination: &str,
    what: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Some(span) = spans().producer(|| format!("send {destination}")) else {
        return work.await;
    };
    describe(&span, through, "send", destination, what);
    let tell = |span: &Span, sent: &Result<T, E>| {
        if sent.is_err() {
            span.fail("not sent");
        }
    };
    span.run_then(work, tell).await
}

/// Handles something that was sent, in the trace of its sender.
pub(super) async fn handling(
    through: Through,
    destination: &str,
    what: &str,
    headers: Option<&Headers>,
    work: impl Future<Output = Verdict>,
) -> Verdict {
    let (sender, spans) = (headers.and_then(context_of), spans());
    if sender.is_none() && !spans.are_on() {
        return work.await;
    }
    let span = spans.consumer(&format!("process {destination}"), sender);
    describe(&span, through, "process", destination, what);
    let tell = |span: &Span, verdict: &Verdict| match verdict {
        Verdict::Ack => {}
        Verdict::Retry { .. } => span.fail("tried again later"),
        Verdict::SetAside { .. } => span.fail("set aside"),
    };
    span.run_then(work, tell).await
}

fn describe(span: &Span, through: Through, operation: &'static str, to: &str, what: &str) {
    let system = match through {
        Through::Topic => "eventstore",
        Through::Queue => "messagequeue",
    };
    span.set("messaging.system", system);
    span.set("messaging.operation.type", operation);
    span.set("messaging.destination.name", to.to_owned());
    span.set("messaging.message.type", what.to_owned());
}
