//! Events as bytes: a new one is checked without being copied or decoded as a whole.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, int32, int64,
    skip_field,
};
use prost_types::Timestamp;
use svc_observe::context::{TRACEPARENT, TRACESTATE};
use xxhash_rust::xxh3::Xxh3;

/// Fields of `eventstore.v1.Event`.
mod field {
    pub const ID: u32 = 1;
    pub const TYPE: u32 = 2;
    pub const SOURCE: u32 = 3;
    pub const SUBJECT: u32 = 4;
    pub const TIME: u32 = 5;
    pub const CONTENT_TYPE: u32 = 6;
    pub const HEADERS: u32 = 7;
    pub const BINARY_DATA: u32 = 8;
    pub const TEXT_DATA: u32 = 9;
}

/// The tag of an event's headers: more of them may be put in front of an encoded one.
pub const HEADERS: u32 = field::HEADERS;

/// The parts of an encoded event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventView<'a> {
    /// `id`.
    pub id: Option<&'a str>,
    /// `type`; empty when there is none.
    pub event_type: &'a str,
    /// `source`.
    pub source: Option<&'a str>,
    /// `subject`.
    pub subject: Option<&'a str>,
    /// `time`.
    pub time: Option<Timestamp>,
    /// `content_type`.
    pub content_type: Option<&'a str>,
    /// `headers`, in the order in which they are encoded.
    pub headers: Vec<(&'a str, &'a str)>,
    /// `binary_data` or `text_data`, and whether it is text.
    pub data: Option<(&'a [u8], bool)>,
}

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEvent {
    /// The encoding is broken.
    #[error("must be an encoded eventstore.v1.Event")]
    Encoding,
    /// A text is not UTF-8.
    #[error("must be UTF-8")]
    Utf8(&'static str),
    /// A field is something else, or broken.
    #[error("must be encoded as eventstore.v1 has it")]
    Field(&'static str),
    /// An unknown field is a group, whose depth might be too much for a reader.
    #[error("must not have fields encoded as groups")]
    Group,
}

fn bytes_field<'a>(
    buf: &mut &'a [u8],
    wire: WireType,
    name: &'static str,
) -> Result<&'a [u8], MalformedEvent> {
    let wrong = MalformedEvent::Field(name);
    if wire != WireType::LengthDelimited {
        return Err(wrong);
    }
    let length = decode_varint(buf).map_err(|_| wrong)?;
    let length = usize::try_from(length).map_err(|_| wrong)?;
    let (field, rest) = buf.split_at_checked(length).ok_or(wrong)?;
    *buf = rest;
    Ok(field)
}

fn text_field<'a>(
    buf: &mut &'a [u8],
    wire: WireType,
    name: &'static str,
) -> Result<&'a str, MalformedEvent> {
    std::str::from_utf8(bytes_field(buf, wire, name)?).map_err(|_| MalformedEvent::Utf8(name))
}

/// Passes over a field that is not known here.
fn skip(buf: &mut &[u8], wire: WireType, tag: u32) -> Result<(), MalformedEvent> {
    if matches!(wire, WireType::StartGroup | WireType::EndGroup) {
        return Err(MalformedEvent::Group);
    }
    skip_field(wire, tag, buf, DecodeContext::default()).map_err(|_| MalformedEvent::Encoding)
}

impl<'a> EventView<'a> {
    /// Reads an encoded event; of a field that is there twice the last one counts, and a time is
    /// put together, as protobuf wants it. Unknown fields are passed over.
    ///
    /// # Errors
    /// [`MalformedEvent`].
    pub fn parse(mut buf: &'a [u8]) -> Result<Self, MalformedEvent> {
        let mut view = Self::default();
        let buf = &mut buf;
        while buf.has_remaining() {
            let (tag, wire) = decode_key(buf).map_err(|_| MalformedEvent::Encoding)?;
            match tag {
                field::ID => view.id = Some(text_field(buf, wire, "id")?),
                field::TYPE => view.event_type = text_field(buf, wire, "type")?,
                field::SOURCE => view.source = Some(text_field(buf, wire, "source")?),
                field::SUBJECT => view.subject = Some(text_field(buf, wire, "subject")?),
                field::TIME => {
                    let time = view.time.get_or_insert_default();
                    merge_time(time, bytes_field(buf, wire, "time")?)?;
                }
                field::CONTENT_TYPE => {
                    view.content_type = Some(text_field(buf, wire, "content_type")?);
                }
                field::HEADERS => view.headers.push(header(bytes_field(buf, wire, "headers")?)?),
                field::BINARY_DATA => {
                    view.data = Some((bytes_field(buf, wire, "binary_data")?, false));
                }
                field::TEXT_DATA => {
                    view.data = Some((text_field(buf, wire, "text_data")?.as_bytes(), true));
                }
                _ => skip(buf, wire, tag)?,
            }
        }
        Ok(view)
    }

