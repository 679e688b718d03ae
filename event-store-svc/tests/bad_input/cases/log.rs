//! Bad requests to `EventStore`.

use proto::eventstore::v1::event::Data;

use super::*;

pub fn cases() -> Vec<Method> {
    let mut methods = vec![appends("EventStore/Append"), appends("EventStore/AppendStream")];
    methods.extend([read(), subscribe()]);

    let mut save = Method::new("EventStore/SaveSnapshot");
    let snapshot = || SaveSnapshotRequest { topic: t(), subject: "s".into(), ..Default::default() };
    save.name("topic", 1, |topic| SaveSnapshotRequest { topic, ..snapshot() });
    save.subject("subject", 2, |subject| SaveSnapshotRequest { subject, ..snapshot() });
    save.bad("revision", WRONG, SaveSnapshotRequest { revision: u64::MAX, ..snapshot() });
    let content_type = Some("a".repeat(257));
    save.bad("content_type", WRONG, SaveSnapshotRequest { content_type, ..snapshot() });
    save.not_utf8("content_type", 4, &snapshot());
    let data = Bytes::from(vec![0; (1 << 20) + 1]);
    save.bad("data", "EVENT_TOO_LARGE", SaveSnapshotRequest { data, ..snapshot() });

    let mut load = Method::new("EventStore/LoadSubject");
    load.name("topic", 1, |topic| LoadSubjectRequest { topic, subject: "s".into() });
    load.subject("subject", 2, |subject| LoadSubjectRequest { topic: t(), subject });
    let mut delete = Method::new("EventStore/DeleteSnapshot");
    delete.name("topic", 1, |topic| DeleteSnapshotRequest { topic, subject: "s".into() });
    delete.subject("subject", 2, |subject| DeleteSnapshotRequest { topic: t(), subject });
    methods.extend([save, load, delete]);
    methods
}

