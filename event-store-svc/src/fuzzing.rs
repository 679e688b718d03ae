//! What is fuzzed (`fuzz/`): each function takes any bytes and panics if a promise is broken. The
//! test below runs them over the seeds and over neighbours of these, without a fuzzer.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a fuzz target fails by panicking"
)]

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use proto::eventstore::v1 as pb;
use redis_link::Value;
use xxhash_rust::xxh3::Xxh3;

use crate::grpc::check;
use crate::grpc::paging;
use crate::model::{EventView, Name, NewEvent, Position, Receipt, StoredEvent, Subject};
use crate::store::redis::entry::{entries, entry, optional_number, optional_position};

/// An encoded event: its view agrees with what a client decodes, and what is stored and spliced
/// into answers decodes too.
pub fn event(data: &[u8]) {
    let Ok(view) = EventView::parse(data) else {
        // The decoder may be more patient; what a client encodes is taken.
        if let Ok(decoded) = pb::Event::decode(data) {
            assert!(EventView::parse(&decoded.encode_to_vec()).is_ok(), "{decoded:?}");
        }
        return;
    };
    let decoded = pb::Event::decode(data).expect("a client can read what was taken");
    assert_eq!(view.id, decoded.id.as_deref());
    assert_eq!(view.event_type, decoded.r#type);
    assert_eq!(view.source, decoded.source.as_deref());
    assert_eq!(view.subject, decoded.subject.as_deref());
    assert_eq!(view.content_type, decoded.content_type.as_deref());
    let headers: HashMap<&str, &str> = view.headers.iter().copied().collect();
    let expected = decoded.headers.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    assert_eq!(headers, expected.collect());
    let expected = decoded.data.as_ref().map(|data| match data {
        pb::event::Data::BinaryData(bytes) => (&bytes[..], false),
        pb::event::Data::TextData(text) => (text.as_bytes(), true),
    });
    assert_eq!(view.data, expected);
    let fingerprint = |view: &EventView<'_>| {
        let mut hash = Xxh3::new();
        view.fingerprint(&mut hash);
        hash.digest128()
    };
    // A client that encodes the same event anew may do it otherwise.
    let again = decoded.encode_to_vec();
    let again = EventView::parse(&again).expect("what was decoded is encoded");
    assert_eq!(fingerprint(&view), fingerprint(&again), "{view:?} {again:?}");

    let encoded = Bytes::copy_from_slice(data);
    let new = NewEvent::new(&encoded, &EventView::parse(&encoded).expect("as above"), b"");
    let stored = StoredEvent {
        position: Position { ms: 1_700_000_000_123, sequence: 7 },
        revision: Some(3),
        event: new.encoded,
    };
    let id = stored.view().id.expect("every stored event has an id").to_owned();
    let topic = Name::parse("topic").expect("a name");
    let recorded = pb::RecordedEvent::decode(stored.to_recorded(&topic)).expect("it is spliced in");
    assert_eq!((recorded.sequence, recorded.subject_revision), (7, Some(3)));
    assert_eq!(recorded.event, Some(pb::Event { id: Some(id), ..decoded }));
}

/// What Redis answers: read or refused, and what was read can be told.
pub fn entry_of(value: &Value) {
    let topic = Name::parse("topic").expect("a name");
    for stored in entries(value.clone()).into_iter().flatten().chain(entry(value.clone())) {
        let _ = stored.view();
        let recorded = stored.to_recorded(&topic);
        if pb::Event::decode(&stored.event[..]).is_ok() {
            let recorded = pb::RecordedEvent::decode(recorded).expect("it is spliced in");
            assert_eq!(recorded.position, stored.position.to_string());
            assert_eq!(recorded.subject_revision, stored.revision);
        }
    }
    let _ = optional_position(value);
    let _ = optional_number(value);
}

/// Bytes as an answer of Redis; see [`entry_of`].
pub fn entry_target(mut data: &[u8]) {
    entry_of(&value(&mut data, 6));
}

/// Makes a value of whatever the bytes are: a kind, and what it takes.
fn value(data: &mut &[u8], depth: usize) -> Value {
    let mut byte = || {
        let (first, rest) = data.split_first()?;
        *data = rest;
        Some(*first)
    };
    let (Some(kind), length) = (byte(), usize::from(byte().unwrap_or(0))) else {
        return Value::Nil;
    };
    let mut bytes = |length: usize| {
        let (taken, rest) = data.split_at(length.min(data.len()));
        *data = rest;
        taken.to_vec()
    };
    match kind % 6 {
        0 => Value::Nil,
        1 => {
            let digits = bytes(8).into_iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(byte));
            Value::Int(digits.cast_signed())
        }
        2 => Value::SimpleString(String::from_utf8_lossy(&bytes(length)).into_owned()),
        3 if depth > 0 => Value::Array((0..length % 12).map(|_| value(data, depth - 1)).collect()),
        _ => Value::BulkString(bytes(length)),
    }
}

/// Texts that clients hand back: read or refused, and what was read is written the same again.
pub fn texts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(position) = Position::parse(text) {
        assert_eq!(Position::parse(&position.to_string()), Some(position));
        assert!(position.before() <= position && position <= position.after());
    }
    let name = |text| Name::parse(text).expect("a name");
    let (topic, group) = (name("topic"), name("group"));
    if let Some(receipt) = Receipt::decode(text, &topic, &group) {
        assert_eq!(receipt.encode(&topic, &group), text);
        assert_eq!(Receipt::decode(text, &topic, &name("other")), None);
    }
    let mut checks = check::begin();
    let page = paging::page(&mut checks, 1, text).after;
    if checks.done(Some(())).is_ok() {
        assert_eq!(paging::token(page), text);
    }
    if let Some(name) = Name::parse(text) {
        assert_eq!(name.as_str(), text);
    }
    assert_eq!(Subject::parse(text).is_some(), Subject::is_valid(text));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    /// Runs a target over its seeds and, of each, so many neighbours, the same ones each time.
    fn over_seeds(name: &str, target: impl Fn(&[u8])) {
        const NEIGHBOURS: usize = 2_000;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
        let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        let seeds: Vec<Vec<u8>> = files.map(|file| std::fs::read(file).unwrap()).collect();
        assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
        let mut random = StdRng::seed_from_u64(1);
        for seed in &seeds {
            target(seed);
            for _ in 0..NEIGHBOURS {
                let mut data = seed.clone();
                for _ in 0..random.random_range(1..4) {
                    let at = random.random_range(0..=data.len());
                    match random.random_range(0..4) {
                        0 => data.truncate(at),
                        1 => data.insert(at, random.random()),
                        2 => data.extend_from_slice(&seeds[random.random_range(0..seeds.len())]),
                        _ if at < data.len() => data[at] = random.random(),
                        _ => data.push(random.random()),
                    }
                }
                target(&data);
            }
        }
    }

    #[test]
    fn events() {
        over_seeds("event", event);
    }

    #[test]
    fn entries_of_the_log() {
        over_seeds("entry", entry_target);
    }

    #[test]
    fn texts_of_clients() {
        over_seeds("texts", texts);
    }
}