    /// A fingerprint of the content that does not depend on how it was encoded: clients may write
    /// headers in another order when they retry. Nor does it depend on the trace, which is another
    /// one when somebody retries.
    pub fn fingerprint(&self, into: &mut Xxh3) {
        let mut part = |tag: u32, value: Option<&[u8]>| {
            if let Some(value) = value {
                into.update(&tag.to_le_bytes());
                into.update(&(value.len() as u64).to_le_bytes());
                into.update(value);
            }
        };
        let text = |value: Option<&'a str>| value.map(str::as_bytes);
        part(field::ID, text(self.id));
        part(field::TYPE, Some(self.event_type.as_bytes()));
        part(field::SOURCE, text(self.source));
        part(field::SUBJECT, text(self.subject));
        let time = self.time.map(|time| (time.seconds.to_le_bytes(), time.nanos.to_le_bytes()));
        part(field::TIME, time.as_ref().map(|(seconds, _)| &seconds[..]));
        part(field::TIME, time.as_ref().map(|(_, nanos)| &nanos[..]));
        part(field::CONTENT_TYPE, text(self.content_type));
        let mut headers = self.headers.clone();
        headers.retain(|(key, _)| !matches!(*key, TRACEPARENT | TRACESTATE));
        headers.sort_by_key(|(key, _)| *key);
        for (index, (key, value)) in headers.iter().enumerate() {
            // Of a key that is there twice the last one counts.
            if headers.get(index + 1).is_none_or(|(next, _)| next != key) {
                part(field::HEADERS, Some(key.as_bytes()));
                part(field::HEADERS, Some(value.as_bytes()));
            }
        }
        if let Some((data, text)) = self.data {
            part(if text { field::TEXT_DATA } else { field::BINARY_DATA }, Some(data));
        }
    }
}

fn header(mut buf: &[u8]) -> Result<(&str, &str), MalformedEvent> {
    let (mut key, mut value) = ("", "");
    let buf = &mut buf;
    while buf.has_remaining() {
        let (tag, wire) = decode_key(buf).map_err(|_| MalformedEvent::Field("headers"))?;
        match tag {
            1 => key = text_field(buf, wire, "headers")?,
            2 => value = text_field(buf, wire, "headers")?,
            _ => skip(buf, wire, tag).map_err(|_| MalformedEvent::Field("headers"))?,
        }
    }
    Ok((key, value))
}

/// Reads a `google.protobuf.Timestamp` into another.
fn merge_time(time: &mut Timestamp, mut buf: &[u8]) -> Result<(), MalformedEvent> {
    let buf = &mut buf;
    let context = DecodeContext::default;
    while buf.has_remaining() {
        let (tag, wire) = decode_key(buf).map_err(|_| MalformedEvent::Field("time"))?;
        let read = match tag {
            1 => int64::merge(wire, &mut time.seconds, buf, context()),
            2 => int32::merge(wire, &mut time.nanos, buf, context()),
            _ => {
                skip(buf, wire, tag).map_err(|_| MalformedEvent::Field("time"))?;
                continue;
            }
        };
        read.map_err(|_| MalformedEvent::Field("time"))?;
    }
    Ok(())
}

/// An event that was checked and is to be appended.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Encoded, with an id.
    pub encoded: Bytes,
    /// The id that the client gave; one that the service made is not remembered.
    pub id: Option<Bytes>,
    /// The subject.
    pub subject: Option<Bytes>,
}

impl NewEvent {
    /// Takes over an event whose parts were checked: `view` must be of `encoded`. `trace` are
    /// encoded headers that tell of the trace it is appended in; its own go before them.
    #[must_use]
    pub fn new(encoded: &Bytes, view: &EventView<'_>, trace: &[u8]) -> Self {
        let is_traced = view.headers.iter().any(|(key, _)| *key == TRACEPARENT);
        let trace = if is_traced { &[] } else { trace };
        let slice = |text: Option<&str>| text.map(|text| encoded.slice_ref(text.as_bytes()));
        Self {
            encoded: if view.id.is_none() || !trace.is_empty() {
                spliced(encoded, view.id.is_none(), trace)
            } else {
                encoded.clone()
            },
            id: slice(view.id),
            subject: slice(view.subject),
        }
    }
}

/// Adds an id made here, if it is to have one, and headers: fields may stand in any order.
fn spliced(encoded: &Bytes, with_id: bool, headers: &[u8]) -> Bytes {
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    let mut buf = BytesMut::with_capacity(encoded.len() + headers.len() + id.len() + 2);
    if with_id {
        let id = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut id);
        put_field(&mut buf, field::ID, id.as_bytes());
    }
    buf.extend_from_slice(headers);
    buf.extend_from_slice(encoded);
    buf.freeze()
}

