//! Events as they are stored: spliced into answers as they are.

use bytes::{Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::event::put_field;
use super::{EventView, Name, Position};

/// An event as it is stored, with where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Where.
    pub position: Position,
    /// Its number within its subject.
    pub revision: Option<u64>,
    /// The encoded event.
    pub event: Bytes,
}

impl StoredEvent {
    /// Its parts; an event that cannot be read has none.
    #[must_use]
    pub fn view(&self) -> EventView<'_> {
        EventView::parse(&self.event).unwrap_or_default()
    }

    /// The encoded `eventstore.v1.RecordedEvent`.
    #[must_use]
    pub fn to_recorded(&self, topic: &Name) -> Bytes {
        let position = self.position.to_string();
        let topic = topic.as_str();
        let mut buf = BytesMut::with_capacity(self.event.len() + topic.len() + position.len() + 64);
        put_field(&mut buf, 1, topic.as_bytes());
        put_field(&mut buf, 2, position.as_bytes());
        encode_key(3, WireType::Varint, &mut buf);
        encode_varint(self.position.sequence, &mut buf);
        if let Some(revision) = self.revision {
            encode_key(4, WireType::Varint, &mut buf);
            encode_varint(revision, &mut buf);
        }
        let (seconds, nanos) = (self.position.ms / 1000, self.position.ms % 1000 * 1_000_000);
        encode_key(5, WireType::LengthDelimited, &mut buf);
        encode_varint(
            (2 + encoded_len_varint(seconds) + encoded_len_varint(nanos)) as u64,
            &mut buf,
        );
        encode_key(1, WireType::Varint, &mut buf);
        encode_varint(seconds, &mut buf);
        encode_key(2, WireType::Varint, &mut buf);
        encode_varint(nanos, &mut buf);
        put_field(&mut buf, 6, &self.event);
        buf.freeze()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::eventstore::v1::{Event, RecordedEvent};

    use super::*;

    #[test]
    fn a_recorded_event_decodes_as_the_proto_says() {
        let event = Event { r#type: "created".into(), ..Event::default() };
        let stored = StoredEvent {
            position: Position { ms: 1_700_000_000_123, sequence: 9 },
            revision: Some(0),
            event: event.encode_to_vec().into(),
        };
        let recorded =
            RecordedEvent::decode(stored.to_recorded(&Name::parse("order").unwrap())).unwrap();
        assert_eq!(recorded.topic, "order");
        assert_eq!(recorded.position, "1700000000123-9");
        assert_eq!(recorded.sequence, 9);
        assert_eq!(recorded.subject_revision, Some(0));
        let at = recorded.recorded_at.unwrap();
        assert_eq!((at.seconds, at.nanos), (1_700_000_000, 123_000_000));
        assert_eq!(recorded.event, Some(event));
    }
}
