//! Each field of each request, as the contract itself lists them: none can be forgotten. The table of
//! bad requests must have a case for each, and whatever a field's type alone says is wrong is tried
//! here.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use bytes::Bytes;
use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use svc_runtime::rpc_error::ErrorFacts;
use tonic::Code;

use crate::cases;
use crate::refusal;
use crate::support::raw::{NOT_UTF8, field};
use crate::support::{Service, assert_error, contents, event};

/// Fields that have no case of their own.
const ANYTHING: &[(&str, &str)] = &[
    // A revision that nobody is at is a conflict, not a mistake.
    ("EventStore/Append", "expectations.revision"),
    ("EventStore/AppendStream", "expectations.revision"),
    // A start is refused here whatever it is.
    ("ConsumerGroups/UpdateGroup", "settings.start.after_position"),
    ("ConsumerGroups/UpdateGroup", "settings.start.from_time"),
    ("ConsumerGroups/UpdateGroup", "settings.start.from_sequence"),
    ("ConsumerGroups/UpdateGroup", "settings.start.from_revision"),
];

/// A field of a request, and the way there.
struct Field {
    method: String,
    /// As errors name it, without the places in lists.
    path: String,
    /// From the outside to the inside; the last is the field itself.
    tags: Vec<u8>,
    kind: Type,
    /// Its name, and that of its oneof, by which errors of the decoder call it.
    names: Vec<String>,
    /// A `google.protobuf.Empty`.
    is_empty: bool,
}

struct Contract {
    messages: BTreeMap<String, DescriptorProto>,
    fields: Vec<Field>,
}

impl Contract {
    fn read() -> Self {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let mut messages = BTreeMap::new();
        for file in &files.file {
            let package = file.package();
            let own = file.message_type.iter();
            messages.extend(own.map(|m| (format!(".{package}.{}", m.name()), m.clone())));
        }
        let mut contract = Self { messages, fields: Vec::new() };
        let own = files.file.iter().filter(|file| file.package() == "eventstore.v1");
        for service in own.flat_map(|file| &file.service) {
            for method in &service.method {
                let name = format!("{}/{}", service.name(), method.name());
                contract.walk(&name, method.input_type(), "", &[]);
            }
        }
        contract
    }

    fn walk(&mut self, method: &str, message: &str, path: &str, tags: &[u8]) {
        let message = self.messages[message].clone();
        for field in &message.field {
            let path = format!("{path}{}", field.name());
            let tags = [tags, &[u8::try_from(field.number()).unwrap()]].concat();
            if self.is_inside(field) {
                self.walk(method, field.type_name(), &format!("{path}."), &tags);
                continue;
            }
            let oneof = field.oneof_index.and_then(|index| usize::try_from(index).ok());
            let oneof = oneof.map(|index| message.oneof_decl[index].name());
            self.fields.push(Field {
                method: method.to_owned(),
                path,
                tags,
                kind: field.r#type(),
                names: iter::once(field.name()).chain(oneof).map(str::to_owned).collect(),
                is_empty: field.type_name() == ".google.protobuf.Empty",
            });
        }
    }

    /// Whether a field's own fields are looked at: not those of well-known types and maps.
    fn is_inside(&self, field: &FieldDescriptorProto) -> bool {
        field.r#type() == Type::Message
            && field.type_name().starts_with(".eventstore.")
            && self.messages.contains_key(field.type_name())
    }
}

/// `events[1].id` is `events.id`.
fn without_places(path: &str) -> String {
    let mut depth = 0;
    let keep = |c: &char| {
        depth += i32::from(*c == '[');
        let keep = depth == 0;
        depth -= i32::from(*c == ']');
        keep
    };
    path.chars().filter(keep).collect()
}

#[test]
fn every_field_has_a_case() {
    let contract = Contract::read();
    let tried: BTreeSet<(String, String)> = (cases::all().iter())
        .chain(&cases::of_consume())
        .map(|case| (case.method.to_owned(), without_places(&case.field)))
        .collect();
    let anything: BTreeSet<_> =
        ANYTHING.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    let mut known = BTreeSet::new();
    let mut missing = Vec::new();
    for Field { method, path, kind, is_empty, .. } in &contract.fields {
        let place = (method.clone(), path.clone());
        // Neither can be wrong, as long as it can be read.
        if *kind != Type::Bool && !is_empty && !tried.contains(&place) && !anything.contains(&place)
        {
            missing.push(format!("{method} {path}"));
        }
        known.insert(place);
    }
    assert!(missing.is_empty(), "no bad request tries these fields: {missing:#?}");
    let gone: Vec<_> = anything.difference(&known).collect();
    assert!(gone.is_empty(), "these fields are no longer there: {gone:?}");
    assert!(known.len() > 120, "only {} fields were found", known.len());
}

/// What no field of this type may be, encoded: cut off, of another type, a text that is not UTF-8.
/// (Whether an enum has a value is looked at later, with the rest of the request: see the table.)
fn never(tag: u8, kind: Type) -> Vec<Vec<u8>> {
    let number = vec![tag << 3, 1];
    let mut never = vec![vec![tag << 3 | 2, 5, b'a']];
    match kind {
        Type::String => never.extend([field(tag, NOT_UTF8), number]),
        Type::Bytes | Type::Message => never.push(number),
        _ => never.push(field(tag, b"a")),
    }
    never
}

/// The field within its request.
fn wrapped(tags: &[u8], inside: Vec<u8>) -> Bytes {
    let outer = &tags[..tags.len() - 1];
    outer.iter().rev().fold(inside, |inside, tag| field(*tag, &inside)).into()
}

#[tokio::test]
async fn no_field_may_be_what_its_type_forbids() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let contract = Contract::read();
    let mut tried = 0;
    for Field { method, path, tags, kind, names, .. } in &contract.fields {
        let tag = *tags.last().unwrap();
        for inside in never(tag, *kind) {
            let what = format!("{method} with {path} as {inside:?}");
            let message = [wrapped(tags, inside)];
            let status = refusal(&service, method, &message).await.expect_err(&what);
            assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
            let facts = ErrorFacts::of(&status).expect(&what);
            let last = |(field, _): &(String, String)| {
                names.iter().any(|name| without_places(field).ends_with(name))
            };
            let named = facts.violations.iter().any(last);
            assert!(named, "{what}: {facts:?}");
            tried += 1;
        }
    }
    assert!(contents(&redis).is_empty(), "something was written");
    println!("{} fields, {tried} requests that could not be what they are", contract.fields.len());
    let status = service.append("", vec![event("", "")]).await.unwrap_err();
    assert_error(&status, Code::InvalidArgument, "INVALID_NAME");
}
