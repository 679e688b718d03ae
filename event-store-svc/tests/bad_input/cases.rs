//! The table of bad requests: for each field of each request what it must not be.

use bytes::Bytes;
use prost::Message;
use prost_types::{Duration, Timestamp};
use proto::eventstore::v1::consume_request::Message as Say;
use proto::eventstore::v1::start::At;
use proto::eventstore::v1::truncate_topic_request::Before;
use proto::eventstore::v1::*;

use crate::support::raw::{NOT_UTF8, field};

/// A request that must be refused.
pub struct Case {
    pub method: &'static str,
    pub messages: Vec<Bytes>,
    pub reason: &'static str,
    pub field: String,
}

const WRONG: &str = "INVALID_ARGUMENT";
const NAME: &str = "INVALID_NAME";
const MANY: &str = "TOO_MANY_ITEMS";

/// Collects the cases of one method.
struct Method {
    name: &'static str,
    /// What is sent before.
    before: Vec<Bytes>,
    cases: Vec<Case>,
}

impl Method {
    fn new(name: &'static str) -> Self {
        Self { name, before: Vec::new(), cases: Vec::new() }
    }

    fn raw(&mut self, field: &str, reason: &'static str, message: Vec<u8>) {
        let messages = self.before.iter().cloned().chain([message.into()]).collect();
        self.cases.push(Case { method: self.name, messages, reason, field: field.into() });
    }

    #[expect(clippy::needless_pass_by_value, reason = "a table reads better with values")]
    fn bad<M: Message>(&mut self, field: &str, reason: &'static str, request: M) {
        self.raw(field, reason, request.encode_to_vec());
    }

    /// A name: empty, huge, with control characters and others it must not have, not UTF-8.
    fn name<M: Message>(&mut self, field: &str, tag: u8, request: impl Fn(String) -> M) {
        let huge = "a".repeat(1 << 20);
        let long = "a".repeat(129);
        for text in ["", "Upper", "a b", "é", "a\nb", "a\0", "-a", "a{b}", "../a", &long, &huge] {
            self.bad(field, NAME, request(text.into()));
        }
        self.not_utf8(field, tag, &request("a".into()));
    }

    fn subject<M: Message>(&mut self, field: &str, tag: u8, request: impl Fn(String) -> M) {
        let huge = "a".repeat(1 << 20);
        let long = "a".repeat(257);
        for text in ["", "a\nb", "a\0", "\u{7f}", "\u{85}", &long, &huge] {
            self.bad(field, NAME, request(text.into()));
        }
        self.not_utf8(field, tag, &request("a".into()));
    }

    /// The last one of a field counts, and so a bad one behind a good request is bad.
    fn not_utf8<M: Message>(&mut self, name: &str, tag: u8, request: &M) {
        self.raw(name, WRONG, [request.encode_to_vec(), field(tag, NOT_UTF8)].concat());
    }

    /// A duration: negative, huge, with wrong nanoseconds, and what is out of its range.
    fn duration<M: Message>(
        &mut self,
        field: &str,
        out_of_range: &[(i64, i32)],
        request: impl Fn(Option<Duration>) -> M,
    ) {
        let never =
            [(-1, 0), (0, -1), (1, 1_000_000_000), (1, i32::MIN), (i64::MAX, 0), (i64::MIN, 0)];
        for (seconds, nanos) in never.iter().chain(out_of_range).copied() {
            self.bad(field, WRONG, request(Some(Duration { seconds, nanos })));
        }
    }

    fn time<M: Message>(&mut self, field: &str, request: impl Fn(Timestamp) -> M) {
        let never = [
            (-1, 0),
            (0, -1),
            (0, 1_000_000_000),
            (i64::MAX, 0),
            (i64::MIN, 0),
            (253_402_300_800, 0),
        ];
        for (seconds, nanos) in never {
            self.bad(field, WRONG, request(Timestamp { seconds, nanos }));
        }
    }

    fn number<M: Message>(&mut self, field: &str, most: u32, request: impl Fn(Option<u32>) -> M) {
        for number in [0, most + 1, u32::MAX] {
            self.bad(field, WRONG, request(Some(number)));
        }
    }

    /// A value that the enum does not have.
    fn kind<M: Message>(&mut self, field: &str, request: impl Fn(i32) -> M) {
        for value in [-1, 99, i32::MAX, i32::MIN] {
            self.bad(field, WRONG, request(value));
        }
    }

    fn position<M: Message>(&mut self, field: &str, request: impl Fn(String) -> M) {
        let huge = "1".repeat(1 << 20);
        for text in [
            "",
            "1",
            "-",
            "1-",
            "-1",
            "1-2-3",
            "+1-2",
            "a-b",
            "1-2\n",
            "99999999999999999999-1",
            &huge,
        ] {
            self.bad(field, WRONG, request(text.into()));
        }
    }

    fn page<M: Message>(&mut self, token_tag: u8, request: impl Fn(i32, String) -> M) {
        for size in [-1, i32::MIN] {
            self.bad("page_size", WRONG, request(size, String::new()));
        }
        for token in ["!", "a", "é", "\0", "_w"] {
            self.bad("page_token", WRONG, request(0, token.into()));
        }
        self.not_utf8("page_token", token_tag, &request(0, String::new()));
    }

    fn start<M: Message>(&mut self, field: &str, subject: bool, request: impl Fn(Start) -> M) {
        let at = |at| request(Start { at: Some(at) });
        self.bad(&format!("{field}.at"), WRONG, request(Start { at: None }));
        self.position(&format!("{field}.after_position"), |text| at(At::AfterPosition(text)));
        self.time(&format!("{field}.from_time"), |time| at(At::FromTime(time)));
        self.bad(&format!("{field}.from_sequence"), WRONG, at(At::FromSequence(0)));
        if !subject {
            self.bad(&format!("{field}.from_revision"), WRONG, at(At::FromRevision(0)));
        }
    }

    fn filter<M: Message>(&mut self, request: impl Fn(EventFilter) -> M) {
        type Set = fn(&mut EventFilter, Vec<String>);
        let lists: [(&str, Set); 4] = [
            ("types", |filter, list| filter.types = list),
            ("type_prefixes", |filter, list| filter.type_prefixes = list),
            ("subjects", |filter, list| filter.subjects = list),
            ("subject_prefixes", |filter, list| filter.subject_prefixes = list),
        ];
        for (name, set) in lists {
            let with = |list| {
                let mut filter = EventFilter::default();
                set(&mut filter, list);
                request(filter)
            };
            self.bad(&format!("filter.{name}"), MANY, with(vec!["a".into(); 101]));
            self.bad(&format!("filter.{name}[1]"), WRONG, with(vec!["a".into(), String::new()]));
            self.bad(&format!("filter.{name}[0]"), WRONG, with(vec!["a".repeat(257)]));
        }
    }
}

fn t() -> String {
    "t".into()
}

fn g() -> String {
    "g".into()
}

mod groups;
mod log;
mod topics;

/// All of them, but those of a consumer's stream after its first message.
pub fn all() -> Vec<Case> {
    [log::cases(), topics::cases(), groups::cases()].concat_cases()
}

/// Those of a consumer's stream after its first message.
pub fn of_consume() -> Vec<Case> {
    groups::of_consume()
}

trait Concat {
    fn concat_cases(self) -> Vec<Case>;
}

impl<const N: usize> Concat for [Vec<Method>; N] {
    fn concat_cases(self) -> Vec<Case> {
        self.into_iter().flatten().flat_map(|method| method.cases).collect()
    }
}
