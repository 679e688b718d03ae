//! `eventstore.v1.ConsumerGroups`; its stream is in `consume`.

use std::time::Duration;

use futures::stream::BoxStream;
use proto::server::eventstore::v1 as pb;
use proto::server::eventstore::v1::consumer_groups_server::ConsumerGroups;
use svc_runtime::checks::Checks;
use svc_security::Right;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, Streaming};

use super::allow::{Allowed as _, OF_GROUPS, asked};
use super::check::{self, EventChecks as _};
use super::groups_check::{self, MAX_WAIT, Receipts};
use super::paging::{page, token};
use super::{Handlers, convert, status};
use crate::figures;
use crate::model::{Name, ParkedPlace, Receipt, Settle};
use crate::store::{Member as _, Settled, Store};

/// Checks the two names that every request has.
fn names(checks: &mut Checks, topic: &str, group: &str) -> Option<(Name, Name)> {
    let (topic, group) = (checks.name("topic", topic), checks.name("group", group));
    topic.zip(group)
}

/// As [`names`], where nothing else can be wrong.
fn only_names(topic: &str, group: &str) -> Result<(Name, Name), Status> {
    let mut checks = check::begin();
    let names = names(&mut checks, topic, group);
    Ok(checks.done(names)?)
}

/// The outcome of what is no receipt of the group.
pub fn no_receipt(text: String) -> pb::Outcome {
    let error = status::error(
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
        format!("receipt {}", Receipt::RULE),
    );
    pb::Outcome { receipt: text, error: Some(error.violation("receipts", Receipt::RULE).into()) }
}

impl<S: Store> Handlers<S> {
    /// Settles receipts one way; answers in their order.
    pub(super) async fn settle(
        &self,
        topic: &Name,
        group: &Name,
        receipts: Receipts,
        settle: &Settle,
    ) -> Result<Vec<(pb::Outcome, Option<(Receipt, Settled)>)>, Status> {
        let items: Vec<_> = receipts
            .iter()
            .filter_map(|(_, receipt)| Some(((*receipt)?, settle.clone())))
            .collect();
        let settled = if items.is_empty() {
            self.store.get_group(topic, group).await?;
            Vec::new()
        } else {
            self.store.settle(topic, group, items).await?
        };
        let mut settled = settled.into_iter();
        let outcome = |(text, receipt): (String, Option<Receipt>)| match receipt
            .and_then(|receipt| Some((receipt, settled.next()?)))
        {
            Some((receipt, result)) => {
                (convert::outcome(text, result.as_ref()), Some((receipt, result)))
            }
            None => (no_receipt(text), None),
        };
        Ok(receipts.into_iter().map(outcome).collect())
    }

    async fn outcomes(
        &self,
        topic: &Name,
        group: &Name,
        receipts: Receipts,
        settle: &Settle,
    ) -> Result<Vec<pb::Outcome>, Status> {
        let settled = self.settle(topic, group, receipts, settle).await?;
        let done = settled.iter().filter_map(|(_, settled)| settled.as_ref());
        let done = done.filter(|(_, result)| is_settled(settle, result));
        self.elsewhere.tell(topic, group, done.map(|(receipt, _)| *receipt));
        Ok(settled.into_iter().map(|(outcome, _)| outcome).collect())
    }
}

