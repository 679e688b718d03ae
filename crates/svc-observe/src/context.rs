//! The context of a trace in headers (W3C Trace Context): of HTTP and gRPC requests, and of events
//! and messages, so that whoever handles them later can tell whose work goes on.
//! <https://www.w3.org/TR/trace-context/>
//!
//! Without traces there is no current context, and [`inject`] does nothing.

use std::collections::{BTreeMap, HashMap};

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
pub use opentelemetry::trace::SpanContext;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use prost::bytes::{Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, string};

/// Header with trace id, span id and whether the trace is recorded.
pub const TRACEPARENT: &str = "traceparent";
/// Header with what tracing systems add.
pub const TRACESTATE: &str = "tracestate";
/// As much of it as must be passed on. What is longer is not, so that a client cannot make every
/// event of its own and of its followers large.
const MOST_TRACESTATE: usize = 512;

/// Headers that a context can be put in.
pub trait Headers {
    /// Sets a header.
    fn put(&mut self, name: &'static str, value: String);
}

impl Headers for BTreeMap<String, String> {
    fn put(&mut self, name: &'static str, value: String) {
        self.insert(name.to_owned(), value);
    }
}

impl Headers for HashMap<String, String> {
    fn put(&mut self, name: &'static str, value: String) {
        self.insert(name.to_owned(), value);
    }
}

impl Headers for Vec<(&'static str, String)> {
    fn put(&mut self, name: &'static str, value: String) {
        self.push((name, value));
    }
}

/// The current context, if it is recorded: for work that goes on elsewhere.
#[must_use]
pub fn current() -> Option<SpanContext> {
    Context::map_current(|cx| {
        let is_recorded = cx.has_active_span() && cx.span().span_context().is_sampled();
        is_recorded.then(|| cx.span().span_context().clone())
    })
}

/// Puts the current context into headers. Nothing when there is none.
pub fn inject(headers: &mut impl Headers) {
    Context::map_current(|cx| inject_context(cx, headers));
}

/// Puts a context into headers.
pub fn inject_context(cx: &Context, headers: &mut impl Headers) {
    if cx.has_active_span() {
        TraceContextPropagator::new().inject_context(cx, &mut Into(headers));
    }
}

struct Into<'a, H>(&'a mut H);

impl<H: Headers> Injector for Into<'_, H> {
    fn set(&mut self, key: &str, value: String) {
        match key {
            TRACEPARENT => self.0.put(TRACEPARENT, value),
            TRACESTATE if !value.is_empty() => self.0.put(TRACESTATE, value),
            _ => {}
        }
    }
}

