//! Plays a history on the service and on the model, and compares what they answer.

use std::collections::HashMap;

use proto::eventstore::v1 as pb;
use proto::eventstore::v1::expectation::Expected as Is;
use proto::eventstore::v1::load_subject_response::Item;
use proto::eventstore::v1::start::At as StartAt;
use svc_runtime::rpc_error::ErrorFacts;
use tonic::Status;

use crate::model::{Batch, Event, Expected, Group, Refused, Topic};
use crate::ops::{At, Expect, How, Op};
use crate::support::{Service, millis};

const GROUPS: [&str; 2] = ["free", "ordered"];

struct Player<'a> {
    service: &'a Service,
    topic: &'a str,
    model: Topic,
    batches: Vec<Batch>,
    held: [Vec<pb::Delivery>; 2],
    settled: [Vec<(pb::Delivery, How)>; 2],
}

pub async fn play(service: &Service, topic: &str, history: &[Op]) {
    let day = Some(millis(24 * 3_600_000));
    let settings = pb::TopicSettings { dedup_window: day, retention: None };
    let create = pb::CreateTopicRequest { topic: topic.into(), settings: Some(settings) };
    service.topics().create_topic(create).await.unwrap();
    for (group, ordering) in GROUPS.into_iter().zip([pb::Ordering::None, pb::Ordering::Subject]) {
        let settings = pb::GroupSettings {
            ordering: ordering.into(),
            max_deliveries: Some(3),
            ack_timeout: Some(millis(3_600_000)),
            ..Default::default()
        };
        service.create_group(topic, group, settings).await;
    }
    let mut model = Topic::default();
    model.groups[1].ordered = true;
    let (held, settled) = Default::default();
    let mut player = Player { service, topic, model, batches: Vec::new(), held, settled };
    for op in history {
        player.step(op).await;
    }
    let all = player.read(pb::ReadRequest::default()).await.unwrap();
    assert_eq!(all, player.model.kept().collect::<Vec<_>>());
}

fn subject(number: u8) -> String {
    format!("subject-{number}")
}

fn reason(status: &Status) -> String {
    ErrorFacts::of(status).unwrap_or_else(|| panic!("{status:?}")).reason
}

