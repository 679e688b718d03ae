//! What each call needs, and a request for it that works.

use bytes::Bytes;
use prost::Message;
use proto::eventstore::v1::*;

use crate::support::{Service, event};

/// A topic with something in it for each call.
pub struct Furnished {
    pub topic: String,
    /// A delivery that nobody has settled.
    receipt: String,
}

impl Furnished {
    /// Furnishes a topic: three events of a subject with a snapshot, and a group of which one event
    /// is delivered, one parked and one still to come.
    pub async fn new(service: &Service, topic: &str) -> Self {
        let events = (0..3).map(|_| event("", "s")).collect();
        service.append(topic, events).await.unwrap();
        let snapshot =
            SaveSnapshotRequest { topic: topic.into(), subject: "s".into(), ..Default::default() };
        service.store().save_snapshot(snapshot).await.unwrap();
        service.create_group(topic, "g", GroupSettings::default()).await;
        let delivered = service.fetch(topic, "g", 2, 0).await;
        service.nack(topic, "g", &delivered[0], NackAction::Park, None).await;
        Self { topic: topic.into(), receipt: delivered[1].receipt.clone() }
    }
}

const APPEND: &[&str] = &["append"];
const READ: &[&str] = &["read"];
const CONSUME: &[&str] = &["consume"];
const ADMINISTER: &[&str] = &["administer"];
const GROUP: &[&str] = &["consume", "administer"];
const ANY: &[&str] = &crate::guarded::RIGHTS;

/// The rights of which a method needs one, and its request. None of them: a method without an entry.
#[allow(clippy::too_many_lines, reason = "a table")]
pub fn entry(method: &str, of: &Furnished) -> Option<(&'static [&'static str], Bytes)> {
    let topic = || of.topic.clone();
    let (g, s) = (|| "g".to_owned(), || "s".to_owned());
    let receipts = || vec![of.receipt.clone()];
    fn with<M: Message>(
        rights: &'static [&'static str],
        request: &M,
    ) -> Option<(&'static [&'static str], Bytes)> {
        Some((rights, request.encode_to_vec().into()))
    }
    match method {
        "EventStore/Append" | "EventStore/AppendStream" => {
            let events = vec![event("", "s")];
            with(APPEND, &AppendRequest { topic: topic(), events, ..Default::default() })
        }
        "EventStore/Read" => with(READ, &ReadRequest { topic: topic(), ..Default::default() }),
        "EventStore/Subscribe" => {
            let topics = vec![TopicStart { topic: topic(), start: None }];
            with(READ, &SubscribeRequest { topics, ..Default::default() })
        }
        "EventStore/SaveSnapshot" => {
            let data = Bytes::from_static(b"state");
            let request = SaveSnapshotRequest {
                topic: topic(),
                subject: s(),
                revision: 1,
                data,
                ..Default::default()
            };
            with(APPEND, &request)
        }
        "EventStore/LoadSubject" => {
            with(READ, &LoadSubjectRequest { topic: topic(), subject: s() })
        }
        "EventStore/DeleteSnapshot" => {
            with(APPEND, &DeleteSnapshotRequest { topic: topic(), subject: s() })
        }
        "Topics/CreateTopic" => {
            with(ADMINISTER, &CreateTopicRequest { topic: topic(), settings: None })
        }
        "Topics/UpdateTopic" => {
            let settings = Some(TopicSettings::default());
            with(ADMINISTER, &UpdateTopicRequest { topic: topic(), settings })
        }
        "Topics/GetTopic" => with(ANY, &GetTopicRequest { topic: topic() }),
        "Topics/TruncateTopic" => {
            let before = Some(truncate_topic_request::Before::BeforePosition("1-1".to_owned()));
            with(ADMINISTER, &TruncateTopicRequest { topic: topic(), before })
        }
        "Topics/DeleteTopic" => with(ADMINISTER, &DeleteTopicRequest { topic: topic() }),
        "Topics/ListSubjects" => {
            with(READ, &ListSubjectsRequest { topic: topic(), ..Default::default() })
        }
        "ConsumerGroups/CreateGroup" => {
            with(GROUP, &CreateGroupRequest { topic: topic(), group: "new".into(), settings: None })
        }
        "ConsumerGroups/UpdateGroup" => {
            let settings = Some(GroupSettings { max_deliveries: Some(7), ..Default::default() });
            with(GROUP, &UpdateGroupRequest { topic: topic(), group: g(), settings })
        }
        "ConsumerGroups/GetGroup" => with(GROUP, &GetGroupRequest { topic: topic(), group: g() }),
        "ConsumerGroups/ListGroups" => {
            with(GROUP, &ListGroupsRequest { topic: topic(), ..Default::default() })
        }
        "ConsumerGroups/DeleteGroup" => {
            with(ADMINISTER, &DeleteGroupRequest { topic: topic(), group: g() })
        }
        "ConsumerGroups/ResetGroup" => {
            with(ADMINISTER, &ResetGroupRequest { topic: topic(), group: g(), start: None })
        }
        "ConsumerGroups/Consume" => {
            let open = ConsumeOpen {
                topic: topic(),
                group: g(),
                consumer: "c".into(),
                max_in_flight: None,
            };
            let message = Some(consume_request::Message::Open(open));
            with(CONSUME, &ConsumeRequest { message })
        }
        "ConsumerGroups/Fetch" => {
            let consumer = "c".to_owned();
            let request =
                FetchRequest { topic: topic(), group: g(), consumer, ..Default::default() };
            with(CONSUME, &request)
        }
        "ConsumerGroups/Ack" => {
            with(CONSUME, &AckRequest { topic: topic(), group: g(), receipts: receipts() })
        }
        "ConsumerGroups/Nack" => {
            let action = NackAction::Skip.into();
            let request = NackRequest {
                topic: topic(),
                group: g(),
                receipts: receipts(),
                action,
                ..Default::default()
            };
            with(CONSUME, &request)
        }
        "ConsumerGroups/Extend" => {
            let request =
                ExtendRequest { topic: topic(), group: g(), receipts: receipts(), by: None };
            with(CONSUME, &request)
        }
        "ConsumerGroups/ListParked" => {
            with(GROUP, &ListParkedRequest { topic: topic(), group: g(), ..Default::default() })
        }
        "ConsumerGroups/ReplayParked" => {
            let limit = Some(1);
            let request =
                ReplayParkedRequest { topic: topic(), group: g(), limit, ..Default::default() };
            with(ADMINISTER, &request)
        }
        "ConsumerGroups/DiscardParked" => {
            let limit = Some(1);
            let request =
                DiscardParkedRequest { topic: topic(), group: g(), limit, ..Default::default() };
            with(ADMINISTER, &request)
        }
        _ => None,
    }
}
