//! `eventstore.v1.Topics`.

use std::time::Duration;

use proto::server::eventstore::v1 as pb;
use proto::server::eventstore::v1::topics_server::Topics;
use svc_runtime::checks::Checks;
use svc_security::Right;
use tonic::{Request, Response, Status};

use super::allow::{Allowed as _, asked};
use super::check::{self, EventChecks as _};
use super::paging::{page, token};
use super::{Handlers, convert};
use crate::model::{Name, Position, Retention, TopicSettings};
use crate::store::{Store, Truncate};

const MAX_DEDUP_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// A hundred years: further back there is nothing.
const MAX_AGE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn settings(checks: &mut Checks, settings: Option<pb::TopicSettings>) -> TopicSettings {
    let settings = settings.unwrap_or_default();
    let dedup_window = checks.duration(
        "settings.dedup_window",
        settings.dedup_window,
        Duration::ZERO..=MAX_DEDUP_WINDOW,
    );
    let retention = settings.retention.map(|retention| {
        let field = |name: &str| format!("settings.retention.{name}");
        for (name, limit) in
            [("max_events", retention.max_events), ("max_bytes", retention.max_bytes)]
        {
            if limit == Some(0) {
                checks.wrong(field(name), "must be at least 1, or absent");
            }
        }
        let age = Duration::from_secs(1)..=MAX_AGE;
        Retention {
            max_events: retention.max_events,
            max_age: checks.duration(&field("max_age"), retention.max_age, age),
            max_bytes: retention.max_bytes,
            keep_unacknowledged: retention.keep_unacknowledged.unwrap_or(true),
        }
    });
    TopicSettings { retention, dedup_window }
}

#[tonic::async_trait]
impl<S: Store> Topics for Handlers<S> {
    async fn create_topic(
        &self,
        request: Request<pb::CreateTopicRequest>,
    ) -> Result<Response<pb::CreateTopicResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let topic = checks.name("topic", &request.topic);
        let settings = settings(&mut checks, request.settings);
        let topic = checks.done(topic)?;
        caller.may(Right::Administer, &topic)?;
        let topic = convert::topic(&self.store.create_topic(&topic, settings).await?);
        Ok(Response::new(pb::CreateTopicResponse { topic: Some(topic) }))
    }

    async fn update_topic(
        &self,
        request: Request<pb::UpdateTopicRequest>,
    ) -> Result<Response<pb::UpdateTopicResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let topic = checks.name("topic", &request.topic);
        if request.settings.is_none() {
            checks.wrong("settings", "must be given: what is to change");
        }
        let settings = settings(&mut checks, request.settings);
        let topic = checks.done(topic)?;
        caller.may(Right::Administer, &topic)?;
        let topic = convert::topic(&self.store.update_topic(&topic, settings).await?);
        Ok(Response::new(pb::UpdateTopicResponse { topic: Some(topic) }))
    }

    async fn get_topic(
        &self,
        request: Request<pb::GetTopicRequest>,
    ) -> Result<Response<pb::GetTopicResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let topic = checks.name("topic", &request.topic);
        let topic = checks.done(topic)?;
        caller.may_know(&topic)?;
        let topic = convert::topic(&self.store.get_topic(&topic).await?);
        Ok(Response::new(pb::GetTopicResponse { topic: Some(topic) }))
    }

    async fn list_topics(
        &self,
        request: Request<pb::ListTopicsRequest>,
    ) -> Result<Response<pb::ListTopicsResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let page = page(&mut checks, request.page_size, &request.page_token);
        checks.done(Some(()))?;
        let known = |topic: &Name| caller.is_told_of(topic);
        let found = self.store.list_topics(page.after.as_deref(), page.limit, known).await?;
        let topics = found.items.iter().map(convert::topic).collect();
        Ok(Response::new(pb::ListTopicsResponse { topics, next_page_token: token(found.next) }))
    }

    async fn truncate_topic(
        &self,
        request: Request<pb::TruncateTopicRequest>,
    ) -> Result<Response<pb::TruncateTopicResponse>, Status> {
        use pb::truncate_topic_request::Before;
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let topic = checks.name("topic", &request.topic);
        let before = match request.before {
            None => {
                checks.wrong("before", "must be set: give before_position or before_time");
                None
            }
            Some(Before::BeforePosition(text)) => checks.position("before_position", &text),
            Some(Before::BeforeTime(time)) => checks.time("before_time", time).map(|time| {
                // Recorded before this time: positions have whole milliseconds.
                let ms = time.as_nanos().div_ceil(1_000_000);
                Position::at(u64::try_from(ms).unwrap_or(u64::MAX))
            }),
        };
        let (topic, before) = checks.done(topic.zip(before))?;
        caller.may(Right::Administer, &topic)?;
        let removed = self.store.truncate_topic(&topic, Truncate { before }).await?;
        Ok(Response::new(pb::TruncateTopicResponse { removed }))
    }

    async fn delete_topic(
        &self,
        request: Request<pb::DeleteTopicRequest>,
    ) -> Result<Response<pb::DeleteTopicResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let topic = checks.name("topic", &request.topic);
        let topic = checks.done(topic)?;
        caller.may(Right::Administer, &topic)?;
        self.store.delete_topic(&topic).await?;
        Ok(Response::new(pb::DeleteTopicResponse {}))
    }

    async fn list_subjects(
        &self,
        request: Request<pb::ListSubjectsRequest>,
    ) -> Result<Response<pb::ListSubjectsResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let topic = checks.name("topic", &request.topic);
        let page = page(&mut checks, request.page_size, &request.page_token);
        if let Some(after) = page.after.as_deref() {
            checks.page_token(after, |after| after.parse::<u64>().ok());
        }
        let topic = checks.done(topic)?;
        caller.may(Right::Read, &topic)?;
        let found = self.store.list_subjects(&topic, page.after.as_deref(), page.limit).await?;
        let subjects = found
            .items
            .into_iter()
            .map(|(subject, last_revision)| pb::SubjectInfo { subject, last_revision })
            .collect();
        Ok(Response::new(pb::ListSubjectsResponse { subjects, next_page_token: token(found.next) }))
    }
}