impl Player<'_> {
    async fn step(&mut self, op: &Op) {
        match op {
            Op::Append { events, expectations } => {
                // An id twice in one append is refused at the edge; see the tests of bad input.
                let mut seen = std::collections::HashSet::new();
                let unique = |event: &&(u8, u8, u8)| event.0 == 0 || seen.insert(event.0);
                let batch: Batch = events.iter().filter(unique).copied().collect();
                self.append(&batch, expectations).await;
                self.batches.push(batch);
            }
            Op::Repeat { back } => {
                let batch = self.batches.iter().rev().nth(usize::from(*back)).cloned();
                if let Some(batch) = batch {
                    self.append(&batch, &[]).await;
                }
            }
            Op::Read { subject, backward, start, end, limit, types } => {
                self.compare_read(*subject, *backward, *start, *end, *limit, *types).await;
            }
            Op::Truncate { before } => self.truncate(*before).await,
            Op::SaveSnapshot { subject, revision } => self.save(*subject, *revision).await,
            Op::LoadSubject { subject } => self.load(*subject).await,
            Op::DeleteSnapshot { subject: number } => {
                let request = pb::DeleteSnapshotRequest {
                    topic: self.topic.into(),
                    subject: subject(*number),
                };
                let deleted = self.service.store().delete_snapshot(request).await;
                assert_eq!(deleted.is_ok(), self.model.snapshots.remove(number).is_some());
            }
            Op::Fetch { group, events } => self.fetch(usize::from(*group), *events).await,
            Op::Settle { group, which, how } => {
                self.settle(usize::from(*group), *which, *how).await;
            }
            Op::SettleAgain { group, which } => {
                self.settle_again(usize::from(*group), *which).await;
            }
            Op::Replay { group, events } => self.replay(usize::from(*group), *events).await,
            Op::Reset { group, sequence } => self.reset(usize::from(*group), *sequence).await,
            Op::Check { group } => self.check(usize::from(*group)).await,
        }
    }

    async fn append(&mut self, batch: &Batch, expectations: &[(u8, Expect)]) {
        let event = |(id, number, kind): &(u8, u8, u8)| pb::Event {
            id: (*id > 0).then(|| format!("id-{id}")),
            r#type: format!("type-{kind}"),
            subject: (*number > 0).then(|| subject(*number)),
            headers: HashMap::from([("kind".to_owned(), kind.to_string())]).into_iter().collect(),
            ..Default::default()
        };
        let expected: Vec<_> = expectations
            .iter()
            .map(|(number, expect)| match expect {
                Expect::Revision(revision) => (*number, Expected::Revision(u64::from(*revision))),
                Expect::NoEvents => (*number, Expected::NoEvents),
                Expect::Exists => (*number, Expected::Exists),
            })
            .collect();
        let expectations = expected.iter().map(|(number, expected)| pb::Expectation {
            subject: subject(*number),
            expected: Some(match expected {
                Expected::Revision(revision) => Is::Revision(*revision),
                Expected::NoEvents => Is::NoEvents(()),
                Expected::Exists => Is::Exists(()),
            }),
        });
        let events = batch.iter().map(event).collect();
        let got = self.service.append_expecting(self.topic, events, expectations.collect()).await;
        match (self.model.append(batch, &expected), got) {
            (Ok(expected), Ok(got)) => {
                let revisions = expected
                    .revisions
                    .iter()
                    .map(|(number, revision)| (subject(*number), *revision));
                assert_eq!(got.subject_revisions, revisions.collect());
                assert_eq!(
                    (got.first_sequence, got.deduplicated),
                    (expected.first, expected.deduplicated)
                );
                if !expected.deduplicated {
                    let positions = self.positions_from(expected.first).await;
                    assert_eq!(positions.len() as u64, expected.count);
                    assert_eq!(
                        (&got.first_position, Some(&got.last_position)),
                        (&positions[0], positions.last())
                    );
                    self.model.record(batch, &expected, &positions);
                }
                let last = self.model.event(expected.first + expected.count - 1);
                assert_eq!(got.last_position, last.position);
            }
            (Err(Refused::IdReused), Err(status)) => assert_eq!(reason(&status), "ID_REUSED"),
            (Err(Refused::Conflict { subject: number, actual }), Err(status)) => {
                assert_eq!(reason(&status), "REVISION_CONFLICT");
                let facts = ErrorFacts::of(&status).unwrap().metadata;
                let actual = actual.map_or("no_events".to_owned(), |revision| revision.to_string());
                assert_eq!((&facts["subject"], &facts["actual"]), (&subject(number), &actual));
            }
            (expected, got) => panic!("expected {expected:?}, got {got:?}"),
        }
    }

    async fn positions_from(&self, sequence: u64) -> Vec<String> {
        let start = Some(pb::Start { at: Some(StartAt::FromSequence(sequence)) });
        let request = pb::ReadRequest { topic: self.topic.into(), start, ..Default::default() };
        let events = self.service.read(request).await.unwrap();
        events.into_iter().map(|event| event.position).collect()
    }

    async fn read(&self, request: pb::ReadRequest) -> Result<Vec<u64>, Status> {
        let request = pb::ReadRequest { topic: self.topic.into(), ..request };
        let events = self.service.read(request).await?;
        for event in &events {
            let expected = self.model.event(event.sequence);
            assert_eq!(event.position, expected.position);
            assert_eq!(event.subject_revision, expected.revision);
            assert_eq!(event.event.as_ref().unwrap().r#type, format!("type-{}", expected.kind));
        }
        Ok(events.into_iter().map(|event| event.sequence).collect())
    }

    /// A sequence out of those there are; none when there are none.
    fn pick(&self, number: u8) -> Option<u64> {
        let last = self.model.last();
        (last > 0).then(|| u64::from(number) % last + 1)
    }

    #[allow(clippy::too_many_arguments, reason = "all that a read has")]
    async fn compare_read(
        &self,
        number: u8,
        backward: bool,
        start: At,
        end: Option<u8>,
        limit: Option<u8>,
        types: u8,
    ) {
        let model = &self.model;
        if number == 0 && matches!(start, At::Revision(_)) {
            return;
        }
        let place = |sequence: u64| model.event(sequence).position.clone();
        // The bound that the start sets on sequences, or the reason why it is refused.
        let all = if backward { u64::MAX } else { 0 };
        let (at, bound) = match start {
            At::Absent => (None, Ok(all)),
            At::Beginning => (Some(StartAt::Beginning(())), Ok(all)),
            At::End => (Some(StartAt::End(())), Ok(u64::MAX)),
            At::After(pick) => {
                let Some(after) = self.pick(pick) else { return };
                let bound = match (backward, after < model.trimmed) {
                    (true, _) => Ok(after - 1),
                    (false, true) => Err("POSITION_TRIMMED"),
                    (false, false) => Ok(after + 1),
                };
                (Some(StartAt::AfterPosition(place(after))), bound)
            }
            At::Sequence(pick) => {
                let sequence = u64::from(pick) % (model.last() + 3) + 1;
                let bound = if sequence <= model.trimmed {
                    Err("POSITION_TRIMMED")
                } else if sequence > model.last() + u64::from(!backward) {
                    Err("POSITION_BEYOND_HEAD")
                } else {
                    Ok(sequence)
                };
                (Some(StartAt::FromSequence(sequence)), bound)
            }
            At::Revision(revision) => {
                let revision = u64::from(revision);
                let bound = match model.revision(number) {
                    None => Ok(all),
                    Some(last) if revision > last + 1 => Err("POSITION_BEYOND_HEAD"),
                    Some(_) if !backward && revision < model.first_revision(number) => {
                        Err("POSITION_TRIMMED")
                    }
                    Some(_) => Ok(all),
                };
                (Some(StartAt::FromRevision(revision)), bound)
            }
        };
        let end = end.and_then(|end| self.pick(end));
        let wanted = |event: &Event| {
            (number == 0 || event.subject == number)
                && (types == 0 || event.kind == types - 1)
                && match (start, event.revision) {
                    (At::Revision(revision), Some(of)) if backward => of <= u64::from(revision),
                    (At::Revision(revision), Some(of)) => of >= u64::from(revision),
                    _ => true,
                }
        };
        let within = |sequence: &u64, bound: u64| {
            let (from, to) =
                if backward { (end.unwrap_or(0), bound) } else { (bound, end.unwrap_or(u64::MAX)) };
            (from..=to).contains(sequence) && wanted(model.event(*sequence))
        };
        let request = pb::ReadRequest {
            subject: (number > 0).then(|| subject(number)),
            direction: if backward { pb::Direction::Backward } else { pb::Direction::Forward }
                .into(),
            start: at.map(|at| pb::Start { at: Some(at) }),
            end_position: end.map(place),
            limit: limit.map(u64::from),
            filter: (types > 0).then(|| pb::EventFilter {
                types: vec![format!("type-{}", types - 1)],
                ..Default::default()
            }),
            ..Default::default()
        };
        match (bound, self.read(request.clone()).await) {
            (Ok(bound), Ok(got)) => {
                let mut expected: Vec<u64> =
                    model.kept().filter(|sequence| within(sequence, bound)).collect();
                if backward {
                    expected.reverse();
                }
                expected.truncate(limit.map_or(usize::MAX, usize::from));
                assert_eq!(got, expected, "{request:?}");
            }
            (Err(expected), Err(status)) => assert_eq!(reason(&status), expected, "{request:?}"),
            (expected, got) => panic!("expected {expected:?}, got {got:?} for {request:?}"),
        }
    }

    async fn truncate(&mut self, pick: u8) {
        let Some(before) = self.pick(pick) else { return };
        let place = self.model.event(before).position.clone();
        let before_place = Some(pb::truncate_topic_request::Before::BeforePosition(place));
        let request = pb::TruncateTopicRequest { topic: self.topic.into(), before: before_place };
        let removed =
            self.service.topics().truncate_topic(request).await.unwrap().into_inner().removed;
        assert_eq!(removed, (before - 1).saturating_sub(self.model.trimmed));
        self.model.trimmed = self.model.trimmed.max(before - 1);
    }

    async fn save(&mut self, number: u8, revision: u8) {
        let request = pb::SaveSnapshotRequest {
            topic: self.topic.into(),
            subject: subject(number),
            revision: revision.into(),
            content_type: None,
            data: vec![revision].into(),
        };
        let saved = self.service.store().save_snapshot(request).await;
        let allowed = self.model.revision(number).is_some_and(|last| u64::from(revision) <= last);
        assert_eq!(saved.is_ok(), allowed, "{saved:?}");
        if allowed {
            let kept = self.model.snapshots.entry(number).or_default();
            *kept = (*kept).max(revision.into());
        }
    }

    async fn load(&self, number: u8) {
        let request = pb::LoadSubjectRequest { topic: self.topic.into(), subject: subject(number) };
        let loaded = async {
            let mut stream = self.service.store().load_subject(request).await?.into_inner();
            let (mut snapshot, mut events) = (None, Vec::new());
            while let Some(item) = stream.message().await? {
                match item.item.unwrap() {
                    Item::Snapshot(found) => snapshot = Some(found.revision),
                    Item::Event(event) => events.push(event.subject_revision.unwrap()),
                }
            }
            Ok::<_, Status>((snapshot, events))
        };
        let snapshot = self.model.snapshots.get(&number).copied();
        let from = snapshot.map_or(0, |revision| revision + 1);
        match loaded.await {
            Ok((found, events)) => {
                let next = self.model.revision(number).map_or(0, |last| last + 1);
                assert_eq!((found, events), (snapshot, (from..next).collect()));
                assert!(self.model.first_revision(number) <= from);
            }
            Err(status) => {
                assert_eq!(reason(&status), "POSITION_TRIMMED");
                assert!(self.model.first_revision(number) > from);
            }
        }
    }

    fn group(&mut self, group: usize) -> &mut Group {
        &mut self.model.groups[group]
    }
}

/// The part about consumer groups.
mod groups;