#[tonic::async_trait]
impl<S: Store> ConsumerGroups for Handlers<S> {
    async fn create_group(
        &self,
        request: Request<pb::CreateGroupRequest>,
    ) -> Result<Response<pb::CreateGroupResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let names = names(&mut checks, &request.topic, &request.group);
        let settings = groups_check::settings(&mut checks, request.settings);
        let (topic, group) = checks.done(names)?;
        caller.may_any(OF_GROUPS, &topic)?;
        let group = convert::group(self.store.create_group(&topic, &group, settings).await?);
        Ok(Response::new(pb::CreateGroupResponse { group: Some(group) }))
    }

    async fn update_group(
        &self,
        request: Request<pb::UpdateGroupRequest>,
    ) -> Result<Response<pb::UpdateGroupResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let names = names(&mut checks, &request.topic, &request.group);
        let change = groups_check::change(&mut checks, request.settings);
        let (topic, group) = checks.done(names)?;
        caller.may_any(OF_GROUPS, &topic)?;
        let group = convert::group(self.store.update_group(&topic, &group, change).await?);
        Ok(Response::new(pb::UpdateGroupResponse { group: Some(group) }))
    }

    async fn get_group(
        &self,
        request: Request<pb::GetGroupRequest>,
    ) -> Result<Response<pb::GetGroupResponse>, Status> {
        let (caller, request) = asked(request)?;
        let (topic, group) = only_names(&request.topic, &request.group)?;
        caller.may_any(OF_GROUPS, &topic)?;
        let group = convert::group(self.store.get_group(&topic, &group).await?);
        Ok(Response::new(pb::GetGroupResponse { group: Some(group) }))
    }

    async fn list_groups(
        &self,
        request: Request<pb::ListGroupsRequest>,
    ) -> Result<Response<pb::ListGroupsResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let topic = checks.name("topic", &request.topic);
        let page = page(&mut checks, request.page_size, &request.page_token);
        let topic = checks.done(topic)?;
        caller.may_any(OF_GROUPS, &topic)?;
        let found = self.store.list_groups(&topic, page.after.as_deref(), page.limit).await?;
        let groups = found.items.into_iter().map(convert::group).collect();
        Ok(Response::new(pb::ListGroupsResponse { groups, next_page_token: token(found.next) }))
    }

    async fn delete_group(
        &self,
        request: Request<pb::DeleteGroupRequest>,
    ) -> Result<Response<pb::DeleteGroupResponse>, Status> {
        let (caller, request) = asked(request)?;
        let (topic, group) = only_names(&request.topic, &request.group)?;
        caller.may(Right::Administer, &topic)?;
        self.store.delete_group(&topic, &group).await?;
        Ok(Response::new(pb::DeleteGroupResponse {}))
    }

    async fn reset_group(
        &self,
        request: Request<pb::ResetGroupRequest>,
    ) -> Result<Response<pb::ResetGroupResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let names = names(&mut checks, &request.topic, &request.group);
        let start = checks.start("start", request.start, false);
        let (topic, group) = checks.done(names)?;
        caller.may(Right::Administer, &topic)?;
        let start = start.unwrap_or_default();
        let group = convert::group(self.store.reset_group(&topic, &group, start).await?);
        Ok(Response::new(pb::ResetGroupResponse { group: Some(group) }))
    }

    type ConsumeStream = BoxStream<'static, Result<pb::ConsumeResponse, Status>>;

    async fn consume(
        &self,
        request: Request<Streaming<pb::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let (caller, requests) = asked(request)?;
        super::consume::consume(self.clone(), caller, requests).await
    }

    async fn fetch(
        &self,
        request: Request<pb::FetchRequest>,
    ) -> Result<Response<pb::FetchResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let names = names(&mut checks, &request.topic, &request.group);
        let consumer = checks.name("consumer", &request.consumer);
        let max_events = checks.number("max_events", request.max_events, 1..=1_000).unwrap_or(1);
        let wait = checks.duration("wait", request.wait, Duration::ZERO..=MAX_WAIT);
        let ((topic, group), consumer) = checks.done(names.zip(consumer))?;
        caller.may(Right::Consume, &topic)?;

        let mut deliveries = self.store.fetch(&topic, &group, &consumer, max_events).await?;
        let wait = wait.unwrap_or_default();
        if deliveries.is_empty() && !wait.is_zero() {
            let mut member = self.store.join(&topic, &group, &consumer).await?;
            member.add_credit(max_events);
            tokio::select! {
                // What comes after the wait is given back with the member.
                found = timeout(wait, member.next()) => deliveries = found.unwrap_or(Ok(Vec::new()))?,
                () = self.shutdown.triggered() => {}
            }
        }
        figures::delivered(&self.figures.of_group(&topic, &group), &deliveries);
        let deliveries = deliveries.iter().map(|found| convert::delivery(found, &topic, &group));
        Ok(Response::new(pb::FetchResponse { deliveries: deliveries.collect() }))
    }

    async fn ack(
        &self,
        request: Request<pb::AckRequest>,
    ) -> Result<Response<pb::AckResponse>, Status> {
        let (caller, request) = asked(request)?;
        let (topic, group) = only_names(&request.topic, &request.group)?;
        let mut checks = check::begin();
        let receipts =
            groups_check::receipts(&mut checks, "receipts", request.receipts, &topic, &group);
        let receipts = checks.done(Some(receipts))?;
        caller.may(Right::Consume, &topic)?;
        let outcomes = self.outcomes(&topic, &group, receipts, &Settle::Ack).await?;
        Ok(Response::new(pb::AckResponse { outcomes }))
    }

    async fn nack(
        &self,
        request: Request<pb::NackRequest>,
    ) -> Result<Response<pb::NackResponse>, Status> {
        let (caller, request) = asked(request)?;
        let (topic, group) = only_names(&request.topic, &request.group)?;
        let mut checks = check::begin();
        let receipts =
            groups_check::receipts(&mut checks, "receipts", request.receipts, &topic, &group);
        let nack =
            groups_check::nack(&mut checks, "", request.action, request.delay, request.reason);
        let nack = checks.done(nack)?;
        caller.may(Right::Consume, &topic)?;
        let outcomes = self.outcomes(&topic, &group, receipts, &nack).await?;
        Ok(Response::new(pb::NackResponse { outcomes }))
    }

    async fn extend(
        &self,
        request: Request<pb::ExtendRequest>,
    ) -> Result<Response<pb::ExtendResponse>, Status> {
        let (caller, request) = asked(request)?;
        let (topic, group) = only_names(&request.topic, &request.group)?;
        let mut checks = check::begin();
        let receipts =
            groups_check::receipts(&mut checks, "receipts", request.receipts, &topic, &group);
        let extend = groups_check::extend(&mut checks, "", request.by);
        let extend = checks.done(Some(extend))?;
        caller.may(Right::Consume, &topic)?;
        let outcomes = self.outcomes(&topic, &group, receipts, &extend).await?;
        Ok(Response::new(pb::ExtendResponse { outcomes }))
    }

    async fn list_parked(
        &self,
        request: Request<pb::ListParkedRequest>,
    ) -> Result<Response<pb::ListParkedResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
        let names = names(&mut checks, &request.topic, &request.group);
        let page = page(&mut checks, request.page_size, &request.page_token);
        if let Some(after) = page.after.as_deref() {
            checks.page_token(after, ParkedPlace::parse);
        }
        let (topic, group) = checks.done(names)?;
        caller.may_any(OF_GROUPS, &topic)?;
        let found =
            self.store.list_parked(&topic, &group, page.after.as_deref(), page.limit).await?;
        let events =
            found.items.iter().map(|parked| convert::parked(parked, &topic, &group)).collect();
        Ok(Response::new(pb::ListParkedResponse { events, next_page_token: token(found.next) }))
    }

    async fn replay_parked(
        &self,
        request: Request<pb::ReplayParkedRequest>,
    ) -> Result<Response<pb::ReplayParkedResponse>, Status> {
        let (caller, request) = asked(request)?;
        let (topic, group) = only_names(&request.topic, &request.group)?;
        let mut checks = check::begin();
        let selection =
            groups_check::selection(&mut checks, request.limit, request.receipts, &topic, &group);
        let selection = checks.done(selection)?;
        caller.may(Right::Administer, &topic)?;
        let replayed = self.store.unpark(&topic, &group, selection, true).await?;
        Ok(Response::new(pb::ReplayParkedResponse { replayed }))
    }

    async fn discard_parked(
        &self,
        request: Request<pb::DiscardParkedRequest>,
    ) -> Result<Response<pb::DiscardParkedResponse>, Status> {
        let (caller, request) = asked(request)?;
        let (topic, group) = only_names(&request.topic, &request.group)?;
        let mut checks = check::begin();
        let selection =
            groups_check::selection(&mut checks, request.limit, request.receipts, &topic, &group);
        let selection = checks.done(selection)?;
        caller.may(Right::Administer, &topic)?;
        let discarded = self.store.unpark(&topic, &group, selection, false).await?;
        Ok(Response::new(pb::DiscardParkedResponse { discarded }))
    }
}

/// Whether a delivery is off a consumer's hands now.
pub fn is_settled(settle: &Settle, result: &Settled) -> bool {
    match (settle, result) {
        (Settle::Extend { .. }, Ok(_)) => false,
        // Lost is as good as settled: it is somebody else's.
        _ => true,
    }
}
