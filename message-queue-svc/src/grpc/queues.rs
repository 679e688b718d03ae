//! `messagequeue.v1.Queues`.

use proto::server::messagequeue::v1 as pb;
use proto::server::messagequeue::v1::queues_server::Queues;
use svc_runtime::checks::MAX_ITEMS;
use tonic::{Request, Response, Status};

use super::check;
use super::{Handlers, allow, convert, status};
use crate::model::{QueueName, QueueSettings};
use crate::queue::{DeadSelection, PeekState, QueueEngine, QueueInfo, QueueResult};

fn answer<T>(result: QueueResult<T>) -> Result<T, Status> {
    result.map_err(|error| status::of(&error).into())
}

fn shown(queue: &QueueName, info: &QueueInfo) -> Option<pb::Queue> {
    Some(convert::queue(queue, info))
}

#[tonic::async_trait]
impl<E: QueueEngine> Queues for Handlers<E> {
    async fn create_queue(
        &self,
        request: Request<pb::CreateQueueRequest>,
    ) -> Result<Response<pb::CreateQueueResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        let change = check::settings(&mut checks, request.settings);
        let settings = change.apply(&QueueSettings::default());
        if let Err((field, problem)) = settings {
            checks.wrong(format!("settings.{field}"), problem);
        }
        let (queue, settings) = checks.done(queue.zip(settings.ok()))?;
        allow::check(&caller, allow::ADMINISTER, &queue)?;
        let info = answer(self.engine.create(&queue, settings).await)?;
        Ok(Response::new(pb::CreateQueueResponse { queue: shown(&queue, &info) }))
    }

    async fn update_queue(
        &self,
        request: Request<pb::UpdateQueueRequest>,
    ) -> Result<Response<pb::UpdateQueueResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        if request.settings.is_none() {
            checks.wrong("settings", "is required");
        }
        let change = check::settings(&mut checks, request.settings);
        let queue = checks.done(queue)?;
        allow::check(&caller, allow::ADMINISTER, &queue)?;
        let info = answer(self.engine.update(&queue, change).await)?;
        Ok(Response::new(pb::UpdateQueueResponse { queue: shown(&queue, &info) }))
    }

    async fn get_queue(
        &self,
        request: Request<pb::GetQueueRequest>,
    ) -> Result<Response<pb::GetQueueResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let queue = check::queue(&request.queue)?;
        allow::check(&caller, allow::KNOW, &queue)?;
        let info = answer(self.engine.info(&queue).await)?;
        Ok(Response::new(pb::GetQueueResponse { queue: shown(&queue, &info) }))
    }

    async fn list_queues(
        &self,
        request: Request<pb::ListQueuesRequest>,
    ) -> Result<Response<pb::ListQueuesResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let size = checks.page_size(request.page_size);
        let after = checks.page_token(&request.page_token, QueueName::parse);
        checks.done(Some(()))?;
        let known = |queue: &QueueName| allow::knows(&caller, queue);
        let page =
            answer(self.engine.list(after.as_ref().map(QueueName::as_str), size, known).await)?;
        let queues = page.items.iter().map(|(queue, info)| convert::queue(queue, info));
        Ok(Response::new(pb::ListQueuesResponse {
            queues: queues.collect(),
            next_page_token: page.next.unwrap_or_default(),
        }))
    }

    async fn delete_queue(
        &self,
        request: Request<pb::DeleteQueueRequest>,
    ) -> Result<Response<pb::DeleteQueueResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let queue = check::queue(&request.queue)?;
        allow::check(&caller, allow::ADMINISTER, &queue)?;
        answer(self.engine.delete(&queue).await)?;
        Ok(Response::new(pb::DeleteQueueResponse {}))
    }

    async fn purge_queue(
        &self,
        request: Request<pb::PurgeQueueRequest>,
    ) -> Result<Response<pb::PurgeQueueResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let queue = check::queue(&request.queue)?;
        allow::check(&caller, allow::ADMINISTER, &queue)?;
        let purged = answer(self.engine.purge(&queue).await)?;
        Ok(Response::new(pb::PurgeQueueResponse { purged }))
    }

    async fn pause_queue(
        &self,
        request: Request<pb::PauseQueueRequest>,
    ) -> Result<Response<pb::PauseQueueResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let queue = check::queue(&request.queue)?;
        allow::check(&caller, allow::ADMINISTER, &queue)?;
        answer(self.engine.pause(&queue, true).await)?;
        Ok(Response::new(pb::PauseQueueResponse {}))
    }

    async fn resume_queue(
        &self,
        request: Request<pb::ResumeQueueRequest>,
    ) -> Result<Response<pb::ResumeQueueResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let queue = check::queue(&request.queue)?;
        allow::check(&caller, allow::ADMINISTER, &queue)?;
        answer(self.engine.pause(&queue, false).await)?;
        Ok(Response::new(pb::ResumeQueueResponse {}))
    }

    async fn peek_messages(
        &self,
        request: Request<pb::PeekMessagesRequest>,
    ) -> Result<Response<pb::PeekMessagesResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        let limit = check::count(&mut checks, "limit", request.limit, 10, 1_000);
        let state = match pb::MessageState::try_from(request.state) {
            Ok(pb::MessageState::Unspecified | pb::MessageState::Ready) => PeekState::Ready,
            Ok(pb::MessageState::Delayed) => PeekState::Delayed,
            Ok(pb::MessageState::InFlight) => PeekState::InFlight,
            Err(_) => {
                checks.wrong("state", "must be one of the known values");
                PeekState::Ready
            }
        };
        let queue = checks.done(queue)?;
        allow::check(&caller, allow::LOOK, &queue)?;
        let peeked = answer(self.engine.peek(&queue, state, limit).await)?.into_iter();
        let messages = peeked.map(|peeked| convert::peeked(state, peeked)).collect();
        Ok(Response::new(pb::PeekMessagesResponse { messages }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<pb::ListDeadLettersRequest>,
    ) -> Result<Response<pb::ListDeadLettersResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        let size = checks.page_size(request.page_size);
        let after = checks.page_token(&request.page_token, |token| token.parse().ok());
        let queue = checks.done(queue)?;
        allow::check(&caller, allow::LOOK, &queue)?;
        let page = answer(self.engine.dead_letters(&queue, after, size).await)?;
        Ok(Response::new(pb::ListDeadLettersResponse {
            dead_letters: page.items.into_iter().map(convert::dead_letter).collect(),
            next_page_token: page.next.unwrap_or_default(),
        }))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<pb::RedriveDeadLettersRequest>,
    ) -> Result<Response<pb::RedriveDeadLettersResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        let to = request.to_queue.as_deref();
        let to = to.and_then(|to| check::queue_in(&mut checks, "to_queue", to));
        check::rate(&mut checks, "max_rate", request.max_rate);
        let queue = checks.done(queue)?;
        allow::check(&caller, allow::ADMINISTER, &queue)?;
        if let Some(to) = &to {
            allow::check(&caller, allow::SEND, to)?;
        }
        let redriven =
            self.engine.redrive(&queue, request.limit, to.as_ref(), request.max_rate).await;
        Ok(Response::new(pb::RedriveDeadLettersResponse { redriven: answer(redriven)? }))
    }

    async fn delete_dead_letters(
        &self,
        request: Request<pb::DeleteDeadLettersRequest>,
    ) -> Result<Response<pb::DeleteDeadLettersResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        let named = !request.message_ids.is_empty();
        if named {
            checks.length("message_ids", request.message_ids.len(), MAX_ITEMS);
        }
        let most = request.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let ids = request.message_ids.iter().take(MAX_ITEMS);
        let ids = ids.filter_map(|id| check::message_id(&mut checks, id)).take(most).collect();
        let queue = checks.done(queue)?;
        allow::check(&caller, allow::ADMINISTER, &queue)?;
        let which =
            if named { DeadSelection::Ids(ids) } else { DeadSelection::Oldest(request.limit) };
        let deleted = answer(self.engine.delete_dead_letters(&queue, which).await)?;
        Ok(Response::new(pb::DeleteDeadLettersResponse { deleted }))
    }
}