/// Writes a field of type string, bytes or message.
pub(super) fn put_field(buf: &mut BytesMut, tag: u32, value: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, buf);
    encode_varint(value.len() as u64, buf);
    buf.put_slice(value);
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::eventstore::v1::{Event, event::Data};

    use super::*;

    fn event() -> Event {
        Event {
            id: Some("id-1".into()),
            r#type: "created".into(),
            source: None,
            subject: Some("order-1".into()),
            time: Some(Timestamp { seconds: 5, nanos: 7 }),
            content_type: Some("text/plain".into()),
            headers: [("a", "1"), ("b", "2")].map(|(k, v)| (k.into(), v.into())).into(),
            data: Some(Data::TextData("hello".into())),
        }
    }

    fn fingerprint(encoded: &[u8]) -> u128 {
        let mut hash = Xxh3::new();
        EventView::parse(encoded).unwrap().fingerprint(&mut hash);
        hash.digest128()
    }

    #[test]
    fn a_view_sees_what_was_encoded() {
        let encoded = event().encode_to_vec();
        let view = EventView::parse(&encoded).unwrap();
        assert_eq!(view.id, Some("id-1"));
        assert_eq!(view.event_type, "created");
        assert_eq!(view.source, None);
        assert_eq!(view.subject, Some("order-1"));
        assert_eq!(view.headers, [("a", "1"), ("b", "2")]);
        assert_eq!(view.data, Some((&b"hello"[..], true)));
        let cut = EventView::parse(&encoded[..encoded.len() - 1]);
        assert_eq!(cut, Err(MalformedEvent::Field("text_data")));
        assert_eq!(EventView::parse(&[0x0a, 1, 0xff]), Err(MalformedEvent::Utf8("id")));
    }

    #[test]
    fn a_fingerprint_does_not_depend_on_the_order_of_headers() {
        let plain = |headers: &[u8]| {
            [&Event { headers: Default::default(), ..event() }.encode_to_vec(), headers].concat()
        };
        let (a, b) = (b"\x3a\x06\x0a\x01a\x12\x01\x31", b"\x3a\x06\x0a\x01b\x12\x01\x32");
        let forward = plain(&[&a[..], b].concat());
        assert_eq!(fingerprint(&forward), fingerprint(&plain(&[&b[..], a].concat())));
        assert_eq!(fingerprint(&forward), fingerprint(&event().encode_to_vec()));
        let other = Event { data: Some(Data::BinaryData("hello".into())), ..event() };
        assert_ne!(fingerprint(&forward), fingerprint(&other.encode_to_vec()));
    }

    #[test]
    fn an_absent_id_is_made_and_the_rest_kept() {
        let encoded = Bytes::from(Event { id: None, ..event() }.encode_to_vec());
        let new = NewEvent::new(&encoded, &EventView::parse(&encoded).unwrap(), b"");
        assert_eq!(new.id, None);
        assert_eq!(new.subject.as_deref(), Some(&b"order-1"[..]));
        let mut decoded = Event::decode(new.encoded).unwrap();
        assert_eq!(decoded.id.take().unwrap().len(), 36);
        assert_eq!(decoded, Event { id: None, ..event() });
    }

    #[test]
    fn the_trace_is_added_unless_the_event_has_one_and_is_no_content() {
        let with = |headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            Bytes::from(Event { headers, ..event() }.encode_to_vec())
        };
        let new = |encoded: &Bytes, trace: &[u8]| {
            NewEvent::new(encoded, &EventView::parse(encoded).unwrap(), trace)
        };
        let trace = with(&[(TRACEPARENT, "ours")]);
        let trace = &trace[trace.windows(2).position(|at| at[0] == 0x3a).unwrap()..];
        let trace = &trace[..2 + usize::from(trace[1])];
        let plain = with(&[("a", "1")]);
        assert_eq!(new(&plain, b"").encoded, plain);
        let traced = Event::decode(new(&plain, trace).encoded).unwrap();
        let headers = [("a", "1"), (TRACEPARENT, "ours")].map(|(k, v)| (k.into(), v.into()));
        assert_eq!(traced, Event { headers: headers.into(), ..event() });
        let own = with(&[(TRACEPARENT, "theirs")]);
        assert_eq!(new(&own, trace).encoded, own);
        let states = with(&[(TRACESTATE, "b=2"), ("a", "1"), (TRACEPARENT, "theirs")]);
        assert_eq!(fingerprint(&plain), fingerprint(&states));
        assert_ne!(fingerprint(&plain), fingerprint(&own));
    }
}
