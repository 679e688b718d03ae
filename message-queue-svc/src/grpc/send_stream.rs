//! The stream of sends: pipelined, answered in order.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt as _;
use proto::server::messagequeue::v1 as pb;
use svc_runtime::malformed;
use svc_runtime::rpc_error::RpcError;
use svc_security::Caller;
use tonic::{Status, Streaming};

use super::message_queue::{Answers, CheckedSend};
use super::{Handlers, allow, convert, status};
use crate::error::QueueError;
use crate::queue::QueueEngine;

/// Requests of one stream that are under way at once.
const PIPELINED: usize = 1_024;

/// Serves one stream: reads while answers are on their way, up to a number.
/// Ends with the client's side, or after what is under way when the service stops.
pub fn serve<E: QueueEngine>(
    handlers: Handlers<E>,
    caller: Caller,
    requests: Streaming<pb::SendRequest>,
) -> Answers<pb::SendStreamResponse> {
    let shutdown = handlers.shutdown.clone();
    let stopping = {
        let shutdown = shutdown.clone();
        async move { shutdown.triggered().await }
    };
    let shared = Arc::new((handlers, caller));
    let answers = requests
        .take_until(Box::pin(stopping))
        .enumerate()
        .then(move |(index, request)| submit(Arc::clone(&shared), index == 0, request))
        .buffered(PIPELINED);
    let last = futures::stream::once(async move { shutdown }).filter_map(|shutdown| async move {
        shutdown.is_triggered().then(|| Err(status::of(&QueueError::ShuttingDown).into()))
    });
    Box::pin(answers.chain(last))
}

type Answer = Pin<Box<dyn Future<Output = Result<pb::SendStreamResponse, Status>> + Send>>;

/// Submits one request, in its turn; what comes out will be its answer.
async fn submit<E: QueueEngine>(
    shared: Arc<(Handlers<E>, Caller)>,
    is_first: bool,
    request: Result<pb::SendRequest, Status>,
) -> Answer {
    let (handlers, caller) = &*shared;
    let request = match request {
        Ok(request) => request,
        Err(broken) => {
            return Box::pin(ready(Err(malformed::explain(status::DOMAIN, broken))));
        }
    };
    match admit(handlers, caller, is_first, request) {
        Ok(CheckedSend { queue, messages, durability }) => {
            let submitted = handlers.engine.submit(queue, messages, durability).await;
            Box::pin(async move {
                let outcome = submitted.await.map_err(|error| status::of(&error));
                Ok(answer(outcome.map(|sent| convert::sent(sent, durability))))
            })
        }
        Err(error) => Box::pin(ready(Ok(answer(Err(error))))),
    }
}

/// Checks a request as if it were a call of its own. The first one was charged with the stream.
fn admit<E: QueueEngine>(
    handlers: &Handlers<E>,
    caller: &Caller,
    is_first: bool,
    request: pb::SendRequest,
) -> Result<CheckedSend, RpcError> {
    caller.charge(u32::from(!is_first))?;
    let checked = handlers.check_send(request)?;
    allow::check(caller, allow::SEND, &checked.queue)?;
    Ok(checked)
}

fn answer(outcome: Result<pb::SendResponse, RpcError>) -> pb::SendStreamResponse {
    let result = match outcome {
        Ok(sent) => pb::send_stream_response::Result::Sent(sent),
        Err(error) => pb::send_stream_response::Result::Error(error.into()),
    };
    pb::SendStreamResponse { result: Some(result) }
}