/// The current context as entries of the protobuf field `tag`, a `map<string, string>`: put in
/// front of or behind an encoded message, they are headers of it. Empty when nothing is recorded,
/// so that what is stored of unrecorded traces is what came.
#[must_use]
pub fn map_entries(tag: u32) -> Bytes {
    let mut headers = Vec::<(&'static str, String)>::new();
    Context::map_current(|cx| {
        if cx.has_active_span() && cx.span().span_context().is_sampled() {
            inject_context(cx, &mut headers);
        }
    });
    let mut entries = BytesMut::new();
    for (name, value) in headers {
        let name = name.to_owned();
        let length = string::encoded_len(1, &name) + string::encoded_len(2, &value);
        encode_key(tag, WireType::LengthDelimited, &mut entries);
        encode_varint(length as u64, &mut entries);
        string::encode(1, &name, &mut entries);
        string::encode(2, &value, &mut entries);
    }
    entries.freeze()
}

/// The context in headers, if there is a valid one.
pub fn context_of<K: AsRef<str>, V: AsRef<str>>(
    headers: impl IntoIterator<Item = (K, V)>,
) -> Option<SpanContext> {
    let mut found = Found { parent: None, state: None };
    for (name, value) in headers {
        match name.as_ref() {
            TRACEPARENT => found.parent = Some(value),
            TRACESTATE if value.as_ref().len() <= MOST_TRACESTATE => found.state = Some(value),
            _ => {}
        }
    }
    // Shorter ids would be taken for numbers with leading zeros.
    let parent = found.parent.as_ref()?.as_ref();
    if parent.len() < "00-00000000000000000000000000000000-0000000000000000-00".len() {
        return None;
    }
    let cx = TraceContextPropagator::new().extract_with_context(&Context::new(), &found);
    let span_context = cx.span().span_context().clone();
    span_context.is_valid().then_some(span_context)
}

struct Found<V> {
    parent: Option<V>,
    state: Option<V>,
}

impl<V: AsRef<str>> Extractor for Found<V> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = match key {
            TRACEPARENT => &self.parent,
            _ => &self.state,
        };
        value.as_ref().map(AsRef::as_ref)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

/// The same of the headers of a request over HTTP.
#[must_use]
pub fn context_of_http(headers: &HeaderMap) -> Option<SpanContext> {
    let text = |name| Some((name, headers.get(name)?.to_str().ok()?));
    context_of([TRACEPARENT, TRACESTATE].into_iter().filter_map(text))
}

/// Links the current span to the one that the context is of: for work on several events or
/// messages at once, each from a trace of its own.
pub fn link_to(context: SpanContext) {
    Context::map_current(|cx| {
        if cx.has_active_span() {
            cx.span().add_link(context, Vec::new());
        }
    });
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::eventstore::v1::Event;
    use proto::messagequeue::v1::Message;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_survives_headers() {
        let headers = BTreeMap::from([
            ("traceparent".to_owned(), PARENT.to_owned()),
            ("tracestate".to_owned(), "a=1,b=2".to_owned()),
            ("other".to_owned(), "x".to_owned()),
        ]);
        let context = context_of(&headers).unwrap();
        assert!(context.is_remote() && context.is_sampled());
        let mut out = BTreeMap::new();
        inject_context(&Context::new().with_remote_span_context(context), &mut out);
        assert_eq!(out["traceparent"], PARENT);
        assert_eq!(out["tracestate"], "a=1,b=2");
        assert_eq!(out.len(), 2);
    }

    #[test]
    fn what_is_no_context_is_none() {
        let upper = PARENT.to_uppercase();
        for wrong in [
            "",
            "00",
            "00-1-1-01",
            &PARENT[..PARENT.len() - 1],
            &upper,
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-éaf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(context_of([(TRACEPARENT, wrong)]), None, "{wrong}");
        }
        assert_eq!(context_of([("a", "b")]), None);
    }

    #[test]
    fn a_state_that_is_too_long_is_not_passed_on() {
        let long = format!("a={}", "x".repeat(MOST_TRACESTATE));
        let context = context_of([(TRACEPARENT, PARENT), (TRACESTATE, &long)]).unwrap();
        assert_eq!(context.trace_state().header(), "");
    }

    /// Both have their headers in field 7 and 4.
    #[test]
    fn a_context_is_spliced_into_encoded_events_and_messages() {
        let own = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let event = Event { id: Some("e".into()), headers: own.clone(), ..Event::default() };
        let message = Message { r#type: "t".into(), headers: own, ..Message::default() };
        let context = |parent: &str| {
            let context = context_of([(TRACEPARENT, parent), (TRACESTATE, "v=1")]).unwrap();
            Context::new().with_remote_span_context(context)
        };
        let entered = context(PARENT).attach();
        assert!(current().is_some());
        let spliced = [&map_entries(7)[..], &event.encode_to_vec()].concat();
        let mut decoded = Event::decode(&spliced[..]).unwrap();
        assert_eq!(decoded.headers.remove(TRACEPARENT).unwrap(), PARENT);
        assert_eq!(decoded.headers.remove(TRACESTATE).unwrap(), "v=1");
        assert_eq!(decoded, event);
        let spliced = [&message.encode_to_vec()[..], &map_entries(4)].concat();
        let mut decoded = Message::decode(&spliced[..]).unwrap();
        assert_eq!(decoded.headers.remove(TRACEPARENT).unwrap(), PARENT);
        assert_eq!(decoded.headers.remove(TRACESTATE).unwrap(), "v=1");
        assert_eq!(decoded, message);
        drop(entered);
        let _unrecorded = context(&PARENT.replace("-01", "-00")).attach();
        assert!(map_entries(7).is_empty());
        assert_eq!(current(), None);
    }

    #[test]
    fn without_a_context_nothing_is_put_anywhere() {
        let mut headers = HashMap::new();
        inject(&mut headers);
        assert!(headers.is_empty());
        link_to(SpanContext::empty_context());
        assert!(map_entries(7).is_empty());
    }
}
