//! `messagequeue.v1.Queues`.

use proto::server::messagequeue::v1 as pb;
use proto::server::messagequeue::v1::queues_server::Queues;
use tonic::{Request, Response, Status};

use super::check::{self, Violations};
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
        let mut wrong = Violations::default();
        let queue = check::queue_in(&mut wrong, "queue", &request.queue);
        let change = check::settings(&mut wrong, request.settings);
        let settings = change.apply(&QueueSettings::default());
        if let Err((field, problem)) = settings {
            wrong.add(format!("settings.{field}"), problem);
        }
        let (queue, settings) = wrong.finish(queue.zip(settings.ok()))?;
        allow::check(&caller, allow::ADMINISTER, &queue)?;
        let info = answer(self.engine.create(&queue, settings).await)?;
        Ok(Response::new(pb::CreateQueueResponse { queue: shown(&queue, &info) }))
    }

    async fn update_queue(
        &self,
        request: Request<pb::UpdateQueueRequest>,
    ) -> Result<Response<pb::UpdateQueueResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut wrong = Violations::default();
        let queue = check::queue_in(&mut wrong, "queue", &request.queue);
        if request.settings.is_none() {
            wrong.add("settings", "is required");
        }
        let change = check::settings(&mut wrong, request.settings);
        let queue = wrong.finish(queue)?;
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
        let mut wrong = Violations::default();
        let size = check::page_size(&mut wrong, request.page_size);
        let after = Some(request.page_token).filter(|token| !token.is_empty());
        if after.as_deref().is_some_and(|token| QueueName::parse(token).is_none()) {
            wrong.add("page_token", "must be the next_page_token of the page before");
        }
        let size = wrong.finish(Some(size))?;
        let known = |queue: &QueueName| allow::knows(&caller, queue);
        let page = answer(self.engine.list(after.as_deref(), size, known).await)?;
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
        let mut wrong = Violations::default();
        let queue = check::queue_in(&mut wrong, "queue", &request.queue);
        let limit = check::count(&mut wrong, "limit", request.limit, 10, 1_000);
        let state = match pb::MessageState::try_from(request.state) {
            Ok(pb::MessageState::Unspecified | pb::MessageState::Ready) => PeekState::Ready,
            Ok(pb::MessageState::Delayed) => PeekState::Delayed,
            Ok(pb::MessageState::InFlight) => PeekState::InFlight,
            Err(_) => {
                wrong.add("state", "must be one of the known values");
                PeekState::Ready
            }
        };
        let queue = wrong.finish(queue)?;
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
        let mut wrong = Violations::default();
        let queue = check::queue_in(&mut wrong, "queue", &request.queue);
        let size = check::page_size(&mut wrong, request.page_size);
        let mut after = None;
        if !request.page_token.is_empty() {
            after = request.page_token.parse().ok();
            if after.is_none() {
                wrong.add("page_token", "must be the next_page_token of the page before");
            }
        }
        let queue = wrong.finish(queue)?;
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
        let mut wrong = Violations::default();
        let queue = check::queue_in(&mut wrong, "queue", &request.queue);
        let to = request.to_queue.as_deref();
        let to = to.and_then(|to| check::queue_in(&mut wrong, "to_queue", to));
        if request.max_rate.is_some_and(|rate| !(0.001..=1e9).contains(&rate)) {
            wrong.add("max_rate", "must be 0.001 to 1,000,000,000");
        }
        let queue = wrong.finish(queue)?;
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
        let mut wrong = Violations::default();
        let queue = check::queue_in(&mut wrong, "queue", &request.queue);
        if request.message_ids.len() > check::MAX_ITEMS {
            wrong.add_as("TOO_MANY_ITEMS", "message_ids", "must be 1,000 at most");
        }
        let named = !request.message_ids.is_empty();
        let most = request.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let ids = request.message_ids.iter().take(check::MAX_ITEMS);
        let ids = ids.filter_map(|id| check::message_id(&mut wrong, id)).take(most).collect();
        let queue = wrong.finish(queue)?;
        allow::check(&caller, allow::ADMINISTER, &queue)?;
        let which =
            if named { DeadSelection::Ids(ids) } else { DeadSelection::Oldest(request.limit) };
        let deleted = answer(self.engine.delete_dead_letters(&queue, which).await)?;
        Ok(Response::new(pb::DeleteDeadLettersResponse { deleted }))
    }
}