fn good() -> Event {
    Event { r#type: "created".into(), ..Default::default() }
}

fn of(event: Event) -> AppendRequest {
    AppendRequest { topic: t(), events: vec![good(), event], ..Default::default() }
}

fn appends(name: &'static str) -> Method {
    let mut append = Method::new(name);
    let with = |events| AppendRequest { topic: t(), events, ..Default::default() };
    append.name("topic", 1, |topic| AppendRequest { topic, ..with(vec![good()]) });
    append.bad("events", WRONG, with(Vec::new()));
    append.bad("events", MANY, with(vec![good(); 1_001]));
    append.kind("durability", |durability| AppendRequest { durability, ..with(vec![good()]) });

    let huge = || Some("a".repeat(1 << 20));
    for id in [Some(String::new()), Some("a".repeat(257)), huge()] {
        append.bad("events[1].id", WRONG, of(Event { id, ..good() }));
    }
    let id = Some("same".to_owned());
    let same = Event { id, ..good() };
    append.bad("events[1].id", WRONG, with(vec![same.clone(), same]));
    for r#type in [String::new(), "a".repeat(257)] {
        append.bad("events[1].type", WRONG, of(Event { r#type, ..good() }));
    }
    let source = Some("a".repeat(1_025));
    append.bad("events[1].source", WRONG, of(Event { source, ..good() }));
    for subject in ["", "a\nb", "\u{7f}", &"a".repeat(257)] {
        let subject = Some(subject.to_owned());
        append.bad("events[1].subject", NAME, of(Event { subject, ..good() }));
    }
    let never = [(0, -1), (0, 1_000_000_000), (i64::MIN, 0), (253_402_300_800, 0)];
    for (seconds, nanos) in never {
        let time = Some(Timestamp { seconds, nanos });
        append.bad("events[1].time", WRONG, of(Event { time, ..good() }));
    }
    let content_type = Some("a".repeat(257));
    append.bad("events[1].content_type", WRONG, of(Event { content_type, ..good() }));
    let headers = (0..65).map(|n| (n.to_string(), String::new())).collect();
    append.bad("events[1].headers", MANY, of(Event { headers, ..good() }));
    for key in [String::new(), "a".repeat(257)] {
        let headers = [(key, String::new())].into();
        append.bad("events[1].headers", WRONG, of(Event { headers, ..good() }));
    }
    let headers = [("a".to_owned(), "a".repeat(4_097))].into();
    append.bad("events[1].headers[\"a\"]", WRONG, of(Event { headers, ..good() }));
    let data = Some(Data::BinaryData(vec![0; (1 << 20) + 1].into()));
    append.bad("events[1].binary_data", "EVENT_TOO_LARGE", of(Event { data, ..good() }));
    let data = Some(Data::TextData("a".repeat((1 << 20) + 1)));
    append.bad("events[1].text_data", "EVENT_TOO_LARGE", of(Event { data, ..good() }));

    let texts = [
        (1, "id"),
        (2, "type"),
        (3, "source"),
        (4, "subject"),
        (6, "content_type"),
        (9, "text_data"),
    ];
    let raw = |event: &[u8]| [with(vec![good()]).encode_to_vec(), field(2, event)].concat();
    for (tag, name) in texts {
        append.raw(&format!("events[1].{name}"), WRONG, raw(&field(tag, NOT_UTF8)));
    }
    for part in [1, 2] {
        append.raw("events[1].headers", WRONG, raw(&field(7, &field(part, NOT_UTF8))));
    }
    append.raw("events[1].time", WRONG, raw(&field(5, NOT_UTF8)));
    append.raw("events[1].id", WRONG, raw(b"\x0a\x7f"));
    append.raw("events[1]", WRONG, raw(b"\x07"));
    // A time that only the last of two could be read of, and fields too deep for some readers.
    let twice = [&field(2, b"a")[..], &field(5, b"\xff"), &field(5, b"\x08\x01")].concat();
    append.raw("events[1].time", WRONG, raw(&twice));
    append.raw("events[1]", WRONG, raw(b"\x12\x01a\xa3\x06\xa4\x06"));

    let expecting = |expectations| AppendRequest { expectations, ..with(vec![good()]) };
    let any = |subject: String| Expectation { subject, expected: None };
    let many = (0..1_001).map(|n| any(n.to_string())).collect();
    append.bad("expectations", MANY, expecting(many));
    for subject in ["", "a\0", &"a".repeat(257)] {
        append.bad("expectations[0].subject", NAME, expecting(vec![any(subject.into())]));
    }
    append.bad("expectations[1].subject", WRONG, expecting(vec![any("a".into()); 2]));
    append.raw(
        "expectations.subject",
        WRONG,
        [with(vec![good()]).encode_to_vec(), field(3, &field(1, NOT_UTF8))].concat(),
    );
    append
}

fn read() -> Method {
    let mut read = Method::new("EventStore/Read");
    let all = || ReadRequest { topic: t(), ..Default::default() };
    read.name("topic", 1, |topic| ReadRequest { topic, ..all() });
    read.subject("subject", 2, |subject| ReadRequest { subject: Some(subject), ..all() });
    read.kind("direction", |direction| ReadRequest { direction, ..all() });
    read.start("start", false, |start| ReadRequest { start: Some(start), ..all() });
    let of_subject = || ReadRequest { subject: Some("s".into()), ..all() };
    read.start("start", true, |start| ReadRequest { start: Some(start), ..of_subject() });
    read.position("end_position", |end| ReadRequest { end_position: Some(end), ..all() });
    read.not_utf8("end_position", 5, &all());
    read.bad("limit", WRONG, ReadRequest { limit: Some(0), ..all() });
    read.filter(|filter| ReadRequest { filter: Some(filter), ..all() });
    read.raw(
        "filter.types",
        WRONG,
        [all().encode_to_vec(), field(7, &field(1, NOT_UTF8))].concat(),
    );
    read
}

fn subscribe() -> Method {
    let mut subscribe = Method::new("EventStore/Subscribe");
    let to = |topic: String, start| TopicStart { topic, start };
    let request = |topics| SubscribeRequest { topics, ..Default::default() };
    subscribe.bad("topics", WRONG, request(Vec::new()));
    let many = (0..101).map(|n| to(n.to_string(), None)).collect();
    subscribe.bad("topics", MANY, request(many));
    subscribe.bad("topics[1].topic", WRONG, request(vec![to(t(), None), to(t(), None)]));
    for topic in ["", "Upper", "a\0", &"a".repeat(129)] {
        subscribe.bad(
            "topics[1].topic",
            NAME,
            request(vec![to(t(), None), to(topic.into(), None)]),
        );
    }
    subscribe.raw("topics.topic", WRONG, field(1, &field(1, NOT_UTF8)));
    subscribe.start("topics[0].start", false, |start| request(vec![to(t(), Some(start))]));
    subscribe
        .filter(|filter| SubscribeRequest { filter: Some(filter), ..request(vec![to(t(), None)]) });
    subscribe.duration("heartbeat_interval", &[(0, 0), (0, 999_999_999), (300, 1)], |interval| {
        SubscribeRequest { heartbeat_interval: interval, ..request(vec![to(t(), None)]) }
    });
    subscribe
}
